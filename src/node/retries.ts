/** Trying again, a bounded number of times and ever more slowly, where the failure may pass. */
import { ToklipError } from "../core/index.ts";
import { pause } from "./pause.ts";

/** How long a download bears with a bad network. */
export interface Patience {
  /** How long a server may send nothing. */
  readonly stallMs: number;
  /** Failures in a row, with hardly a byte between them, before it gives up. */
  readonly attempts: number;
  /** The wait after the first failure; doubled after each further one. */
  readonly backoffMs: number;
}

export const PATIENCE: Patience = { stallMs: 30_000, attempts: 5, backoffMs: 1000 };

/** A DOWNLOAD_FAILED that may pass: a broken connection, a busy server. */
export class TransientError extends ToklipError {
  /** How long the server wants to be left alone. */
  readonly waitMs: number;

  constructor(message: string, waitMs = 0, options?: { cause?: unknown }) {
    super("DOWNLOAD_FAILED", message, options);
    this.waitMs = waitMs;
  }
}

/**
 * Runs `attempt` until it succeeds, fails for good, or has failed too often.
 * @param progressed whether anything was won since it was last asked: the count of failures then begins anew
 * @throws what `attempt` threw last; ABORTED
 */
export async function withRetries<T>(
  { attempts, backoffMs }: Patience,
  signal: AbortSignal | undefined,
  attempt: () => Promise<T>,
  progressed: () => boolean = () => false,
): Promise<T> {
  for (let failures = 0; ; ) {
    try {
      return await attempt();
    } catch (thrown) {
      if (!(thrown instanceof TransientError)) throw thrown;
      failures = progressed() ? 1 : failures + 1;
      if (failures >= attempts) throw thrown;
      await pause(Math.max(backoffMs * 2 ** (failures - 1), thrown.waitMs), signal, "the download");
    }
  }
}
