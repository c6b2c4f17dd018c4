/**
 * An MPI library of the system, called through koffi: the few functions that training needs, after the MPI standard,
 * version 3.1. What differs between the two families of libraries is in one table: MPICH and those that share its
 * binary interface (Intel MPI, MVAPICH, Cray) name communicators, types and operations by numbers, Open MPI by the
 * addresses of global variables. Not here: MPI 5's own binary interface, Windows.
 */
import process from "node:process";
import type { LibraryHandle } from "koffi";
import { messageOf, ToklipError } from "../core/index.ts";

type Handle = "world" | "float" | "int" | "byte" | "sum" | "errorsReturn";
type Koffi = typeof import("koffi")["default"];

interface Family {
  /** What `MPI_Get_library_version` says. */
  readonly version: RegExp;
  /** File names to try, in this order. */
  readonly files: readonly string[];
  readonly handleType: "int" | "void *";
  /** A number, or the name of the variable whose address it is. */
  readonly handles: Readonly<Record<Handle, number | string>>;
  /** `MPI_IN_PLACE`, an address. */
  readonly inPlace: number;
}

const FAMILIES = {
  mpich: {
    version: /MPICH|MVAPICH|Intel|CRAY/i,
    files: ["libmpich.so.12", "libmpi.so.12", "libmpich.so"],
    handleType: "int",
    handles: {
      world: 0x44000000,
      float: 0x4c00040a,
      int: 0x4c000405,
      byte: 0x4c00010d,
      sum: 0x58000003,
      errorsReturn: 0x54000001,
    },
    inPlace: -1,
  },
  openMpi: {
    version: /Open MPI/,
    files: ["libmpi.so.40", "libmpi.so"],
    handleType: "void *",
    handles: {
      world: "ompi_mpi_comm_world",
      float: "ompi_mpi_float",
      int: "ompi_mpi_int",
      byte: "ompi_mpi_byte",
      sum: "ompi_mpi_op_sum",
      errorsReturn: "ompi_mpi_errors_return",
    },
    inPlace: 1,
  },
} as const satisfies Record<string, Family>;

/** One of the two families of MPI libraries. */
export type MpiFamily = keyof typeof FAMILIES;

/**
 * What UCX, by which MPICH and Open MPI may talk, must not do in a process of Node's: patch the C library's memory
 * functions while other threads use them (one start in a hundred crashed), and take over the signal by which V8 catches
 * WebAssembly's accesses out of bounds. A user's own setting has precedence.
 */
const UCX_SETTINGS = { UCX_MEM_EVENTS: "n", UCX_HANDLE_ERRORS: "none" };

/** `MPI_THREAD_SERIALIZED`: calls come from several threads, one at a time. The same number in both families. */
const THREAD_SERIALIZED = 2;
/** `MPI_MAX_LIBRARY_VERSION_STRING` and `MPI_MAX_ERROR_STRING` are at most this. */
const TEXT_BYTES = 8192;
/** koffi's own 128 KiB are less than what C libraries expect of a thread. */
const ASYNC_STACK_BYTES = 2 ** 20;

/** An array that MPI reads or writes. */
export type MpiArray = Float32Array | Int32Array | Uint8Array;

/**
 * The functions, on the communicator of all processes. Those that wait for others return promises and leave this
 * thread free; only one of them may be under way at a time.
 */
export interface MpiLibrary {
  /** The file that was loaded, and what it says it is. */
  readonly name: string;
  /** Joins the other processes. Errors of MPI are from here on returned, not fatal. @throws MPI_UNAVAILABLE */
  init(): void;
  rank(): number;
  size(): number;
  /** Sums `data` over all processes, in place. MPI requires the same result in each of them. */
  allReduceSum(data: Float32Array): Promise<void>;
  /** Fills `into`, `size` times as long, with the `part` of each rank in turn. */
  allGather<T extends MpiArray>(part: T, into: T): Promise<void>;
  /** Replaces `data` by rank 0's. */
  broadcast(data: MpiArray): Promise<void>;
  barrier(): Promise<void>;
  /** Must be called by the thread that called `init`. */
  finalize(): void;
  /** Ends this process at once, though a thread of it may wait inside MPI. Plain `process.exit` would wait for that. */
  exitNow(code: number): never;
}

/**
 * Loads an MPI library.
 * @param file its path or name; otherwise the usual names are tried
 * @param preferred the family whose names are tried first
 * @throws MPI_UNAVAILABLE if koffi or the library is missing, or it is of no known family
 */
export async function loadMpi(file: string | undefined, preferred: MpiFamily): Promise<MpiLibrary> {
  const ffi = await loadKoffi();
  for (const [name, value] of Object.entries(UCX_SETTINGS)) process.env[name] ??= value;
  const names = file === undefined ? namesToTry(preferred) : [file];
  const failures: string[] = [];
  for (const name of names) {
    try {
      // Global, because Open MPI loads plug-ins that look for its symbols.
      return bind(ffi, ffi.load(name, { global: true, lazy: true }), name);
    } catch (error) {
      if (error instanceof ToklipError) throw error;
      failures.push(`${name}: ${messageOf(error)}`);
    }
  }
  throw new ToklipError("MPI_UNAVAILABLE", `no MPI library could be loaded (${failures.join("; ")})`);
}

