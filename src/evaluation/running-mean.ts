/** The mean of values that pass by, and how sure it is. */
import type { Metric } from "./evaluation.ts";
import { Z } from "./statistics.ts";

/** Mean and variance by Welford's update (1962), which loses no digits however many come. */
export class RunningMean {
  private mean = 0;
  private squares = 0;
  private seen = 0;

  /** Takes in a value. */
  add(value: number): void {
    this.seen++;
    const before = value - this.mean;
    this.mean += before / this.seen;
    this.squares += before * (value - this.mean);
  }

  /** How many there were. */
  get count(): number {
    return this.seen;
  }

  /** Their mean; null of none. */
  get value(): number | null {
    return this.seen > 0 ? this.mean : null;
  }

  /** The mean as a figure, with half the width of its 95 % interval where there are two values or more. */
  metric(name: string, unit: Metric["unit"], meaning: string): Metric {
    const margin = Z * Math.sqrt(this.squares / (this.seen - 1) / this.seen);
    return { name, value: this.value, unit, count: this.seen, ...(this.seen > 1 && { margin }), meaning };
  }
}
