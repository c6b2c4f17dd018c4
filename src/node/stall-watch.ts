/** Ends a request when its server has sent nothing for a while, or when the caller wants no more. */
import { messageOf, ToklipError } from "../core/index.ts";
import { TransientError } from "./retries.ts";

export class StallWatch {
  /** What the request must listen to. */
  readonly signal: AbortSignal;
  private readonly silence = new AbortController();
  private readonly timer: NodeJS.Timeout;
  private readonly stallMs: number;
  private readonly caller: AbortSignal | undefined;
  private resting = false;

  constructor(stallMs: number, caller: AbortSignal | undefined) {
    this.stallMs = stallMs;
    this.caller = caller;
    this.timer = setTimeout(() => {
      if (!this.resting) this.silence.abort();
    }, stallMs);
    this.signal = caller === undefined ? this.silence.signal : AbortSignal.any([caller, this.silence.signal]);
  }

  /** Something came, or is waited for again: the time runs anew. */
  touch(): void {
    this.resting = false;
    this.timer.refresh();
  }

  /** Nothing is waited for: silence is no fault until the next touch. */
  rest(): void {
    this.resting = true;
  }

  /** The request is over; what is left of it is dropped. */
  end(): void {
    clearTimeout(this.timer);
    this.silence.abort();
  }

  /** What the failure of a request or of a read means. */
  explain(thrown: unknown, { host }: URL): ToklipError {
    if (this.caller?.aborted) return new ToklipError("ABORTED", `${host}: stopped on request`, { cause: thrown });
    if (this.silence.signal.aborted) return new TransientError(`${host}: sent nothing for ${this.stallMs / 1000} s`);
    const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
    const reason = (cause as { code?: string }).code ?? messageOf(cause);
    return new TransientError(`${host}: the connection failed (${reason})`, 0, { cause: thrown });
  }
}
