/**
 * Rows of features as the comparisons and fits take them: divided by their length, in blocks that all have one shape. The
 * last block is filled up with zeros, so that equal features give bit-equal products wherever they stand.
 */
import { type LongCallOptions, type NDArray, ndarray, ToklipError, throwIfAborted } from "../core/index.ts";
import type { FeatureRows } from "./feature-rows.ts";

/** Some rows of a data set. */
export interface RowBlock {
  /** The number, among the rows that were kept, of the first. */
  readonly start: number;
  /** How many rows are rows of the data; the rest are zeros. */
  readonly count: number;
  /** f32 (size, D), each row of length 1 (a row of zeros stays one). */
  readonly features: NDArray<"f32">;
  /** The rows' labels (size), -1 after `count`. */
  readonly labels: Int32Array;
}

/** How rows are cut into blocks. */
export interface RowBlockOptions extends LongCallOptions {
  /** Rows a block. */
  readonly size: number;
  /** Which rows to take, by label and number in the data; all where absent. */
  readonly keep?: ((label: number, row: number) => boolean) | undefined;
}

/**
 * The rows of a data set, in order.
 * @throws DATA_INVALID for features that are no finite numbers: of them every comparison is false, so that a broken model
 * would look like a perfect one; ABORTED
 */
export async function* rowBlocks(rows: FeatureRows, options: RowBlockOptions): AsyncGenerator<RowBlock> {
  const { size, keep, signal } = options;
  const { width } = rows;
  const empty = (start: number) => ({
    start,
    features: ndarray("f32", [size, width]),
    labels: new Int32Array(size).fill(-1),
  });
  let block = empty(0);
  let count = 0;
  let row = 0;
  for await (const { features, labels, keys } of rows.blocks({ signal })) {
    throwIfAborted(signal, "features");
    for (const [i, label] of labels.entries()) {
      if (keep !== undefined && !keep(label, row++)) continue;
      const values = features.subarray(i * width, (i + 1) * width);
      writeUnitRow(values, block.features.data.subarray(count * width), keys[i]!);
      block.labels[count++] = label;
      if (count < size) continue;
      yield { ...block, count };
      [block, count] = [empty(block.start + size), 0];
    }
  }
  if (count > 0) yield { ...block, count };
}

function writeUnitRow(values: Float32Array, into: Float32Array, key: string): void {
  let sum = 0;
  for (const value of values) sum += value * value;
  if (!Number.isFinite(sum)) throw new ToklipError("DATA_INVALID", `${key}: its features are no finite numbers`);
  const scale = 1 / Math.max(Math.sqrt(sum), 1e-12);
  for (let d = 0; d < values.length; d++) into[d] = values[d]! * scale;
}
