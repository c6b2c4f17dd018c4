/**
 * ONNX Runtime in Node, in a worker thread, so that the event loop stays free while a model runs.
 * One worker serves all sessions of a backend, one run at a time: ONNX Runtime spreads each run over the cores itself.
 * Session options as measured in docs/engine.md: spinning stops between runs, so that sessions do not slow one another.
 */
import { availableParallelism } from "node:os";
import { parse, relative } from "node:path";
import { Worker } from "node:worker_threads";
import {
  type DType,
  type LongCallOptions,
  messageOf,
  type NDArray,
  ndarray,
  ToklipError,
  type TypedArray,
  throwIfAborted,
} from "../core/index.ts";
import { Graph } from "../graph/index.ts";
import { type Device, MAX_THREADS } from "../pipelines/model.ts";
import {
  type Backend,
  type Carry,
  compileProgram,
  type Feeds,
  type Fetches,
  type Program,
  type RunOptions,
  type Session,
  type SessionState,
  type StateArray,
} from "../runtime/index.ts";
import { SpillFile } from "./spill-file.ts";

/** ONNX Runtime's names of the dtypes that go in and out of our graphs. */
const WIRE_TYPES: Partial<Record<DType, string>> = {
  f32: "float32",
  i32: "int32",
  i64: "int64",
  u8: "uint8",
  i8: "int8",
  bool: "bool",
};
const DTYPE_OF_WIRE = new Map(Object.entries(WIRE_TYPES).map(([dtype, wire]) => [wire, dtype as DType]));

interface Wire {
  readonly type: string;
  readonly data: TypedArray;
  readonly dims: readonly number[];
}

/** What the worker answers to a run: what was lent comes back even when the run failed. */
interface RunResult {
  readonly fetched: Readonly<Record<string, Wire>>;
  readonly returned: Readonly<Record<string, Wire>>;
  readonly error?: string;
}

interface Request {
  readonly message: Record<string, unknown>;
  readonly transfer: ArrayBuffer[];
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/** Devices whose tensors can stay in their memory between runs. */
const KEEPS_BUFFERS: readonly Device[] = ["webgpu"];

/**
 * Fusions that lose an output which only gradients read, the deviation of a layer norm: the kernel they put in is told
 * of the sum alone. They save a small kernel a block.
 */
const WRONG_FUSIONS = "SkipLayerNormFusion;BiasSkipLayerNormFusion";

/** What ONNX Runtime says when memory runs out. */
const OUT_OF_MEMORY = /bad_alloc|out of memory|failed to allocate/i;

function runtimeError(message: string): ToklipError {
  return new ToklipError(OUT_OF_MEMORY.test(message) ? "OUT_OF_MEMORY" : "RUNTIME_FAILED", messageOf(message));
}

// ONNX Runtime's native library notes who uses it how, in files of the temporary and the home folder, unless its
// environment says not to. Set here and not in the worker, whose environment is a copy that native code does not see.
process.env.ORT_DISABLE_TELEMETRY ??= "1";

/** What a thread begins with of itself, and its last request. Nobody waits for these. */
const LOAD: Request = { message: { kind: "load" }, transfer: [], resolve: () => {}, reject: () => {} };
const END: Request = { ...LOAD, message: { kind: "end" } };

/**
 * A worker thread that answers one request at a time, in order; requests that wait can be withdrawn. It is never
 * stopped from outside: that ends the whole process where it meets native code, be it only ONNX Runtime being loaded.
 */
class SessionWorker {
  // Node's own options (--input-type, --import, ...) are the caller's affair, and some of them a worker refuses.
  private readonly worker = new Worker(new URL("./session-worker.mjs", import.meta.url), { execArgv: [] });
  private readonly ended = new Promise<void>((resolve) => this.worker.once("exit", () => resolve()));
  private readonly waiting: Request[] = [];
  private active: Request | undefined = LOAD;
  private failure: ToklipError | undefined;

  constructor() {
    this.worker.on("message", ({ result, error }: { result?: unknown; error?: string }) => {
      const request = this.active;
      this.active = undefined;
      this.next();
      if (error === undefined) request?.resolve(result);
      else request?.reject(runtimeError(error));
    });
    this.worker.on("error", (error) =>
      this.fail(new ToklipError("RUNTIME_FAILED", messageOf(error), { cause: error })),
    );
    this.worker.on("exit", () => this.fail(new ToklipError("DISPOSED", "the compute engine has been closed")));
  }

