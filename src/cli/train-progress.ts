/**
 * How a training goes, on stderr: one line that is redrawn where a person watches, a line about every ten seconds where
 * a log does; and a line for each thing that happens but once. With `--quiet` only what went wrong.
 */
import type { TrainingEvent } from "../train/loop.ts";
import type { CliContext } from "./context.ts";
import { formatDuration, type Output } from "./output.ts";

/** Seconds between two lines of a log, and between two drawings. */
const LINE_INTERVAL = 10;
const DRAW_INTERVAL = 0.1;

type StepEvent = Extract<TrainingEvent, { type: "step" }>;
type OnceEvent = Exclude<TrainingEvent, StepEvent>;

/** Shows the events of a run. */
export class TrainProgress {
  private readonly err: Output;
  private readonly now: () => number;
  private readonly quiet: boolean;
  private shownAt = Number.NEGATIVE_INFINITY;
  private isDrawn = false;

  constructor(
    { stderr, now }: Pick<CliContext, "stderr" | "now">,
    { quiet = false }: { quiet?: boolean | undefined } = {},
  ) {
    this.err = stderr;
    this.now = now;
    this.quiet = quiet;
  }

  /** Takes an event; a method value, so that it can be handed on as `onEvent`. */
  readonly report = (event: TrainingEvent): void => {
    if (this.quiet && event.type !== "warning") return;
    if (event.type === "step") this.step(event);
    else this.print(`toklip: ${describe(event)}`);
  };

  /** Leaves the last drawn line on the screen, and what comes next below it. */
  stop(): void {
    if (this.isDrawn) this.write("\n");
    this.isDrawn = false;
  }

  private step(event: StepEvent): void {
    const now = this.now();
    const isLast = event.step === event.totalSteps;
    if (!isLast && now - this.shownAt < (this.err.isTerminal ? DRAW_INTERVAL : LINE_INTERVAL)) return;
    this.shownAt = now;
    const line = formatStep(event);
    if (this.err.isTerminal) this.draw(line);
    else this.print(`toklip: ${line}`);
  }

  private draw(line: string): void {
    // A line that wraps could not be taken back.
    this.write(`\r\u001b[K${line.slice(0, (this.err.stream.columns ?? 80) - 1)}`);
    this.isDrawn = true;
  }

  private print(line: string): void {
    this.write(`${this.isDrawn ? "\r\u001b[K" : ""}${line}\n`);
    this.isDrawn = false;
  }

  private write(text: string): void {
    this.err.write(text).catch(() => {}); // nobody is left to tell
  }
}

/** `step 120/5000  loss 3.21 (contrastive 2.1, distill 1.1)  lr 1.0e-4  |g| 0.83  71 img/s  12 min 5 s left`. */
export function formatStep({ step, totalSteps, report, imagesPerSecond, secondsLeft }: StepEvent): string {
  const parts = Object.entries(report.parts).map(([name, value]) => `${name} ${digits(value, 2)}`);
  return [
    `step ${step}/${totalSteps}`,
    `loss ${digits(report.loss, 3)}${parts.length > 0 ? ` (${parts.join(", ")})` : ""}`,
    `lr ${report.learningRate.toExponential(1)}`,
    `|g| ${digits(report.gradientNorm, 2)}`,
    ...(imagesPerSecond > 0 ? [`${digits(imagesPerSecond, 2)} img/s`] : []),
    ...(secondsLeft !== undefined && step < totalSteps ? [`${formatDuration(secondsLeft)} left`] : []),
  ].join("  ");
}

/** What happens but once, as a line. */
const DESCRIPTIONS: { readonly [T in OnceEvent["type"]]: (event: Extract<OnceEvent, { type: T }>) => string } = {
  started: ({ step, totalSteps, resumedFrom }) =>
    resumedFrom === undefined
      ? `training for ${totalSteps} steps`
      : `going on after step ${step} of ${totalSteps}, from ${resumedFrom}`,
  evaluation: ({ step, values, isBest }) => {
    const named = Object.entries(values).map(([name, value]) => `${name} ${digits(value, 4)}`);
    return `evaluation after step ${step}: ${named.join(", ")}${isBest ? " (best so far)" : ""}`;
  },
  checkpoint: ({ path }) => `saved ${path}`,
  stopping: () => "interrupted: the step under way is finished and saved; once more gives up at once",
  warning: ({ message }) => message,
};

function describe(event: OnceEvent): string {
  return (DESCRIPTIONS[event.type] as (event: OnceEvent) => string)(event);
}

/** At least so many significant digits; whole numbers in full. */
function digits(value: number, count: number): string {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(count - 1);
  return size >= 10 ** (count - 1) ? String(Math.round(value * 10) / 10) : value.toPrecision(count);
}
