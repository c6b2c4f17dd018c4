/** Text going out: lines with backpressure, and the ways values are written for people. */
import type { Writable } from "node:stream";
import { messageOf, ToklipError } from "../core/index.ts";

/** A stream such as `process.stdout`. */
export type TextStream = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** Lines to a stream that may be slower than we are, or closed by its reader. */
export class Output {
  readonly stream: TextStream;
  /** True once the reader has gone away (`toklip ... | head`). */
  closed = false;

  constructor(stream: TextStream) {
    this.stream = stream;
    // Without a listener the stream's error would end the process with a stack trace; `write` tells of it.
    stream.on("error", (error) => this.note(error));
  }

  /** Whether a person watches. */
  get isTerminal(): boolean {
    return this.stream.isTTY === true;
  }

  /** Writes one line, and waits until the stream has taken it. @throws FILE_WRITE_FAILED */
  line(text: string): Promise<void> {
    return this.write(`${text}\n`);
  }

  /** Writes text as it is, and waits until the stream has taken it. @throws FILE_WRITE_FAILED */
  write(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.stream.write(text, (error) => {
        if (!error) return resolve();
        this.note(error);
        reject(new ToklipError("FILE_WRITE_FAILED", `standard output: ${messageOf(error)}`, { cause: error }));
      });
    });
  }

  private note(error: Error & { code?: unknown }): void {
    if (GONE.has(error.code)) this.closed = true;
  }
}

/** What a stream says when its reader has gone away: at once, and at every write after that. */
const GONE: ReadonlySet<unknown> = new Set(["EPIPE", "ERR_STREAM_DESTROYED"]);

/** Rows as text with aligned columns, two spaces apart. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** `1.7 GB`: three digits, decimal units. */
export function formatBytes(bytes: number): string {
  return formatScaled(bytes, ["B", "kB", "MB", "GB", "TB"], 1000);
}

/** `428 M`: three digits. */
export function formatCount(count: number): string {
  return formatScaled(count, ["", "k", "M", "G"], 1000).trim();
}

function formatScaled(value: number, units: readonly string[], step: number): string {
  let unit = 0;
  let scaled = value;
  while (scaled >= step * 0.9995 && unit < units.length - 1) {
    scaled /= step;
    unit++;
  }
  const text = unit === 0 ? String(Math.round(scaled)) : scaled.toPrecision(3);
  return `${text} ${units[unit]}`;
}

/** `1 h 5 min`, `2 min 30 s`, `9 s`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}
