/** How fast a run goes: images a second, seconds a step waits for its data, and what is left. */

/** How much of the mean before stays when a new step comes. */
const KEPT = 0.9;

/** Mean speed over some steps. */
export interface Speed {
  readonly imagesPerSecond: number;
  readonly dataSeconds: number;
}

/** Measures steps. All times are seconds. */
export class Pace {
  private readonly now: () => number;
  private readonly imagesPerStep: number;
  private readonly startedAt: number;
  private steps = 0;
  /** When the batch was asked for, and when it came. */
  private askedAt = 0;
  private gotAt = 0;
  /** Since `since()` was last called. */
  private lately = { steps: 0, seconds: 0, data: 0 };
  /** Seconds a step took, smoothed. */
  private smoothed: number | undefined;

  constructor(now: () => number, imagesPerStep: number) {
    this.now = now;
    this.imagesPerStep = imagesPerStep;
    this.startedAt = now();
  }

  /** A batch is asked for. */
  ask(): void {
    this.askedAt = this.now();
  }

  /** It came. */
  got(): void {
    this.gotAt = this.now();
  }

  /** The step is done. */
  stepped(): void {
    const seconds = this.now() - this.askedAt;
    this.steps++;
    this.lately.steps++;
    this.lately.seconds += seconds;
    this.lately.data += this.gotAt - this.askedAt;
    this.smoothed = this.smoothed === undefined ? seconds : KEPT * this.smoothed + (1 - KEPT) * seconds;
  }

  /** Seconds since the session began. */
  get elapsed(): number {
    return this.now() - this.startedAt;
  }

  /** Images a second of the last steps. Evaluations and checkpoints are not in it. */
  get imagesPerSecond(): number {
    return this.smoothed ? this.imagesPerStep / this.smoothed : 0;
  }

  /** Seconds until `steps` more are done, everything that happens between steps included. */
  left(steps: number): number | undefined {
    return this.steps === 0 ? undefined : (this.elapsed / this.steps) * steps;
  }

  /** The mean speed since this was called last. */
  since(): Speed {
    const { steps, seconds, data } = this.lately;
    this.lately = { steps: 0, seconds: 0, data: 0 };
    return {
      imagesPerSecond: seconds > 0 ? (steps * this.imagesPerStep) / seconds : 0,
      dataSeconds: steps > 0 ? data / steps : 0,
    };
  }
}
