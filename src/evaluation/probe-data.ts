/**
 * Features as a linear probe takes them: each row divided by its length, then each dimension shifted and scaled to mean 0 and
 * deviation 1 over the training rows. So one penalty means much the same for models of any width and scale, and the search
 * needs few steps.
 */
import { type LongCallOptions, ndarray, Random } from "../core/index.ts";
import type { FeatureRows } from "./feature-rows.ts";
import { rowBlocks } from "./row-blocks.ts";
import type { LabelledBlock, LabelledBlocks } from "./softmax-regression.ts";

/** Shift and scale of each dimension. */
export interface Moments {
  readonly mean: Float64Array;
  /** 1 / deviation; 0 for dimensions that do not vary. */
  readonly scale: Float64Array;
}

/** A deviation of unit rows below this is rounding. */
const LEAST_DEVIATION = 1e-6;

/** Mean and deviation of each dimension over the rows with a label. @throws DATA_INVALID, ABORTED */
export async function momentsOf(rows: FeatureRows, { signal }: LongCallOptions = {}): Promise<Moments> {
  const { width } = rows;
  const [sum, squares] = [new Float64Array(width), new Float64Array(width)];
  let seen = 0;
  for await (const { features, count } of rowBlocks(rows, { size: 512, keep: (label) => label >= 0, signal })) {
    seen += count;
    for (let i = 0; i < count * width; i++) {
      const value = features.data[i]!;
      sum[i % width]! += value;
      squares[i % width]! += value * value;
    }
  }
  const mean = sum.map((total) => total / seen);
  const scale = squares.map((total, d) => {
    const deviation = Math.sqrt(Math.max(0, total / seen - mean[d]! ** 2));
    return deviation < LEAST_DEVIATION ? 0 : 1 / deviation;
  });
  return { mean, scale };
}

/** Which rows, and how they are cut. */
export interface ProbeBlockOptions extends LongCallOptions {
  readonly moments: Moments;
  /** Rows a block. */
  readonly size: number;
  /** The class of a label; -1 for rows that do not take part. Default as it is. */
  readonly classOf?: (label: number) => number;
  /** Which rows take part, by their number in the data. */
  readonly keep?: (row: number) => boolean;
}

const HELD_BYTES = 2 ** 29;

/** The rows as blocks: held in memory where they fit, else made anew at each pass. @throws DATA_INVALID, ABORTED */
export async function probeBlocks(rows: FeatureRows, options: ProbeBlockOptions): Promise<LabelledBlocks> {
  const blocks = () => makeBlocks(rows, options);
  if (4 * rows.size * rows.width > HELD_BYTES) return blocks;
  const held: LabelledBlock[] = [];
  for await (const block of blocks()) held.push(block);
  return () => held;
}

async function* makeBlocks(rows: FeatureRows, options: ProbeBlockOptions): AsyncGenerator<LabelledBlock> {
  const { moments, size, classOf = (label) => label, keep = () => true, signal } = options;
  const takes = (label: number, row: number) => label >= 0 && classOf(label) >= 0 && keep(row);
  for await (const { features, labels, count } of rowBlocks(rows, { size, keep: takes, signal })) {
    standardize(features.data.subarray(0, count * rows.width), moments);
    yield {
      features,
      labels: ndarray(
        "i32",
        [size],
        labels.map((label) => Math.max(0, classOf(label))),
      ),
      mask: ndarray(
        "f32",
        [size],
        Float32Array.from({ length: size }, (_, i) => (i < count ? 1 : 0)),
      ),
      count,
    };
  }
}

function standardize(data: Float32Array, { mean, scale }: Moments): void {
  const width = mean.length;
  for (let i = 0; i < data.length; i++) data[i] = (data[i]! - mean[i % width]!) * scale[i % width]!;
}

/** Every which row of a class, in random order, is held out. */
const HELD_OUT_EVERY = 5;

/**
 * Marks a fifth of the labelled rows, spread evenly over the classes, to choose a penalty on.
 * @returns the marked rows, by their number in the data
 */
export async function holdOut(
  rows: FeatureRows,
  seed: number,
  { signal }: LongCallOptions = {},
): Promise<ReadonlySet<number>> {
  const byClass = Array.from(rows.classes, (): number[] => []);
  let row = 0;
  for await (const { labels } of rows.blocks({ signal })) {
    for (const label of labels) {
      byClass[label]?.push(row);
      row++;
    }
  }
  const random = new Random(seed);
  const mixed = byClass.flatMap((members) => Array.from(random.permutation(members.length), (i) => members[i]!));
  return new Set(mixed.filter((_, i) => i % HELD_OUT_EVERY === HELD_OUT_EVERY - 1));
}