async function loadKoffi(): Promise<Koffi> {
  const { default: ffi } = await import("koffi").catch((cause) => {
    throw new ToklipError("MPI_UNAVAILABLE", `koffi, which calls MPI, is not there: ${messageOf(cause)}`, { cause });
  });
  try {
    ffi.config({ async_stack_size: ASYNC_STACK_BYTES });
  } catch {
    // Somebody in this process uses koffi already, and it is too late to change its settings.
  }
  return ffi;
}

function namesToTry(preferred: MpiFamily): string[] {
  const others = Object.values(FAMILIES).flatMap(({ files }) => files);
  return [...new Set([...FAMILIES[preferred].files, ...others])];
}

/** @throws MPI_UNAVAILABLE */
function bind(ffi: Koffi, library: LibraryHandle, file: string): MpiLibrary {
  const version = versionOf(library);
  const name = `${file} (${version})`;
  const family: Family | undefined = Object.values(FAMILIES).find((candidate) => candidate.version.test(version));
  if (!family) throw new ToklipError("MPI_UNAVAILABLE", `${name} is neither of MPICH's nor of Open MPI's kind`);

  const { handleType: H, inPlace } = family;
  const { direct, waiting } = callers(library);
  const handles = handlesOf(library, family);
  const { world, sum } = handles;
  const typeOf = (array: MpiArray) =>
    array instanceof Float32Array ? handles.float : array instanceof Int32Array ? handles.int : handles.byte;
  const initThread = direct("MPI_Init_thread", "void *", "void *", "int", "void *");
  const setErrorHandler = direct("MPI_Comm_set_errhandler", H, H);
  const commRank = direct("MPI_Comm_rank", H, "void *");
  const commSize = direct("MPI_Comm_size", H, "void *");
  const allReduce = waiting("MPI_Allreduce", "intptr_t", "void *", "int", H, H, H);
  const allGather = waiting("MPI_Allgather", "void *", "int", H, "void *", "int", H, H);
  const broadcast = waiting("MPI_Bcast", "void *", "int", H, "int", H);
  const barrier = waiting("MPI_Barrier", H);
  const finalize = direct("MPI_Finalize");
  const exit = ffi.load(null).func("_exit", "void", ["int"]);

  return {
    name,
    init() {
      const provided = new Int32Array(1);
      initThread(null, null, THREAD_SERIALIZED, provided);
      if (provided[0]! < THREAD_SERIALIZED) {
        throw new ToklipError("MPI_UNAVAILABLE", `${name} was built without threads, which are needed`);
      }
      setErrorHandler(world, handles.errorsReturn);
    },
    rank: () => written((into) => commRank(world, into)),
    size: () => written((into) => commSize(world, into)),
    allReduceSum: (data) => allReduce(inPlace, data, data.length, typeOf(data), sum, world),
    allGather: (part, into) => allGather(part, part.length, typeOf(part), into, part.length, typeOf(part), world),
    broadcast: (data) => broadcast(data, data.length, typeOf(data), 0, world),
    barrier: () => barrier(world),
    finalize: () => finalize(),
    exitNow: (code) => exit(code) as never,
  };
}

/** The integer that a function writes. */
function written(call: (into: Int32Array) => void): number {
  const into = new Int32Array(1);
  call(into);
  return into[0]!;
}

/** The values of a family's handles in a library: numbers, or addresses. */
function handlesOf(library: LibraryHandle, family: Family): Record<Handle, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, handle] of Object.entries(family.handles)) {
    values[name] = typeof handle === "string" ? library.symbol(handle) : handle;
  }
  return values as Record<Handle, unknown>;
}

/** Makes JavaScript functions of a library's functions. They throw PEER_LOST for an error, the common cause of one. */
function callers(library: LibraryHandle) {
  const errorString = library.func("MPI_Error_string", "int", ["int", "void *", "void *"]);
  const check = (call: string, code: number) => {
    if (code === 0) return;
    const [text, length] = [Buffer.alloc(TEXT_BYTES), new Int32Array(1)];
    errorString(code, text, length);
    throw new ToklipError("PEER_LOST", `${call} failed: ${text.toString("utf8", 0, length[0])}`);
  };
  return {
    /** A function that is called on this thread. */
    direct(call: string, ...parameters: string[]) {
      const native = library.func(call, "int", parameters);
      return (...values: unknown[]): void => check(call, native(...values));
    },
    /** A function that waits for other processes, on another thread. */
    waiting(call: string, ...parameters: string[]) {
      const native = library.func(call, "int", parameters);
      return async (...values: unknown[]): Promise<void> => {
        const code = await new Promise<number>((resolve, reject) => {
          native.async(...values, (error: unknown, result: number) => (error ? reject(error) : resolve(result)));
        });
        check(call, code);
      };
    },
  };
}

/** @throws MPI_UNAVAILABLE for a library that is not MPI */
function versionOf(library: LibraryHandle): string {
  const [text, length] = [Buffer.alloc(TEXT_BYTES), new Int32Array(1)];
  library.func("MPI_Get_library_version", "int", ["void *", "void *"])(text, length);
  // "Open MPI v4.1.4, package: ..." and "MPICH Version:\t4.0.2\nMPICH Release date: ..."
  return text.toString("utf8", 0, length[0]).split(/[\n,]/)[0]!.replace(/\s+/g, " ").trim();
}
