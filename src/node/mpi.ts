/**
 * Data-parallel training over MPI: `mpirun -n 2 ...` starts the processes, and this joins them. The collective
 * operations are those of the system's MPI library; that a process was lost is noticed beside MPI, by `Watch`.
 */
import { hostname } from "node:os";
import process from "node:process";
import { inspect } from "node:util";
import { ToklipError } from "../core/index.ts";
import { type Communicator, type Milestone, singleProcess } from "../train/communicator.ts";
import { loadMpi, type MpiArray, type MpiFamily, type MpiLibrary } from "./mpi-library.ts";
import { startLookout, Watch } from "./mpi-watch.ts";

/** Elements a call: MPI counts in 32 bits, and a library may need as much memory again as a call sends. */
const CALL_LENGTH = 2 ** 24;
const HOST_NAME_BYTES = 256;

/** The variables by which launchers tell a process how many there are. */
const LAUNCHERS: readonly { readonly family: MpiFamily; readonly size: string }[] = [
  { family: "openMpi", size: "OMPI_COMM_WORLD_SIZE" },
  { family: "mpich", size: "PMI_SIZE" },
];

/** A communicator over the processes that one `mpirun` started. */
export interface MpiCommunicator extends Communicator {
  /** How many of the processes run on this host: they share its cores. */
  readonly localSize: number;
  /** The MPI library: its file, name and version. */
  readonly library: string;
}

/** Options of `createMpiCommunicator`. */
export interface MpiOptions {
  /** Path or name of the MPI library; otherwise the one that belongs to the launcher is looked for. */
  readonly library?: string | undefined;
}

/**
 * Joins the processes that the launcher started together with this one. From here on, when one of them is lost, a line
 * on standard error says which, at which step, and from which checkpoint to resume, and every other process exits with
 * code 1. To leave without `close()` is to be lost: it ends the others too.
 * @throws MPI_UNAVAILABLE if koffi or the library is missing, or the library is not the launcher's; PEER_LOST
 */
export async function createMpiCommunicator({ library }: MpiOptions = {}): Promise<MpiCommunicator> {
  const launch = launchedBy();
  const mpi = await loadMpi(library, launch?.family ?? "mpich");
  mpi.init();
  if (launch !== undefined && launch.size !== mpi.size()) {
    const seen = `${mpi.name} sees ${mpi.size()} of the ${launch.size} processes`;
    throw new ToklipError("MPI_UNAVAILABLE", `${seen}: it is not the library of this mpirun`);
  }
  const exchange = new Exchange(mpi);
  const hosts = await hostNames(exchange);
  const address = mpi.rank() === 0 ? await startLookout(new Set(hosts).size === 1) : undefined;
  const shared = JSON.parse(await exchange.broadcast(JSON.stringify(address ?? null)));
  const watch = await Watch.begin(shared, mpi.rank(), (told) => {
    if (!told)
      process.stderr.write("toklip: the host of rank 0 was lost; resume from the last checkpoint [PEER_LOST]\n");
    mpi.exitNow(1);
  });
  return new WatchedCommunicator(exchange, mpi, watch, hosts.filter((host) => host === hosts[mpi.rank()]).length);
}

/**
 * The communicator of however this process was started: over all processes of an `mpirun` of more than one, otherwise
 * `singleProcess`, which needs no MPI.
 * @throws MPI_UNAVAILABLE, PEER_LOST
 */
export async function communicatorFromEnvironment(options: MpiOptions = {}): Promise<Communicator | MpiCommunicator> {
  const launch = launchedBy();
  return launch === undefined || launch.size === 1 ? singleProcess : createMpiCommunicator(options);
}

/** Which launcher started this process, and how many with it. */
function launchedBy(): { family: MpiFamily; size: number } | undefined {
  for (const { family, size } of LAUNCHERS) {
    const value = Number(process.env[size]);
    if (value >= 1) return { family, size: value };
  }
  return undefined;
}

/** The host of each rank. */
async function hostNames(exchange: Exchange): Promise<string[]> {
  const mine = new Uint8Array(HOST_NAME_BYTES);
  new TextEncoder().encodeInto(hostname(), mine);
  const all = await exchange.allGather(new Int32Array(mine.buffer));
  const rows = Buffer.from(all.buffer);
  return Array.from({ length: rows.length / HOST_NAME_BYTES }, (_, rank) =>
    rows.toString("utf8", rank * HOST_NAME_BYTES, (rank + 1) * HOST_NAME_BYTES).replace(/\0+$/, ""),
  );
}

/** The collective operations, one at a time, in calls of bounded length. */
class Exchange {
  readonly rank: number;
  readonly size: number;
  private readonly mpi: MpiLibrary;
  private last: Promise<unknown> = Promise.resolve();
  private pending = 0;

