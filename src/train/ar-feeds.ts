/**
 * What a batch of packed sequences feeds to the graphs of the unified transformer.
 *
 * Dim letters: B rows, L positions of a row, N ids of a picture, F numbers that are read at each id.
 */
import { type NDArray, ndarray } from "../core/index.ts";
import type { ArConfig } from "../models/index.ts";
import type { Feeds } from "../runtime/index.ts";
import type { ArBatch } from "./ar-batches.ts";
import { AR_INPUTS, picturesPerRow } from "./ar-objective.ts";
import { AR_LOSSES, type ArLoss } from "./ar-sequences.ts";

/** What each loss counts. */
export type ArLossWeights = Readonly<Record<ArLoss, number>>;

/** The losses that count. */
export function countedLosses(weights: ArLossWeights): readonly ArLoss[] {
  return AR_LOSSES.filter((loss) => weights[loss] > 0);
}

/** The sum of the weights of all targets. */
export function totalWeight(targets: Readonly<Record<ArLoss, number>>, weights: ArLossWeights): number {
  return AR_LOSSES.reduce((sum, loss) => sum + weights[loss] * targets[loss], 0);
}

/** Ids, segments, positions and targets, i32 (B, L). */
export function rowFeeds({ rows: { ids, segments, positions, targets } }: ArBatch): Feeds {
  return {
    [AR_INPUTS.ids]: ids,
    [AR_INPUTS.segments]: segments,
    [AR_INPUTS.positions]: positions,
    [AR_INPUTS.targets]: targets,
  };
}

/** What each target counts, by loss, f32 (B, L). */
export function weightFeeds({ rows: { kinds } }: ArBatch, weights: Partial<ArLossWeights>): Feeds {
  const feeds: Record<string, NDArray> = {};
  for (const [loss, weight] of Object.entries(weights) as [ArLoss, number][]) {
    const kind = AR_LOSSES.indexOf(loss);
    const array = ndarray("f32", kinds.shape);
    for (const [i, each] of kinds.data.entries()) if (each === kind) array.data[i] = weight;
    feeds[AR_INPUTS.weights(loss)] = array;
  }
  return feeds;
}

/**
 * What is read of pictures at the positions of their ids, zeros elsewhere.
 * @param read (P, N, F) of the pictures of the batch's sequences, in their order
 * @returns `image`, (B, L, F)
 */
export function imageFeeds({ rows, placed }: ArBatch, read: NDArray<"f32"> | NDArray<"i32">): Feeds {
  const [count, length] = rows.ids.shape as [number, number];
  const [, tokens, width] = read.shape as [number, number, number];
  const image = ndarray(read.dtype, [count, length, width]);
  for (const [i, { row, start, sequence }] of placed.entries()) {
    const part = read.data.subarray(i * tokens * width, (i + 1) * tokens * width);
    image.data.set(part, (row * length + start + sequence.pictureStart) * width);
  }
  return { [AR_INPUTS.image]: image };
}

/**
 * The ids of pictures, and where each lies, for a token encoder in the graph: each row has room for the same number of
 * pictures, so that rows can be taken in parts.
 * @param partSize rows of a part; places count the pictures of their part
 * @returns `pictures` i32 (B * pictures a row, N) and `places` i32 (B, L)
 */
export function pictureFeeds({ rows, placed }: ArBatch, model: ArConfig, partSize: number): Feeds {
  const [count, length] = rows.ids.shape as [number, number];
  const { imageTokens } = model;
  const perRow = picturesPerRow(model);
  const pictures = ndarray("i32", [count * perRow, imageTokens]);
  const places = ndarray("i32", [count, length]);
  places.data.fill(-1);
  const inRow = new Array<number>(count).fill(0);
  for (const { row, start, sequence } of placed) {
    const slot = row * perRow + inRow[row]!++;
    pictures.data.set(sequence.picture, slot * imageTokens);
    const first = (slot % (partSize * perRow)) * imageTokens;
    const begin = row * length + start + sequence.pictureStart;
    for (let n = 0; n < imageTokens; n++) places.data[begin + n] = first + n;
  }
  return { [AR_INPUTS.pictures]: pictures, [AR_INPUTS.places]: places };
}
