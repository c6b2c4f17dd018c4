/**
 * Retrieval: given a picture, find its captions among all; given a caption, find its picture (recall at 1, 5 and 10, both
 * ways, as since Karpathy and Fei-Fei, https://arxiv.org/abs/1412.2306). How hits and ties are counted is in
 * `recall-ranks.ts`.
 */
import type { LongCallOptions } from "../core/index.ts";
import { ToklipError } from "../core/index.ts";
import type { Dataset } from "../data/index.ts";
import type { CaptionSet } from "./caption-set.ts";
import type { EvaluatedData, Evaluation, EvaluationTable, Metric } from "./evaluation.ts";
import type { FeatureRows } from "./feature-rows.ts";
import { compileInnerProducts } from "./pair-products.ts";
import { rateOf } from "./pass-rate.ts";
import {
  type CaptionIndex,
  medianRank,
  type RetrievalRanks,
  rankCaptions,
  recallAt,
  referenceRecallAt,
} from "./recall-ranks.ts";
import { retrievalGalleries } from "./retrieval-galleries.ts";
import type { EvaluationSession, PassedRows } from "./session.ts";
import { wilsonInterval } from "./statistics.ts";
import { textRows } from "./text-rows.ts";

/** What is measured. */
export interface RetrievalOptions extends LongCallOptions {
  /** The captions. */
  readonly captions: CaptionSet;
  /** Their pictures, keyed as the captions name them: `captionedPictures`. */
  readonly dataset: Dataset;
  /** Adds text-to-image recall as the reference counts it. Default false. */
  readonly referenceCounting?: boolean;
}

const RECALLS = [1, 5, 10] as const;
const MOST_GROUPS = 32;

/** A caption with its place in the features. */
export interface IndexedCaptions {
  /** The pictures that have features, and captions, in the order of the rows. */
  readonly pictures: readonly string[];
  /** The distinct texts in the order of the rows. */
  readonly texts: readonly string[];
  readonly index: CaptionIndex;
  /** Captions whose picture has no features. */
  readonly lost: number;
}

/**
 * Measures retrieval.
 * @throws DATA_EMPTY, DATA_INVALID, ABORTED, and what a session's features throw
 */
export async function evaluateRetrieval(session: EvaluationSession, options: RetrievalOptions): Promise<Evaluation> {
  const { captions, dataset, referenceCounting = false, signal, onProgress } = options;
  const started = Date.now();
  const pictures = await session.features(dataset, { labelOf: () => undefined });
  const indexed = indexCaptions(captions, await keysOf(pictures, { signal }));
  const texts = await textRows(session.texts, indexed.texts, pictures.width, { signal, onProgress });
  const products = await compileInnerProducts(session.backend, pictures.width, { signal });
  const ranks = await rankCaptions(pictures, texts, indexed.index, { products, signal, onProgress });
  const galleries = await retrievalGalleries(session, dataset, indexed, ranks);
  return {
    task: "retrieval",
    model: session.description,
    data: dataOf(captions, pictures, indexed),
    settings: {
      captions: indexed.index.texts.length,
      distinct_captions: indexed.texts.length,
      ties: "expected hits over all orders of equal scores",
      reference_counting: referenceCounting,
    },
    metrics: [...metricsOf(ranks, indexed), ...(referenceCounting ? referenceMetrics(ranks, indexed) : [])],
    tables: groupTables(ranks, indexed),
    galleries,
    seconds: (Date.now() - started) / 1000,
    picturesPerSecond: rateOf([pictures]),
  };
}

async function keysOf(rows: FeatureRows, options: LongCallOptions): Promise<string[]> {
  const keys: string[] = [];
  for await (const block of rows.blocks(options)) keys.push(...block.keys);
  return keys;
}

/**
 * Finds the rows of captions.
 * @param rows the names of the pictures that have features
 * @throws DATA_INVALID for more kinds of captions than a person would name
 */
