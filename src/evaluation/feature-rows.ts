/**
 * Image features of a data set as the evaluations read them: in order, a block at a time, so that a data set larger than
 * memory can be gone through as often as a method needs.
 */
import type { LongCallOptions } from "../core/index.ts";

/** Some rows of features and what is known of their samples. */
export interface FeatureBlock {
  /** f32, rows x width, row-major, not normalised. */
  readonly features: Float32Array;
  /** One key a row. */
  readonly keys: readonly string[];
  /** The class of each row, an index into `FeatureRows.classes`; -1 where it has none. */
  readonly labels: Int32Array;
}

/** The features of a data set, made once and kept on disk or in memory. */
export interface FeatureRows {
  /** Rows in all. */
  readonly size: number;
  /** Floats a row. */
  readonly width: number;
  /** Names of the classes that samples have, in the order of the labels. */
  readonly classes: readonly string[];
  /** All rows from the first, as often as asked. */
  blocks(options?: LongCallOptions): AsyncIterable<FeatureBlock>;
}
