/**
 * Which classes a data set has, found by a walk through it that decodes nothing: so that a class that nobody can name is
 * told before hours of work, and not after them.
 */
import { type LongCallOptions, ToklipError, throwIfAborted } from "../core/index.ts";
import { type Dataset, nearestName, type Sample } from "../data/index.ts";
import { quoted } from "../files/quoted.ts";
import { classNumbers, type LabelSet } from "./label-set.ts";

/** What was found. */
export interface ClassSurvey {
  /** The data set, its size now known. */
  readonly dataset: Dataset;
  /** Samples of each class, in the order in which the classes come first. */
  readonly classes: ReadonlyMap<string, number>;
  /** Samples, those that have no class included. */
  readonly samples: number;
}

/** The class of a sample as data sets have it: its concept, else its first caption. */
export function sampleClass({ concept, captions }: Sample): string | undefined {
  const name = (concept ?? captions[0])?.trim();
  return name === "" ? undefined : name;
}

/**
 * Walks through a data set and counts.
 * @throws DATA_EMPTY, ABORTED; what the data set throws
 */
export async function surveyClasses(
  dataset: Dataset,
  {
    signal,
    onProgress,
    labelOf = sampleClass,
  }: LongCallOptions & { labelOf?: (sample: Sample) => string | undefined } = {},
): Promise<ClassSurvey> {
  const classes = new Map<string, number>();
  let samples = 0;
  let seen = 0;
  for await (const { sample } of dataset.read({ seed: 0, epochs: 1, shuffle: false, signal })) {
    throwIfAborted(signal, dataset.name);
    const total = dataset.size !== undefined && { total: dataset.size };
    onProgress?.({ stage: "survey", done: ++seen, ...total, unit: "images" });
    if (sample === undefined) continue;
    samples++;
    const name = labelOf(sample);
    if (name !== undefined) classes.set(name, (classes.get(name) ?? 0) + 1);
  }
  const { name, read } = dataset;
  return { dataset: { name, size: seen, read: (options) => read.call(dataset, options) }, classes, samples };
}

/** How many names a message lists. */
const LISTED = 8;

/**
 * Holds the classes of a data set against those of a label set.
 * @returns the data's classes that the set lacks
 * @throws DATA_INVALID where it lacks some and that is not allowed, or has none of them
 */
export function checkClasses(
  { dataset, classes }: ClassSurvey,
  labels: LabelSet,
  { ignoreUnknown = false }: { readonly ignoreUnknown?: boolean } = {},
): readonly string[] {
  const numberOf = classNumbers(labels);
  const unknown = [...classes.keys()].filter((name) => numberOf(name) === undefined);
  if (unknown.length === 0 && classes.size > 0) return unknown;
  const fail = (problem: string): never => {
    throw new ToklipError("DATA_INVALID", `${dataset.name}: ${problem}`);
  };
  if (classes.size === 0) fail("no sample has a class (a folder's name, a concept, a column label)");
  const listed = `${unknown.slice(0, LISTED).map(quoted).join(", ")}${unknown.length > LISTED ? ", ..." : ""}`;
  if (unknown.length === classes.size) fail(`none of its ${classes.size} classes is in ${labels.name}: ${listed}`);
  if (ignoreUnknown) return unknown;
  const known = labels.classes.map(({ name }) => name);
  const hint = unknown.length > 1 ? undefined : nearestName(unknown[0]!, known);
  const meant = hint === undefined ? "" : `; did you mean ${quoted(hint)}?`;
  const count = unknown.length === 1 ? "1 class is" : `${unknown.length} classes are`;
  return fail(`${count} not in ${labels.name}: ${listed}${meant} (--ignore-unknown passes their pictures over)`);
}
