/**
 * How far long work is, on stderr: a bar with rate and remaining time where a person watches, a plain line about every
 * ten seconds where a log does, nothing with `--quiet`.
 */
import cliProgress, { type Options, type SingleBar } from "cli-progress";
import type { ProgressEvent } from "../core/index.ts";
import type { CliContext } from "./context.ts";
import { formatBytes, formatDuration, type Output } from "./output.ts";

/** Seconds between two lines of a log. */
const LINE_INTERVAL = 10;

const BAR: Options = {
  format: formatBar,
  barsize: 24,
  clearOnComplete: true,
  hideCursor: true,
  forceRedraw: true,
};

/** What is being shown: one stage of the work. */
interface Stage {
  readonly name: string;
  readonly unit: ProgressEvent["unit"];
  readonly startedAt: number;
  /** What was done before this stage began to be watched (by an interrupted run), which says nothing of our speed. */
  readonly startedWith: number;
  lineAt: number;
}

/** Shows progress events and messages without one tearing the other. */
export class Progress {
  private readonly err: Output;
  private readonly now: () => number;
  private readonly quiet: boolean;
  private bar: SingleBar | undefined;
  private stage: Stage | undefined;

  constructor(
    { stderr, now }: Pick<CliContext, "stderr" | "now">,
    { quiet = false }: { quiet?: boolean | undefined } = {},
  ) {
    this.err = stderr;
    this.now = now;
    this.quiet = quiet;
  }

  /** Takes an event; a method value, so that it can be handed on as `onProgress`. */
  readonly report = (event: ProgressEvent): void => {
    if (this.quiet) return;
    const now = this.now();
    if (this.stage?.name !== event.stage || this.stage.unit !== event.unit) {
      this.endBar();
      this.stage = { name: event.stage, unit: event.unit, startedAt: now, startedWith: event.done, lineAt: now };
    }
    const text = describe(event, this.stage, now);
    if (this.err.isTerminal) this.draw(event, text);
    else if (now - this.stage.lineAt >= LINE_INTERVAL) {
      this.stage.lineAt = now;
      this.print(`toklip: ${event.stage} ${text}`);
    }
  };

  /** Prints a line that is shown even with `--quiet`: something went wrong. */
  warn(text: string): void {
    this.print(`toklip: ${text}`);
  }

  /** Prints a line. */
  note(text: string): void {
    if (!this.quiet) this.print(`toklip: ${text}`);
  }

  /** Takes the bar off the screen. */
  stop(): void {
    this.endBar();
    this.stage = undefined;
  }

  private draw(event: ProgressEvent, text: string): void {
    const payload = { stage: event.stage, text, known: event.total !== undefined };
    if (this.bar === undefined) {
      this.bar = new cliProgress.SingleBar({ ...BAR, stream: this.err.stream });
      this.bar.start(event.total ?? 0, event.done, payload);
      return;
    }
    if (event.total !== undefined) this.bar.setTotal(event.total);
    this.bar.update(event.done, payload);
  }

  private endBar(): void {
    this.bar?.stop();
    this.bar = undefined;
  }

  private print(line: string): void {
    const clear = this.bar ? "\r\u001b[K" : "";
    this.err.write(`${clear}${line}\n`).catch(() => {}); // nobody is left to tell
  }
}

/** `120 of 5000 images, 8.3 images/s, 9 min 48 s left`. */
function describe({ done, total, unit }: ProgressEvent, stage: Stage, now: number): string {
  const amount = (value: number): string => (unit === "bytes" ? formatBytes(value) : String(value));
  const name = unit === "bytes" ? "" : ` ${unit}`;
  const seconds = now - stage.startedAt;
  const rate = seconds > 0 ? (done - stage.startedWith) / seconds : 0;
  const parts = [total === undefined ? `${amount(done)}${name}` : `${amount(done)} of ${amount(total)}${name}`];
  if (rate > 0) {
    parts.push(unit === "bytes" ? `${formatBytes(rate)}/s` : `${Number(rate.toPrecision(3))} ${unit}/s`);
    if (total !== undefined && total > done) parts.push(`${formatDuration((total - done) / rate)} left`);
  }
  return parts.join(", ");
}

function formatBar(
  options: { barsize?: number | undefined },
  { progress }: { progress: number },
  { stage, text, known }: { stage: string; text: string; known: boolean },
): string {
  if (!known) return `${stage}  ${text}`;
  const size = options.barsize ?? 24;
  const filled = Math.round(Math.min(1, Math.max(0, progress)) * size);
  return `${stage} [${"=".repeat(filled)}${" ".repeat(size - filled)}] ${text}`;
}