export function indexCaptions({ name, pictures }: CaptionSet, rows: readonly string[]): IndexedCaptions {
  const rowOf = new Map(rows.map((key, row) => [key, row]));
  const [textOf, groupOf] = [new Map<string, number>(), new Map<string, number>()];
  const numberOf = (map: Map<string, number>, key: string) => {
    const number = map.get(key) ?? map.size;
    map.set(key, number);
    return number;
  };
  const found: { picture: number; text: number; group: number }[] = [];
  let lost = 0;
  for (const { image, captions } of pictures) {
    const picture = rowOf.get(image);
    if (picture === undefined) lost += captions.length;
    else {
      for (const { text, group } of captions) {
        found.push({
          picture,
          text: numberOf(textOf, text),
          group: group === undefined ? -1 : numberOf(groupOf, group),
        });
      }
    }
  }
  if (groupOf.size > MOST_GROUPS) {
    throw new ToklipError(
      "DATA_INVALID",
      `${name}: captions are of ${groupOf.size} groups, over the limit of ${MOST_GROUPS}`,
    );
  }
  const index = {
    pictures: Int32Array.from(found, ({ picture }) => picture),
    texts: Int32Array.from(found, ({ text }) => text),
    groups: Int32Array.from(found, ({ group }) => group),
    groupNames: [...groupOf.keys()],
  };
  return { pictures: rows, texts: [...textOf.keys()], index, lost };
}

function dataOf(
  { name, skipped }: CaptionSet,
  pictures: PassedRows,
  { index, lost }: IndexedCaptions,
): EvaluatedData[] {
  const reason = "caption of a picture that was left out";
  const left = lost > 0 ? [{ reason, count: lost, example: pictures.data.skipped[0]?.example ?? "" }] : [];
  return [pictures.data, { name: `captions of ${name}`, used: index.texts.length, skipped: [...skipped, ...left] }];
}

const DIRECTIONS = { image_to_text: "pictures", text_to_image: "captions" } as const;
type Direction = keyof typeof DIRECTIONS;

/** The figures of one direction: of all captions, or of those of one group. */
function directionOf(
  ranks: RetrievalRanks,
  { pictures, index }: IndexedCaptions,
  direction: Direction,
  group?: number,
) {
  const members = group === undefined ? index.texts.length : index.groups.filter((own) => own === group).length;
  const ofImages = direction === "image_to_text";
  const own = ofImages ? ranks.imageToText[group === undefined ? 0 : group + 1]! : ranks.textToImage;
  const filter = ofImages || group === undefined ? undefined : (caption: number) => index.groups[caption] === group;
  const candidates = ofImages ? members : pictures.length;
  return {
    candidates,
    recalls: RECALLS.map((k) => recallAt(own, k, candidates, filter)),
    median: medianRank(own, filter),
  };
}

function metricsOf(ranks: RetrievalRanks, indexed: IndexedCaptions): Metric[] {
  return (Object.keys(DIRECTIONS) as Direction[]).flatMap((direction) => {
    const { recalls, median, candidates } = directionOf(ranks, indexed, direction);
    const shares = recalls.map(({ value, count }, i): Metric => {
      const interval = value === null ? {} : { interval: wilsonInterval(value * count, count) };
      const meaning = meaningOf(direction, RECALLS[i]!);
      return { name: `${direction}@${RECALLS[i]}`, value, unit: "share", count, ...interval, meaning };
    });
    const meaning = `where the first right one stands among ${candidates}`;
    return [...shares, { name: `${direction}_median_rank`, ...median, unit: "plain", meaning }];
  });
}

function meaningOf(direction: Direction, k: number): string {
  return direction === "image_to_text"
    ? `pictures of which a caption is among the ${k} that fit best`
    : `captions whose picture is among the ${k} that fit best`;
}

function referenceMetrics({ textToImage }: RetrievalRanks, { pictures }: IndexedCaptions): Metric[] {
  return RECALLS.map((k) => ({
    name: `text_to_image@${k}_reference`,
    ...referenceRecallAt(textToImage, k, pictures.length),
    unit: "share",
    meaning: "as the reference counts, a little too many; only to compare with its numbers",
  }));
}

/** Each kind of caption as a gallery and as queries of its own. */
function groupTables(ranks: RetrievalRanks, indexed: IndexedCaptions): EvaluationTable[] {
  const { groupNames } = indexed.index;
  if (groupNames.length === 0) return [];
  const columns = ["captions", "direction", "queries", "candidates", ...RECALLS.map((k) => `R@${k} %`), "median rank"];
  const rows = groupNames.flatMap((name, group) =>
    (Object.keys(DIRECTIONS) as Direction[]).map((direction) => {
      const { candidates, recalls, median } = directionOf(ranks, indexed, direction, group);
      const shares = recalls.map(({ value }) => (value === null ? null : 100 * value));
      return [name, direction, median.count, candidates, ...shares, median.value];
    }),
  );
  return [{ title: "Each kind of caption alone", columns, rows }];
}
