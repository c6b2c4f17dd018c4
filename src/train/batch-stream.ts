/** The batches of a run, one at a time, until they end, fail, or someone interrupts the waiting for one. */
import { ToklipError, throwIfAborted } from "../core/index.ts";

/** A batch, or why there is none. */
export type NextBatch<Batch> = { readonly batch: Batch } | { readonly reason: ToklipError };

const INTERRUPTED = "training: interrupted";

/** Takes batches from a source that may be slow. */
export class BatchStream<Batch> {
  private readonly source: AsyncIterator<Batch>;
  private readonly signal: AbortSignal | undefined;
  /** A source that is still at work when the waiting ends would only be asked to end after it. */
  private waiting = false;

  constructor(batches: AsyncIterable<Batch>, signal: AbortSignal | undefined) {
    this.source = batches[Symbol.asyncIterator]();
    this.signal = signal;
  }

  /** The next batch. Never rejects with a `ToklipError`: that is the reason why there is none. */
  async next(): Promise<NextBatch<Batch>> {
    try {
      throwIfAborted(this.signal, INTERRUPTED);
      this.waiting = true;
      const { done, value } = await orAbort(this.source.next(), this.signal);
      this.waiting = false;
      if (done) throw new ToklipError("DATA_EMPTY", "training: the data came to its end");
      return { batch: value };
    } catch (thrown) {
      // A source that was given the signal itself fails with it.
      if (this.signal?.aborted) return { reason: new ToklipError("ABORTED", INTERRUPTED, { cause: thrown }) };
      if (thrown instanceof ToklipError) return { reason: thrown };
      throw thrown;
    }
  }

  /** Ends the source, which frees what it holds. Does not wait for one that is at work. */
  async close(): Promise<void> {
    const ended = Promise.resolve(this.source.return?.()).catch(() => undefined);
    if (!this.waiting) await ended;
  }
}

/** The value, or a rejection as soon as the signal fires. */
async function orAbort<T>(value: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return value;
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(new ToklipError("ABORTED", INTERRUPTED));
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([value, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