  constructor(mpi: MpiLibrary) {
    this.mpi = mpi;
    this.rank = mpi.rank();
    this.size = mpi.size();
  }

  /** Whether an operation is under way. */
  get busy(): boolean {
    return this.pending > 0;
  }

  allReduceSum(data: Float32Array): Promise<void> {
    return this.inTurn(async () => {
      for (const part of parts(data)) await this.mpi.allReduceSum(part);
    });
  }

  allGather<T extends Float32Array | Int32Array>(data: T): Promise<T> {
    return this.inTurn(async () => {
      await this.checkLengths(data.length);
      const result = new (arrayOf(data))(data.length * this.size);
      let at = 0;
      for (const part of parts(data)) {
        const gathered = new (arrayOf(data))(part.length * this.size);
        await this.mpi.allGather(part, gathered);
        for (let rank = 0; rank < this.size; rank++) {
          result.set(gathered.subarray(rank * part.length, (rank + 1) * part.length), rank * data.length + at);
        }
        at += part.length;
      }
      return result;
    });
  }

  broadcast(text: string): Promise<string> {
    return this.inTurn(async () => {
      const own = this.rank === 0 ? new TextEncoder().encode(text) : new Uint8Array();
      const length = new Int32Array([own.length]);
      await this.mpi.broadcast(length);
      const bytes = this.rank === 0 ? own : new Uint8Array(length[0]!);
      for (const part of parts(bytes)) await this.mpi.broadcast(part);
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
    });
  }

  barrier(): Promise<void> {
    return this.inTurn(() => this.mpi.barrier());
  }

  /** MPI does not notice that lengths differ: it hangs, or returns what is not there. */
  private async checkLengths(length: number): Promise<void> {
    const lengths = new Int32Array(this.size);
    await this.mpi.allGather(new Int32Array([length]), lengths);
    if (lengths.some((other) => other !== length)) {
      throw new ToklipError("SHAPE_MISMATCH", `allGather: the ranks' arrays have lengths ${lengths.join(", ")}`);
    }
  }

  /** Runs `work` after all that was asked for before: MPI takes calls from several threads, but one at a time. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    this.pending++;
    const result = this.last.then(work).finally(() => this.pending--);
    this.last = result.catch(() => {});
    return result;
  }
}

class WatchedCommunicator implements MpiCommunicator {
  readonly rank: number;
  readonly size: number;
  readonly localSize: number;
  readonly library: string;
  private readonly exchange: Exchange;
  private readonly mpi: MpiLibrary;
  private readonly watch: Watch;
  private closed = false;

  constructor(exchange: Exchange, mpi: MpiLibrary, watch: Watch, localSize: number) {
    this.exchange = exchange;
    this.mpi = mpi;
    this.watch = watch;
    this.localSize = localSize;
    this.library = mpi.name;
    this.rank = exchange.rank;
    this.size = exchange.size;
    process.on("uncaughtExceptionMonitor", this.failWhileWaiting);
    process.on("exit", this.exitWhileWaiting);
  }

  async allReduceSum(data: Float32Array): Promise<void> {
    return this.open().allReduceSum(data);
  }

  async allGather<T extends Float32Array | Int32Array>(data: T): Promise<T> {
    return this.open().allGather(data);
  }

  async broadcast(text: string): Promise<string> {
    return this.open().broadcast(text);
  }

  async barrier(): Promise<void> {
    return this.open().barrier();
  }

  mark(milestone: Milestone): void {
    this.open();
    this.watch.mark(milestone);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    const barrier = this.exchange.barrier();
    this.closed = true;
    await barrier;
    await this.watch.leave();
    this.mpi.finalize();
    process.off("uncaughtExceptionMonitor", this.failWhileWaiting);
    process.off("exit", this.exitWhileWaiting);
  }

  private open(): Exchange {
    if (this.closed) throw new ToklipError("DISPOSED", "the communicator has been closed");
    return this.exchange;
  }

  /** Exiting would wait for a thread that waits inside MPI, maybe for ever. */
  private readonly exitWhileWaiting = (code: number): void => {
    if (this.exchange.busy) this.mpi.exitNow(code === 0 ? 1 : code);
  };

  /** Node prints such an error after the "exit" event only. */
  private readonly failWhileWaiting = (error: unknown): void => {
    if (this.exchange.busy) process.stderr.write(`${inspect(error)}\n`);
  };
}

/** Views of all of `data`, each short enough for one call. */
function* parts<T extends MpiArray>(data: T): Generator<T> {
  for (let at = 0; at < data.length; at += CALL_LENGTH) yield data.subarray(at, at + CALL_LENGTH) as T;
}

/** The constructor of an array's kind. */
const arrayOf = <T extends MpiArray>(array: T) => array.constructor as new (length: number) => T;
