/**
 * Worker threads that decode and augment pictures. libvips decodes outside JavaScript's threads already; what the workers
 * add is resizing, colours and normalising, which are as much work.
 *
 * Each worker has two pictures, so that it does not wait for the next one; the others wait in line. What a picture
 * becomes does not depend on the worker.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { messageOf, type NDArray, ndarray, ToklipError, throwIfAborted } from "../core/index.ts";
import type { DecodeSample, DecodeSpec } from "../data/decode.ts";
import { decodeSample } from "./decode-sample.ts";
import type { DecodeAnswer, DecodeRequest } from "./decode-worker.ts";
import type { DecodeOptions } from "./image.ts";

/** False where this runs from its TypeScript sources and Node cannot start a thread from those. */
const HAS_WORKERS = !import.meta.url.endsWith(".ts") || "typescript" in process.features;

/** How pictures are decoded, and by how many threads. */
export interface DecodePoolOptions extends Omit<DecodeOptions, "signal"> {
  /** Worker threads. Default one a core. 0 decodes in the caller's thread. */
  readonly workers?: number;
  /** Options of Node for the workers. Default none. */
  readonly execArgv?: readonly string[];
}

/** Decodes pictures until it is disposed. */
export interface DecodePool {
  /**
   * Can be called any number of times at once; pictures are begun in the order of the calls. An abort refuses what is
   * not begun, as soon as a picture under way is done.
   */
  readonly decode: DecodeSample;
  /** Ends the workers. What is under way or comes later is refused with DISPOSED. */
  dispose(): Promise<void>;
}

/** Pictures that a worker has at one time. */
const DEPTH = 2;

/** The same file in the language that this one is in. */
const WORKER_FILE = new URL(
  import.meta.url.endsWith(".ts") ? "./decode-worker.ts" : "./decode-worker.js",
  import.meta.url,
);

/**
 * Makes a pool. Its threads keep the process alive only while they have work. When one dies, what waits is refused with
 * RUNTIME_FAILED, and so is all that comes later.
 * @throws ARGUMENT_INVALID when `workers` is no whole number from 0
 */
export function createDecodePool(options: DecodePoolOptions = {}): DecodePool {
  const { workers = HAS_WORKERS ? availableParallelism() : 0, execArgv = [], ...how } = options;
  if (!Number.isSafeInteger(workers) || workers < 0) {
    throw new ToklipError("ARGUMENT_INVALID", `decode pool: workers must be a whole number from 0, got ${workers}`);
  }
  if (workers === 0) return new CallersThread(how);
  return new WorkerThreads(workers, execArgv, how);
}

class CallersThread implements DecodePool {
  readonly decode: DecodeSample;
  private disposed = false;

  constructor(options: DecodeOptions) {
    this.decode = async (bytes, spec, signal) => {
      if (this.disposed) throw new ToklipError("DISPOSED", "the decode pool has been disposed of");
      return decodeSample(bytes, spec, { ...options, signal });
    };
  }

  async dispose(): Promise<void> {
    this.disposed = true;
  }
}

/** A picture that was asked for. */
interface Job {
  readonly bytes: Uint8Array;
  readonly spec: DecodeSpec;
  readonly signal: AbortSignal | undefined;
  resolve(pixels: NDArray<"f32">): void;
  reject(error: ToklipError): void;
}

function abortOf({ spec, signal }: Job): ToklipError {
  return new ToklipError("ABORTED", `${spec.key}: stopped on request`, { cause: signal?.reason });
}

class WorkerThreads implements DecodePool {
  readonly decode: DecodeSample;
  private readonly threads: readonly DecodeThread[];
  private readonly waiting: Job[] = [];
  private failure: ToklipError | undefined;

  constructor(count: number, execArgv: readonly string[], options: DecodeOptions) {
    const events = { idle: () => this.next(), died: (error: ToklipError) => this.fail(error) };
    this.threads = Array.from({ length: count }, () => new DecodeThread(execArgv, options, events));
    this.decode = (bytes, spec, signal) => this.enqueue(bytes, spec, signal);
  }

