/**
 * What an evaluation gives, whatever was evaluated: figures, tables and pictures with what they were made from. JSON, the
 * table on the terminal and the HTML report are three views of this one record.
 */
import type { JsonValue } from "../data/index.ts";

/** What can be evaluated. */
export type EvaluationTask = "zeroshot" | "retrieval" | "reconstruction" | "linear-probe" | "knn";

/** One figure. */
export interface Metric {
  /** As the field names it: `"top1"`, `"image_to_text@5"`, `"psnr"`, `"rfid"`. */
  readonly name: string;
  /** Shares are in [0, 1]; a figure of nothing seen is null, never 0/0. */
  readonly value: number | null;
  /** `"share"` is shown in percent. */
  readonly unit: "share" | "dB" | "bits" | "count" | "plain";
  /** What it is a mean over, or a count of. */
  readonly count: number;
  /** Half the width of its 95 % confidence interval, in the metric's own unit, where one is known. */
  readonly margin?: number;
  /** The interval itself, where it is not centred at the value. */
  readonly interval?: readonly [low: number, high: number];
  /** What it says, in a few words, for whoever reads the report. */
  readonly meaning: string;
}

/** Rows of figures, such as one a class. */
export interface EvaluationTable {
  readonly title: string;
  /** Names of the columns; numbers in a column named `...%` are percentages. */
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number | null)[])[];
}

/** A picture of the report with what stands below it. */
export interface EvaluationPicture {
  /** Encoded as PNG. */
  readonly png: Uint8Array;
  readonly caption: string;
  /** Marks what went right or wrong. */
  readonly verdict?: "right" | "wrong";
}

/** Pictures that belong together: worst reconstructions, a confusion matrix, errors. */
export interface EvaluationGallery {
  readonly title: string;
  readonly pictures: readonly EvaluationPicture[];
}

/** Which samples a figure stands for. */
export interface EvaluatedData {
  /** What it is and where: a data set's name. */
  readonly name: string;
  /** Samples that were used. */
  readonly used: number;
  /** Samples that were not, by reason, with the first of each. */
  readonly skipped: readonly { readonly reason: string; readonly count: number; readonly example: string }[];
}

/** The result of an evaluation. */
export interface Evaluation {
  readonly task: EvaluationTask;
  /** The model's name or path, and what it is: `"toklip-mini"`, `"TokLIP, 64 ids of 12 bits, width 256"`. */
  readonly model: { readonly name: string; readonly description: string };
  readonly data: readonly EvaluatedData[];
  /** Every choice that the figures depend on: templates, k, crop, seed, ... */
  readonly settings: Readonly<Record<string, JsonValue>>;
  readonly metrics: readonly Metric[];
  readonly tables: readonly EvaluationTable[];
  readonly galleries: readonly EvaluationGallery[];
  /** Wall-clock seconds, and pictures a second of the part that ran the model (0 when all was there already). */
  readonly seconds: number;
  readonly picturesPerSecond: number;
}
