/**
 * Learning rates by step, as open_clip computes them: a linear warm-up from base / warmup to base, then a course of its
 * own. Steps count from 0 and the rate is set before the step is made.
 */
import { ToklipError } from "../core/index.ts";

/** The learning rate at a step, from 0, of a run of `total` steps. */
export type Schedule = (step: number, total: number) => number;

/** What a schedule is made of. */
export interface ScheduleOptions {
  /** The highest rate. */
  readonly learningRate: number;
  /** The steps of the warm-up; the last of them has the full rate. Default 0. */
  readonly warmup?: number;
  /** What is left at the end, as a fraction of `learningRate`; only `cosine` reads it. Default 0. */
  readonly finalFraction?: number;
}

/** What follows the warm-up: the fraction of the highest rate, from the fraction in [0, 1] of the way behind us. */
type Course = (progress: number, finalFraction: number) => number;

const COURSES = {
  constant: () => 1,
  cosine: (progress, final) => final + (1 - final) * (0.5 * (1 + Math.cos(Math.PI * progress))),
} as const satisfies Record<string, Course>;

/** The name of a schedule: `constant` or `cosine`, both after the warm-up. */
export type ScheduleName = keyof typeof COURSES;

/** The names of all schedules. */
export const SCHEDULE_NAMES = Object.keys(COURSES) as readonly ScheduleName[];

/**
 * Makes a schedule. Cosine falls to `finalFraction` of the rate at step `total`, which is never made, and stays there.
 * @throws ARGUMENT_INVALID when a number is out of its range.
 */
export function createSchedule(name: ScheduleName, options: ScheduleOptions): Schedule {
  const { learningRate, warmup = 0, finalFraction = 0 } = options;
  check(Number.isFinite(learningRate) && learningRate >= 0, `learning rate ${learningRate} is not a number >= 0`);
  check(Number.isSafeInteger(warmup) && warmup >= 0, `warm-up of ${warmup} steps is not a whole number >= 0`);
  check(finalFraction >= 0 && finalFraction <= 1, `final fraction ${finalFraction} is not in [0, 1]`);
  const course: Course = COURSES[name];
  return (step, total) => {
    if (step < warmup) return (learningRate * (step + 1)) / warmup;
    const progress = step < total ? (step - warmup) / (total - warmup) : 1;
    return course(progress, finalFraction) * learningRate;
  };
}

function check(holds: boolean, complaint: string): void {
  if (!holds) throw new ToklipError("ARGUMENT_INVALID", `schedule: ${complaint}`);
}
