/** Samples that could not be used: told from failures of the run itself, counted by reason, and limited. */
import { type ErrorCode, messageOf, ToklipError } from "../core/index.ts";
import type { BadSample } from "./dataset.ts";

/** The errors that speak of one sample alone, and the word that they are counted under. */
const REASONS: Partial<Record<ErrorCode, string>> = {
  IMAGE_UNREADABLE: "undecodable",
  IMAGE_TOO_LARGE: "too large",
  FILE_NOT_FOUND: "no image",
  FILE_READ_FAILED: "unreadable",
  FILE_CORRUPT: "unreadable",
  FILE_UNSUPPORTED: "unreadable",
  DATA_INVALID: "unreadable",
  IDS_GRID_MISMATCH: "ids of another grid",
  IDS_OUT_OF_RANGE: "ids of another codebook",
  DOWNLOAD_FAILED: "not downloaded",
  TOKENIZER_INVALID: "caption not tokenizable",
};

/** What went wrong with one sample. An error that is not about the sample is thrown on. */
export function badSampleOf(key: string, error: unknown): BadSample {
  const reason = error instanceof ToklipError ? REASONS[error.code] : undefined;
  if (reason === undefined) throw error;
  const message = messageOf(error);
  return { key, reason, message: message.startsWith(key) ? message : `${key}: ${message}` };
}

/** How many samples were met and how many of them were bad. */
export interface BadCounts {
  readonly seen: number;
  readonly bad: number;
  readonly reasons: Readonly<Record<string, number>>;
}

/** When there are too many. */
export interface BadLimit {
  /** The largest number of bad samples. Without limit where absent. */
  readonly count?: number;
  /** The largest share of the samples seen. Default 0.1. */
  readonly fraction?: number;
  /** The share counts from so many samples seen on, and so does that there must be good ones at all. Default 100. */
  readonly after?: number;
}

/** How many samples of each reason are kept as examples. */
const EXAMPLES = 3;

/** Counts samples, and stops the run when too many are bad. */
export class BadSampleLog {
  private readonly limit: BadLimit;
  private readonly byReason = new Map<string, { count: number; readonly examples: BadSample[] }>();
  private seen = 0;
  private bad = 0;

  constructor(limit: BadLimit = {}) {
    this.limit = limit;
  }

  /** Counts a sample that was used. @throws DATA_TOO_BAD */
  addGood(): void {
    this.seen++;
    this.check();
  }

  /** Counts a sample that could not be. @throws DATA_TOO_BAD */
  addBad(sample: BadSample): void {
    this.seen++;
    this.bad++;
    const known = this.byReason.get(sample.reason) ?? { count: 0, examples: [] };
    this.byReason.set(sample.reason, known);
    known.count++;
    if (known.examples.length < EXAMPLES) known.examples.push(sample);
    this.check();
  }

  /** The counts up to now. */
  get counts(): BadCounts {
    const reasons = Object.fromEntries([...this.byReason].map(([reason, { count }]) => [reason, count]));
    return { seen: this.seen, bad: this.bad, reasons };
  }

  /** The first samples of each reason. */
  get examples(): readonly BadSample[] {
    return [...this.byReason.values()].flatMap(({ examples }) => examples);
  }

  private check(): void {
    const { count = Number.POSITIVE_INFINITY, fraction = 0.1, after = 100 } = this.limit;
    if (this.bad > count) throw this.tooBad(`more than the ${count} allowed`);
    if (this.seen < after) return;
    if (this.bad === this.seen) throw this.tooBad("not a single one could");
    if (this.bad > fraction * this.seen) {
      throw this.tooBad(`more than the ${100 * fraction} % allowed`);
    }
  }

  private tooBad(why: string): ToklipError {
    const reasons = [...this.byReason].map(([reason, { count }]) => `${count} ${reason}`).join(", ");
    const example = this.examples[0]?.message ?? "";
    return new ToklipError(
      "DATA_TOO_BAD",
      `${this.bad} of ${this.seen} samples could not be used (${reasons}), ${why}; the first: ${example}`,
    );
  }
}