  async dispose(): Promise<void> {
    this.fail(new ToklipError("DISPOSED", "the decode pool has been disposed of"));
    await Promise.all(this.threads.map((thread) => thread.end()));
  }

  private async enqueue(bytes: Uint8Array, spec: DecodeSpec, signal?: AbortSignal): Promise<NDArray<"f32">> {
    throwIfAborted(signal, spec.key);
    if (this.failure) throw this.failure;
    return new Promise((resolve, reject) => {
      this.waiting.push({ bytes, spec, signal, resolve, reject });
      this.next();
    });
  }

  /** Gives what waits to the threads that have least to do. */
  private next(): void {
    for (;;) {
      const job = this.waiting[0];
      if (job === undefined) return;
      const thread = this.threads.reduce((best, other) => (other.load < best.load ? other : best));
      const isAborted = job.signal?.aborted === true;
      if (thread.load >= DEPTH && !isAborted) return;
      this.waiting.shift();
      if (isAborted) job.reject(abortOf(job));
      else thread.begin(job);
    }
  }

  /** Refuses everything, once: threads that end after that are expected to. */
  private fail(error: ToklipError): void {
    if (this.failure) return;
    this.failure = error;
    for (const job of this.waiting.splice(0)) job.reject(error);
    for (const thread of this.threads) thread.refuse(error);
  }
}

interface ThreadEvents {
  /** There is room for another picture. */
  idle(): void;
  died(error: ToklipError): void;
}

/** A worker and the pictures it has. */
class DecodeThread {
  private readonly worker: Worker;
  private readonly options: DecodeOptions;
  private readonly active = new Map<number, Job>();
  private begun = 0;

  constructor(execArgv: readonly string[], options: DecodeOptions, { idle, died }: ThreadEvents) {
    this.options = options;
    // Node's own options are the caller's affair, and some of them a worker refuses.
    this.worker = new Worker(WORKER_FILE, { execArgv: [...execArgv] });
    this.worker.unref();
    this.worker.on("message", (answer: DecodeAnswer) => {
      this.settle(answer);
      idle();
    });
    this.worker.on("error", (error) => died(this.death(messageOf(error))));
    this.worker.on("exit", (code) => died(this.death(`it ended with ${code}`)));
  }

  /** The number of pictures it has. */
  get load(): number {
    return this.active.size;
  }

  begin(job: Job): void {
    const id = this.begun++;
    this.active.set(id, job);
    this.worker.ref();
    // A copy of its own: a view would take the whole buffer behind it along.
    const bytes = new Uint8Array(job.bytes);
    const request: DecodeRequest = { id, bytes, spec: job.spec, options: this.options };
    this.worker.postMessage(request, [bytes.buffer]);
  }

  /** Refuses what it has. */
  refuse(error: ToklipError): void {
    for (const job of this.active.values()) job.reject(error);
    this.active.clear();
    this.worker.unref();
  }

  async end(): Promise<void> {
    await this.worker.terminate();
  }

  private settle(answer: DecodeAnswer): void {
    const job = this.active.get(answer.id);
    this.active.delete(answer.id);
    if (this.active.size === 0) this.worker.unref();
    if (job === undefined) return;
    const { imageSize } = job.spec;
    if (job.signal?.aborted) job.reject(abortOf(job));
    else if ("data" in answer) job.resolve(ndarray("f32", [3, imageSize, imageSize], answer.data));
    else job.reject(new ToklipError(answer.code, answer.reason));
  }

  private death(reason: string): ToklipError {
    const keys = [...this.active.values()].map(({ spec }) => spec.key).join(", ");
    const over = keys === "" ? "" : ` while it had ${keys}`;
    return new ToklipError("RUNTIME_FAILED", `a decoding thread died${over}: ${reason}`);
  }
}
