/**
 * A data set as one endless row of samples, cut into the groups that make a training step.
 *
 * Every process walks the same row in the same order, so all of them agree on the groups without talking to one another.
 * What is known to be bad without decoding (a source's own bad samples, missing captions) takes no place in a group.
 * The data set is read an epoch at a time, which is how the epoch of each sample is known.
 */
import { type LongCallOptions, ToklipError } from "../core/index.ts";
import { usableCaptions } from "./captions.ts";
import type { BadSample, DataItem, DataPosition, Dataset, DescribedSample, Sample } from "./dataset.ts";

/** How a data set is walked. */
export interface WalkOptions extends LongCallOptions {
  readonly seed: number;
  readonly from?: DataPosition | undefined;
  readonly shuffle?: boolean | undefined;
  /** Ends after this many epochs, counted from epoch 0; endless where absent. */
  readonly epochs?: number | undefined;
  /** Samples without a caption are bad. */
  readonly needCaptions?: boolean | undefined;
  /** Samples a group. */
  readonly groupSize: number;
}

/** A sample in its epoch. */
export interface WalkedSample {
  readonly sample: Sample;
  readonly epoch: number;
}

/** What one step of all processes is made of. */
export interface SampleGroup {
  /** `groupSize` samples; fewer only at the end of a walk that ends. */
  readonly samples: readonly WalkedSample[];
  /** Bad samples met on the way, and the place that each would have had. */
  readonly bad: readonly { readonly bad: BadSample; readonly place: number }[];
  /** Where reading goes on for the next group. A getter: a position can take time to write down. */
  readonly position: DataPosition;
}

/**
 * Walks a data set in groups. What is left of an epoch goes into the first group of the next; where the walk ends, it is a
 * smaller group of its own.
 * @throws ARGUMENT_INVALID when an epoch of an endless walk has fewer usable samples than a group; DATA_EMPTY when it, or
 * a walk that ends, has none; what the data set throws
 */
export async function* walkGroups(dataset: Dataset, options: WalkOptions): AsyncGenerator<SampleGroup> {
  let samples: WalkedSample[] = [];
  let bad: { bad: BadSample; place: number }[] = [];
  let last: DataItem | undefined;
  for await (const walked of walkSamples(dataset, options)) {
    last = walked.item;
    if ("bad" in walked) bad.push({ bad: walked.bad, place: samples.length });
    else samples.push(walked);
    if (samples.length < options.groupSize) continue;
    yield groupOf(samples, bad, last);
    [samples, bad, last] = [[], [], undefined];
  }
  if (last !== undefined) yield groupOf(samples, bad, last);
}

function groupOf(samples: readonly WalkedSample[], bad: SampleGroup["bad"], last: DataItem): SampleGroup {
  return {
    samples,
    bad,
    get position() {
      return last.position;
    },
  };
}

/** One step of a walk: a sample or why there is none, the epoch it comes in, and the data set's own item. */
export type Walked<S = Sample> = { readonly item: DataItem<S>; readonly epoch: number } & (
  | { readonly sample: S }
  | { readonly bad: BadSample }
);

/** Walks a data set sample by sample. @throws as `walkGroups` */
export async function* walkSamples<S extends DescribedSample>(
  dataset: Dataset<S>,
  options: WalkOptions,
): AsyncGenerator<Walked<S>> {
  const { epochs = Number.POSITIVE_INFINITY, from, seed, shuffle = true, signal, onProgress } = options;
  const first = from?.epoch ?? 0;
  let last: DataItem<S> | undefined;
  let usable = 0;
  let lastBad: BadSample | undefined;
  for (let epoch = first; epoch < epochs; epoch++) {
    const position = last?.position ?? from;
    const before = usable;
    for await (const item of dataset.read({ seed, from: position, shuffle, epochs: epoch + 1, signal, onProgress })) {
      last = item;
      const checked = checkItem(item, options);
      if ("sample" in checked) usable++;
      else lastBad = checked.bad;
      yield { ...checked, item, epoch };
    }
    // Of an epoch that an earlier run began, only the rest is seen.
    const isWhole = epoch > first || from === undefined;
    if (isWhole && epochs === Number.POSITIVE_INFINITY) checkSize(dataset, usable - before, options.groupSize, lastBad);
  }
  if (usable === 0 && from === undefined) throw noneUsable(dataset, lastBad);
}

function noneUsable({ name }: Named, lastBad: BadSample | undefined): ToklipError {
  const why =
    lastBad === undefined ? "there are no samples" : `no sample can be used, the last because: ${lastBad.message}`;
  return new ToklipError("DATA_EMPTY", `${name}: ${why}`);
}

function checkItem<S extends DescribedSample>({ sample, bad }: DataItem<S>, { needCaptions = false }: WalkOptions) {
  if (sample === undefined)
    return { bad: bad ?? { key: "?", reason: "no sample", message: "the source gave nothing" } };
  if (!needCaptions || usableCaptions(sample).length > 0) return { sample };
  const { key } = sample;
  return { bad: { key, reason: "no caption", message: `${key}: has no caption` } };
}

/** A data set, whatever its samples are. */
type Named = Pick<Dataset, "name">;

/**
 * Refuses data of which a step would need a sample twice.
 * @param lastBad one that could not be used, for the message
 * @throws DATA_EMPTY, ARGUMENT_INVALID
 */
export function checkSize(dataset: Named, size: number, groupSize: number, lastBad?: BadSample): void {
  if (size >= groupSize) return;
  if (size === 0) throw noneUsable(dataset, lastBad);
  const others = lastBad === undefined ? "" : `; the last of the others could not be used because: ${lastBad.message}`;
  throw new ToklipError(
    "ARGUMENT_INVALID",
    `${dataset.name}: a step takes ${groupSize} samples, more than the ${size} usable ones of an epoch${others}`,
  );
}
