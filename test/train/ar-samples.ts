/** Made-up pictures of ids with captions, for trainings of the unified transformer. */
import type { Dataset, IdsSample } from "../../src/data/dataset.ts";
import { mixSeed } from "../../src/data/epoch-order.ts";
import { type IndexedEntry, indexedDataset } from "../../src/data/indexed-dataset.ts";
import type { ArConfig } from "../../src/models/index.ts";

/** Letters a to l as the ids 0 to 11; nothing else has one. */
export const letters = {
  idsOf: (text: string): number[] =>
    [...text].map((letter) => letter.charCodeAt(0) - 97).filter((id) => id >= 0 && id < 12),
};

/** Sample i: so many variants of its own, and two captions of its own of different lengths. */
export function madeUpSample(i: number, { imageTokens, codebookSize }: ArConfig, variants = 2): IdsSample {
  const ids = Int32Array.from({ length: variants * imageTokens }, (_, at) => mixSeed(i, at) % codebookSize);
  const letter = (k: number) => String.fromCharCode(97 + (mixSeed(i, 99, k) % 12));
  const words = (count: number) => Array.from({ length: count }, (_, k) => letter(k)).join("");
  return { key: `s${i}`, ids, captions: [words(1 + (i % 5)), words(3 + (i % 3))] };
}

/** A data set of given samples or bad ones. */
export function datasetOf(samples: readonly (IdsSample | string)[]): Dataset<IdsSample> {
  const entry = async (i: number): Promise<IndexedEntry<IdsSample>> => {
    const sample = samples[i]!;
    return typeof sample === "string"
      ? { bad: { key: `b${i}`, reason: sample, message: `b${i}: ${sample}` } }
      : { sample };
  };
  return indexedDataset({ name: "made up", size: samples.length, entry });
}

/** The first items, `count` of them. */
export async function take<T>(items: AsyncIterable<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  for await (const item of items) {
    taken.push(item);
    if (taken.length === count) break;
  }
  return taken;
}
