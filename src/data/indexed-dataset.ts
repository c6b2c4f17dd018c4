/**
 * Data sets whose samples can be asked for by number: their epochs are permutations, and a position is the number of
 * samples that came in its epoch. The position holds the size of the data too, so that data which changed between two
 * runs is noticed and not read in another order.
 */
import { ToklipError, throwIfAborted } from "../core/index.ts";
import type { BadSample, DataItem, DataPosition, Dataset, ReadOptions, Sample } from "./dataset.ts";
import { type BlockLayout, epochOrder } from "./epoch-order.ts";

/** What is found at an index: a sample, or why there is none. */
export type IndexedEntry<S = Sample> = { readonly sample: S } | { readonly bad: BadSample };

/** Samples by number. */
export interface SampleList<S = Sample> {
  /** As `Dataset.name`. */
  readonly name: string;
  readonly size: number;
  /** How samples lie together, where reading them one by one from anywhere would be dear. */
  readonly layout?: BlockLayout;
  /**
   * The sample at an index in [0, size). A sample that cannot be used is an answer, not an error.
   * @throws what keeps all samples from being read: FILE_NOT_FOUND, FILE_READ_FAILED, DATA_INVALID, ABORTED
   */
  entry(index: number, signal?: AbortSignal): Promise<IndexedEntry<S>>;
}

/** Where reading stands: `index` samples of epoch `epoch` have come, of `size`. */
export interface IndexedPosition extends DataPosition {
  readonly index: number;
  readonly size: number;
}

/**
 * Makes a data set of samples by number. `ReadOptions.epochs` counts from epoch 0, also where reading begins later.
 * Reading throws RESUME_MISMATCH for a position of other data, DATA_EMPTY when there is no sample or a whole epoch of
 * bad ones.
 */
export function indexedDataset<S>(list: SampleList<S>): Dataset<S> {
  return { name: list.name, size: list.size, read: (options) => readList(list, options) };
}

async function* readList<S>(list: SampleList<S>, options: ReadOptions): AsyncGenerator<DataItem<S>, void, undefined> {
  const { seed, from, shuffle = true, epochs = Number.POSITIVE_INFINITY, signal } = options;
  const { name, size } = list;
  const layout = list.layout ?? { blocks: [{ rows: size, bytes: 0 }], windowBlocks: 1, windowBytes: 0 };
  if (size === 0) throw new ToklipError("DATA_EMPTY", `${name}: there are no samples`);
  let { epoch, index } = from === undefined ? { epoch: 0, index: 0 } : checkPosition(list, from);
  for (; epoch < epochs; epoch++, index = 0) {
    let good = index > 0; // of an epoch that was begun earlier, not all is known
    for (const at of epochOrder(layout, { seed, epoch, shuffle, from: index })) {
      throwIfAborted(signal, name);
      const entry = await list.entry(at, signal);
      good ||= "sample" in entry;
      index++;
      yield { ...entry, position: index < size ? { epoch, index, size } : { epoch: epoch + 1, index: 0, size } };
    }
    if (!good) throw new ToklipError("DATA_EMPTY", `${name}: none of its ${size} samples can be used`);
  }
}

/** @throws RESUME_MISMATCH */
function checkPosition({ name, size }: Pick<SampleList, "name" | "size">, from: DataPosition): IndexedPosition {
  const { epoch, index, size: sizeThen } = from;
  if (sizeThen !== size) {
    const then = typeof sizeThen === "number" ? `${sizeThen} samples` : "another kind";
    throw new ToklipError("RESUME_MISMATCH", `${name}: has ${size} samples; the position is one in data of ${then}`);
  }
  if (!isCount(epoch) || !isCount(index) || index >= size) {
    const place = `epoch ${JSON.stringify(epoch)}, index ${JSON.stringify(index)}`;
    throw new ToklipError("RESUME_MISMATCH", `${name}: ${place} is no position in its ${size} samples`);
  }
  return { epoch, index, size };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
