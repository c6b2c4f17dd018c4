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
  private lately = { steps: 0, images: 0, seconds: 0, data: 0 };
  /** What a step took and had, smoothed. */
  private smoothed: { readonly seconds: number; readonly images: number } | undefined;

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

  /** The step is done. @param images of it, where that is not the same for each */
  stepped(images = this.imagesPerStep): void {
    const seconds = this.now() - this.askedAt;
    this.steps++;
    this.lately.steps++;
    this.lately.images += images;
    this.lately.seconds += seconds;
    this.lately.data += this.gotAt - this.askedAt;
    const { smoothed = { seconds, images } } = this;
    const mixed = (before: number, now: number): number => KEPT * before + (1 - KEPT) * now;
    this.smoothed = { seconds: mixed(smoothed.seconds, seconds), images: mixed(smoothed.images, images) };
  }

  /** Seconds since the session began. */
  get elapsed(): number {
    return this.now() - this.startedAt;
  }

  /** Images a second of the last steps. Evaluations and checkpoints are not in it. */
  get imagesPerSecond(): number {
    return this.smoothed && this.smoothed.seconds > 0 ? this.smoothed.images / this.smoothed.seconds : 0;
  }

  /** Seconds until `steps` more are done, everything that happens between steps included. */
  left(steps: number): number | undefined {
    return this.steps === 0 ? undefined : (this.elapsed / this.steps) * steps;
  }

  /** The mean speed since this was called last. */
  since(): Speed {
    const { steps, images, seconds, data } = this.lately;
    this.lately = { steps: 0, images: 0, seconds: 0, data: 0 };
    return {
      imagesPerSecond: seconds > 0 ? images / seconds : 0,
      dataSeconds: steps > 0 ? data / steps : 0,
    };
  }
}