  /** Sends a request and waits for its answer. An abort rejects at once; an active request ends by itself. */
  request(
    message: Record<string, unknown>,
    { transfer = [], signal }: { transfer?: ArrayBuffer[]; signal?: AbortSignal | undefined } = {},
  ): Promise<unknown> {
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      const settle = () => signal?.removeEventListener("abort", abort);
      const request: Request = {
        message,
        transfer,
        resolve: (result) => {
          settle();
          resolve(result);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const abort = () => {
        const place = this.waiting.indexOf(request);
        if (place >= 0) this.waiting.splice(place, 1);
        request.reject(new ToklipError("ABORTED", "stopped on request", { cause: signal?.reason }));
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.waiting.push(request);
      this.next();
    });
  }

  /** Rejects what waits, lets what is under way come to its end, then stops. */
  async close(): Promise<void> {
    this.fail(new ToklipError("DISPOSED", "the compute engine has been closed"));
    this.waiting.push(END);
    this.next();
    await this.ended;
  }

  private next(): void {
    if (this.active !== undefined) return;
    this.active = this.waiting.shift();
    // A thread with nothing to do must not keep the process alive; one at work must.
    if (this.active === undefined) this.worker.unref();
    else {
      this.worker.ref();
      this.worker.postMessage(this.active.message, this.active.transfer);
    }
  }

  private fail(error: ToklipError): void {
    this.failure ??= error;
    for (const request of [this.active, ...this.waiting.splice(0)]) request?.reject(this.failure);
  }
}

function toWire({ dtype, shape, data }: NDArray): Wire {
  const type = WIRE_TYPES[dtype];
  if (type === undefined) throw new ToklipError("DTYPE_MISMATCH", `${dtype} arrays cannot be fed to a model`);
  return { type, data, dims: shape };
}

function copied(array: NDArray): NDArray {
  return { ...array, data: array.data.slice() } as NDArray;
}

function fromWire({ type, data, dims }: Wire): NDArray {
  const dtype = DTYPE_OF_WIRE.get(type);
  if (dtype === undefined) throw new ToklipError("RUNTIME_FAILED", `the engine returned an array of ${type}`);
  return { dtype, shape: dims, data } as NDArray;
}

/** Gives the session that copies an array out of the device's memory, where one is needed. */
type Downloader = () => Promise<number | undefined>;

class OrtState implements SessionState {
  private readonly worker: SessionWorker;
  private readonly downloader: Downloader;
  private readonly names: ReadonlySet<string>;
  readonly id: number;

  constructor(worker: SessionWorker, id: number, names: readonly string[], downloader: Downloader) {
    this.worker = worker;
    this.downloader = downloader;
    this.names = new Set(names);
    this.id = id;
  }

  async read(names: readonly string[]): Promise<Record<string, NDArray<"f32">>> {
    const unknown = names.find((name) => !this.names.has(name));
    if (unknown !== undefined) throw new ToklipError("ARGUMENT_INVALID", `the state has no array ${unknown}`);
    const message = { kind: "readState", state: this.id, names, download: await this.downloader() };
    const wires = (await this.worker.request(message)) as Readonly<Record<string, Wire>>;
    const arrays = Object.entries(wires).map(([name, wire]) => [name, fromWire(wire) as NDArray<"f32">]);
    return Object.fromEntries(arrays) as Record<string, NDArray<"f32">>;
  }

  async dispose(): Promise<void> {
    await this.worker.request({ kind: "releaseState", state: this.id });
  }
}

class OrtSession implements Session {
  private readonly worker: SessionWorker;
  private readonly id: number;
  private readonly nextId: () => number;
  private readonly downloader: Downloader;
  private readonly carries: boolean;
  private disposed = false;

  constructor(
    worker: SessionWorker,
    id: number,
    { nextId, downloader, carries }: { nextId: () => number; downloader: Downloader; carries: boolean },
  ) {
    this.worker = worker;
    this.id = id;
    this.nextId = nextId;
    this.downloader = downloader;
    this.carries = carries;
  }

  async run(feeds: Feeds, { signal, state, aliases = {}, writes = [], lent = {} }: RunOptions = {}): Promise<Fetches> {
    if (this.disposed) throw new ToklipError("DISPOSED", "this model has been disposed of");
    if (this.carries && state === undefined) {
      throw new ToklipError("ARGUMENT_INVALID", "this model needs a state to keep its results in");
    }
    throwIfAborted(signal, "run");
    const own = Object.entries(feeds).map(([name, array]) => [name, toWire(copied(array))] as const);
    const borrowed = Object.entries(lent).map(([name, array]) => [name, toWire(array)] as const);
    const wires = Object.fromEntries([...own, ...borrowed]);
    const transfer = Object.values(wires).map(({ data }) => data.buffer as ArrayBuffer);
    const message = {
      kind: "run",
      session: this.id,
      feeds: wires,
      lent: Object.keys(lent),
      state: (state as OrtState | undefined)?.id,
      aliases,
      writes,
    };
    // What is lent must come back: such a run is not left before its end.
    const patience = borrowed.length > 0 ? {} : { signal };
    const { fetched, returned, error } = (await this.worker.request(message, { transfer, ...patience })) as RunResult;
    for (const [name, wire] of Object.entries(returned)) lent[name] = fromWire(wire);
    if (error !== undefined) throw runtimeError(error);
    return Object.fromEntries(Object.entries(fetched).map(([name, wire]) => [name, fromWire(wire)]));
  }

