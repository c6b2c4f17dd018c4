/**
 * Weighted nearest neighbours on image features, as DINO measures them (https://arxiv.org/abs/2104.14294, section 4.1; after
 * Wu et al., https://arxiv.org/abs/1805.01978): each of the k training pictures nearest by cosine votes for its class with
 * the weight exp(cosine / temperature). Nothing is trained.
 *
 * What differs: only classes with a vote are among the first five, where the reference fills up with whichever its sort
 * leaves next. Equal votes go to the class that comes first.
 */
import { type LongCallOptions, ToklipError } from "../core/index.ts";
import type { Dataset } from "../data/index.ts";
import { matchClasses, unmatchedData } from "./class-match.ts";
import { type ClassOutcomes, classTable, highest, meanOfClasses, placeOf, topMetric } from "./class-outcomes.ts";
import type { Evaluation, Metric } from "./evaluation.ts";
import type { FeatureRows } from "./feature-rows.ts";
import { type NearestRows, nearestRows } from "./nearest-rows.ts";
import { outcomeGalleries } from "./outcome-galleries.ts";
import { compileInnerProducts, type InnerProducts } from "./pair-products.ts";
import { rateOf } from "./pass-rate.ts";
import type { EvaluationSession } from "./session.ts";

/** What is measured. */
export interface KnnOptions extends LongCallOptions {
  /** Pictures whose classes are known. */
  readonly train: Dataset;
  /** Pictures to classify. */
  readonly test: Dataset;
  /** How many neighbours vote, one measurement each. Default 10 and 20. */
  readonly k?: readonly number[];
  /** Default 0.07. */
  readonly temperature?: number;
}

/** A list of neighbours longer than this is a mistake. */
export const MOST_NEIGHBOURS = 1000;
const DEFAULT_K = [10, 20] as const;
const DEFAULT_TEMPERATURE = 0.07;

/**
 * Classifies the test pictures by their neighbours among the training pictures.
 * @throws ARGUMENT_INVALID; DATA_INVALID when no class of the test pictures has a training picture; ABORTED, and what a
 * session's features throw
 */
export async function evaluateKnn(session: EvaluationSession, options: KnnOptions): Promise<Evaluation> {
  const { k = DEFAULT_K, temperature = DEFAULT_TEMPERATURE, signal, onProgress } = options;
  checkOptions(k, temperature);
  const started = Date.now();
  const train = await session.features(options.train);
  const test = await session.features(options.test);
  const products = await compileInnerProducts(session.backend, train.width, { signal });
  const match = await matchClasses(train, test, { signal });
  const voted = await classifyByNeighbours(train, test, {
    k,
    temperature,
    products,
    classOf: match.classOf,
    signal,
    onProgress,
  });
  const shown = voted.find(({ outcomes }) => outcomes !== undefined);
  const title = `Classes, k = ${shown?.k}`;
  return {
    task: "knn",
    model: session.description,
    data: [train.data, unmatchedData(test.data, match)],
    settings: { k: [...k], temperature, similarity: "cosine", train_rows: match.trainRows },
    metrics: voted.flatMap((one) => metricsOf(one, match.testRows)),
    tables: shown === undefined ? [] : [classTable(title, shown.outcomes!)],
    galleries:
      shown === undefined ? [] : await outcomeGalleries(session, options.test, test, match.classOf, shown.outcomes!),
    seconds: (Date.now() - started) / 1000,
    picturesPerSecond: rateOf([train, test]),
  };
}

function checkOptions(k: readonly number[], temperature: number): void {
  const bad = k.find((one) => !Number.isInteger(one) || one < 1 || one > MOST_NEIGHBOURS);
  if (k.length === 0 || bad !== undefined) {
    throw new ToklipError(
      "ARGUMENT_INVALID",
      `knn: k is a whole number from 1 to ${MOST_NEIGHBOURS}, got ${bad ?? "none"}`,
    );
  }
  if (!(temperature > 0 && temperature < Number.POSITIVE_INFINITY)) {
    throw new ToklipError("ARGUMENT_INVALID", `knn: the temperature is a number above 0, got ${temperature}`);
  }
}

/** What k neighbours say. */
export interface KnnScores {
  readonly k: number;
  /** Absent where there are fewer training pictures than k. */
  readonly outcomes: ClassOutcomes | undefined;
}

/** How test rows are classified. */
export interface KnnVoteOptions extends LongCallOptions {
  readonly products: InnerProducts;
  readonly k: readonly number[];
  readonly temperature: number;
  /** The class among `train.classes` of each label of the test rows; -1 for rows that do not take part. */
  readonly classOf: (label: number) => number;
}

/** Classifies test rows for each k. @throws SHAPE_MISMATCH, DATA_INVALID, ABORTED */
export async function classifyByNeighbours(
  train: FeatureRows,
  test: FeatureRows,
  options: KnnVoteOptions,
): Promise<KnnScores[]> {
  const { k, temperature, classOf, ...rest } = options;
  const keep = (label: number) => label >= 0 && classOf(label) >= 0;
  const nearest = await nearestRows(test, train, { ...rest, k: Math.max(...k), keep });
  const truth = new Int32Array(nearest.count);
  let row = 0;
  for await (const { labels } of test.blocks({ signal: options.signal })) {
    for (const label of labels) if (keep(label)) truth[row++] = classOf(label);
  }
  const neighbours = nearest.labels.subarray(0, nearest.k).findIndex((label) => label < 0); // of the first row, as of all
  const available = neighbours < 0 ? nearest.k : neighbours;
  return k.map((one) => ({
    k: one,
    outcomes: one > available ? undefined : vote(nearest, one, temperature, truth, train.classes),
  }));
}

function vote(
  { k: stride, labels, cosines }: NearestRows,
  k: number,
  temperature: number,
  truth: Int32Array,
  classes: readonly string[],
): ClassOutcomes {
  const votes = new Float64Array(classes.length);
  const chosen = new Int32Array(truth.length);
  const place = Int32Array.from(truth, (own, row) => {
    votes.fill(0);
    for (let at = row * stride; at < row * stride + k; at++) {
      // Relative to the nearest, so that no temperature is too low for the numbers.
      votes[labels[at]!]! += Math.exp((cosines[at]! - cosines[row * stride]!) / temperature);
    }
    chosen[row] = highest(votes);
    return votes[own]! > 0 ? placeOf(votes, own) : classes.length;
  });
  return { classes, truth, chosen, place };
}

function metricsOf({ k, outcomes }: KnnScores, count: number): Metric[] {
  const names = [`top1_k${k}`, `top5_k${k}`] as const;
  if (outcomes === undefined) {
    const meaning = `there are fewer than ${k} training pictures`;
    return names.map((name) => ({ name, value: null, unit: "share", count, meaning }));
  }
  return [
    topMetric(names[0], outcomes, 1, `pictures whose class has most votes of ${k} neighbours`),
    topMetric(names[1], outcomes, 5, `pictures whose class is among the first five of ${k} neighbours`),
    meanOfClasses(`class_mean_k${k}`, outcomes),
  ];
}