  async createState(arrays: Readonly<Record<string, StateArray>>): Promise<SessionState> {
    const state = this.nextId();
    const wires = Object.entries(arrays).map(([name, array]) => [
      name,
      "data" in array ? toWire(copied(array)) : toWire(ndarray("f32", array)),
    ]);
    const transfer = wires.map(([, wire]) => (wire as Wire).data.buffer as ArrayBuffer);
    await this.worker.request({ kind: "createState", state, arrays: Object.fromEntries(wires) }, { transfer });
    return new OrtState(this.worker, state, Object.keys(arrays), this.downloader);
  }

  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    await this.worker.request({ kind: "release", session: this.id });
  }
}

/** x -> y, any number of elements: what downloads an array. A tensor's own `getData` ends the process (1.30). */
const IDENTITY: Program = {
  name: "download",
  graph: identityGraph(),
  weight: async () => ({ kind: "fed" }),
};

function identityGraph(): Graph {
  const graph = new Graph();
  graph.output("y", graph.input("x", "f32", ["N"]));
  return graph;
}

/** Where models run, and with how many threads. */
export interface OrtBackendOptions {
  readonly device?: Device;
  /** Threads of one run, at most `MAX_THREADS`. Default: the machine's cores. */
  readonly threads?: number;
}

/** Makes a backend with a worker thread of its own. @throws ARGUMENT_INVALID */
export function createOrtBackend({
  device = "cpu",
  threads = availableParallelism(),
}: OrtBackendOptions = {}): Backend {
  if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
    throw new ToklipError("ARGUMENT_INVALID", `threads ${threads}: expected a whole number from 1 to ${MAX_THREADS}`);
  }
  const worker = new SessionWorker();
  let count = 0;
  const nextId = () => ++count;
  // ONNX Runtime wants external data below one folder: the root of the file system holds them all.
  const root = parse(process.cwd()).root;
  const sessionOptions = {
    executionProviders: device === "cpu" ? ["cpu"] : [device, "cpu"],
    graphOptimizationLevel: "all",
    // Planned memory takes up to twice as much as memory taken when it is needed, and is no faster.
    enableMemPattern: false,
    intraOpNumThreads: threads,
    // Fatal messages only: what goes wrong is thrown, and thrown errors are ours to word.
    logSeverityLevel: 4,
    extra: {
      session: { force_spinning_stop: "1", model_external_initializers_file_folder_path: root },
      ...(device !== "cpu" && { optimization: { disable_specified_optimizers: WRONG_FUSIONS } }),
    },
  };
  const keepsBuffers = KEEPS_BUFFERS.includes(device);
  const location = keepsBuffers ? "gpu-buffer" : "cpu";
  const create = async (bytes: Uint8Array, carry?: Carry, signal?: AbortSignal) => {
    const session = nextId();
    const kept = Object.fromEntries(Object.keys(carry?.arrays ?? {}).map((output) => [output, location]));
    const options = { ...sessionOptions, ...(keepsBuffers && carry && { preferredOutputLocation: kept }) };
    const message = { kind: "create", session, bytes, options, carry: carry && { ...carry, location } };
    await worker.request(message, { transfer: [bytes.buffer as ArrayBuffer], signal });
    return session;
  };
  let identity: Promise<number> | undefined;
  const downloader: Downloader = async () => {
    if (!keepsBuffers) return undefined;
    identity ??= compileProgram(IDENTITY, { locate: (path) => path }).then((bytes) => create(bytes));
    return identity;
  };
  return {
    async compile(program: Program, { signal, onProgress }: LongCallOptions = {}): Promise<Session> {
      throwIfAborted(signal, program.name);
      onProgress?.({ stage: "load", item: program.name, done: 0, total: 1, unit: "steps" });
      const spilled = new SpillFile();
      let session: number;
      try {
        const locate = (path: string) => relative(root, path);
        const bytes = await compileProgram(program, { locate, spill: (weight) => spilled.append(weight) });
        session = await create(bytes, program.carry, signal);
      } catch (thrown) {
        if (device === "cpu" || (thrown instanceof ToklipError && thrown.code !== "RUNTIME_FAILED")) throw thrown;
        throw new ToklipError("DEVICE_UNAVAILABLE", `${device}: ${messageOf(thrown)}`, { cause: thrown });
      } finally {
        await spilled.remove();
      }
      onProgress?.({ stage: "load", item: program.name, done: 1, total: 1, unit: "steps" });
      return new OrtSession(worker, session, { nextId, downloader, carries: program.carry !== undefined });
    },
    dispose: () => worker.close(),
  };
}
