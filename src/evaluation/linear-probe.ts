/**
 * A linear probe: logistic regression on frozen image features, its penalty chosen on a fifth of the training pictures, as
 * CLIP measures it (https://arxiv.org/abs/2103.00020, appendix A.3: a coarse sweep over the penalty, then a finer one around
 * the best). Then the model is fitted to all training pictures and asked about the test pictures.
 *
 * What differs: features are standardised (`probe-data.ts`); the sweep goes from the strongest penalty to the weakest, each fit
 * beginning where the last ended, and stops when two fits in a row were worse; the finer steps are halves of a decade.
 */
import { type LongCallOptions, ToklipError } from "../core/index.ts";
import type { Dataset } from "../data/index.ts";
import { matchClasses, unmatchedData } from "./class-match.ts";
import { type ClassOutcomes, classTable, highest, meanOfClasses, placeOf, topMetric } from "./class-outcomes.ts";
import type { Evaluation, EvaluationTable } from "./evaluation.ts";
import type { FeatureRows } from "./feature-rows.ts";
import { outcomeGalleries } from "./outcome-galleries.ts";
import { rateOf } from "./pass-rate.ts";
import { holdOut, momentsOf, probeBlocks } from "./probe-data.ts";
import type { EvaluationSession } from "./session.ts";
import { type LabelledBlocks, type ProbeWeights, SoftmaxRegression } from "./softmax-regression.ts";

/** What is measured. */
export interface LinearProbeOptions extends LongCallOptions {
  /** Pictures to learn from. */
  readonly train: Dataset;
  /** Pictures to ask about. */
  readonly test: Dataset;
  /** Decides which training pictures the penalty is chosen on. Default 0. */
  readonly seed?: number;
  /** Steps of a fit at most. Default 200. */
  readonly maxIterations?: number;
}

const DEFAULT_MAX_ITERATIONS = 200;
/** Rows a block, fewer where there are many classes: its scores are as many as rows times classes. */
const MOST_BLOCK_ROWS = 4096;
const MOST_BLOCK_SCORES = 2 ** 22;
/** The powers of ten that are tried, strongest penalty first. */
const DECADES = [1, 0, -1, -2, -3, -4, -5, -6] as const;
const WORSE_TO_STOP = 2;

/**
 * Fits and asks.
 * @throws DATA_INVALID for training data of fewer than two classes or too few pictures, or when no class of the test pictures
 * has a training picture; ABORTED, and what a session's features throw
 */
export async function evaluateLinearProbe(
  session: EvaluationSession,
  options: LinearProbeOptions,
): Promise<Evaluation> {
  const { seed = 0, maxIterations = DEFAULT_MAX_ITERATIONS, signal, onProgress } = options;
  const started = Date.now();
  const train = await session.features(options.train);
  const test = await session.features(options.test);
  const match = await matchClasses(train, test, { signal });
  const probe = await fitProbe(session, train, { seed, maxIterations, signal, onProgress });
  const asked = await probeBlocks(test, { ...probe, classOf: match.classOf, signal });
  const outcomes = await askProbe(probe.regression, asked, probe.weights, train.classes, { signal });
  const { chosen, tried, converged } = probe;
  return {
    task: "linear-probe",
    model: session.description,
    data: [train.data, unmatchedData(test.data, match)],
    settings: {
      seed,
      penalty: chosen,
      penalty_of: "mean cross-entropy + penalty / 2 * squared weights, the bias not counted",
      C: 1 / (chosen * match.trainRows),
      features: "unit length, then standardised by the training rows",
      max_iterations: maxIterations,
      converged,
      train_rows: match.trainRows,
    },
    metrics: [
      topMetric("top1", outcomes, 1, "pictures given their class"),
      topMetric("top5", outcomes, 5, "pictures whose class is among the first five"),
      meanOfClasses("class_mean", outcomes),
    ],
    tables: [sweepTable(tried, chosen), classTable("Classes", outcomes)],
    galleries: await outcomeGalleries(session, options.test, test, match.classOf, outcomes),
    seconds: (Date.now() - started) / 1000,
    picturesPerSecond: rateOf([train, test]),
  };
}

/** One fit of the sweep. */
export interface TriedPenalty {
  readonly penalty: number;
  /** Share of the held-out rows that were given their class. */
  readonly share: number;
  readonly iterations: number;
  readonly converged: boolean;
}

interface FittedProbe {
  readonly regression: SoftmaxRegression;
  readonly weights: ProbeWeights;
  readonly moments: Awaited<ReturnType<typeof momentsOf>>;
  readonly size: number;
  readonly chosen: number;
  readonly converged: boolean;
  readonly tried: readonly TriedPenalty[];
}

/** Chooses the penalty, then fits all rows. @throws DATA_INVALID, ABORTED */
export async function fitProbe(
  { backend }: Pick<EvaluationSession, "backend">,
  train: FeatureRows,
  options: LongCallOptions & { readonly seed: number; readonly maxIterations: number },
): Promise<FittedProbe> {
  const { seed, maxIterations, signal, onProgress } = options;
  const classes = train.classes.length;
  const held = await holdOut(train, seed, { signal });
  if (classes < 2 || held.size === 0) {
    throw new ToklipError(
      "DATA_INVALID",
      `linear-probe: expected training pictures of two classes, five or more; there are ${train.size} of ${classes}`,
    );
  }
  const size = Math.max(1, Math.min(MOST_BLOCK_ROWS, train.size, Math.floor(MOST_BLOCK_SCORES / classes)));
  const moments = await momentsOf(train, { signal });
  const regression = await SoftmaxRegression.compile(backend, { classes, width: train.width, rows: size }, { signal });
  const part = (keep?: (row: number) => boolean) =>
    probeBlocks(train, { moments, size, signal, ...(keep && { keep }) });
  const learnt = await part((row) => !held.has(row));
  const kept = await part((row) => held.has(row));
  const fitTo = (blocks: LabelledBlocks, penalty: number, start?: ProbeWeights) =>
    regression.fit(blocks, { penalty, maxIterations, start, signal });
  const { best, tried } = await sweep(async (penalty, start) => {
    onProgress?.({ stage: "fit", item: `penalty ${penalty.toPrecision(2)}`, done: 0, unit: "steps" });
    const { point, iterations, converged } = await fitTo(learnt, penalty, start);
    const { place } = await askProbe(regression, kept, point, train.classes, { signal });
    const share = place.filter((before) => before === 0).length / place.length;
    return { penalty, share, iterations, converged, point };
  });
  const { point, converged } = await fitTo(await part(), best.penalty, best.point);
  return { regression, weights: point, moments, size, chosen: best.penalty, converged, tried };
}

type Fit = TriedPenalty & { readonly point: ProbeWeights };

/** Tries whole decades, then the halves beside the best; the stronger penalty wins ties. */
async function sweep(tryPenalty: (penalty: number, start?: ProbeWeights) => Promise<Fit>) {
  const tried: TriedPenalty[] = [];
  let best: Fit | undefined;
  let last: Fit | undefined;
  const attempt = async (exponent: number, start?: ProbeWeights) => {
    last = await tryPenalty(10 ** exponent, start);
    const { point: _, ...told } = last;
    tried.push(told);
    if (best === undefined || last.share > best.share) best = last;
  };
  for (const [i, exponent] of DECADES.entries()) {
    await attempt(exponent, last?.point);
    if (i >= WORSE_TO_STOP && tried.slice(-WORSE_TO_STOP).every(({ share }) => share < best!.share)) break;
  }
  const { penalty, point } = best!;
  for (const half of [0.5, -0.5]) await attempt(Math.log10(penalty) + half, point);
  return { best: best!, tried };
}

/** What a probe says of rows. */
export async function askProbe(
  regression: SoftmaxRegression,
  blocks: LabelledBlocks,
  weights: ProbeWeights,
  classes: readonly string[],
  options: LongCallOptions = {},
): Promise<ClassOutcomes> {
  const outcomes = { truth: [] as number[], chosen: [] as number[], place: [] as number[] };
  for await (const { features, labels, count } of blocks()) {
    const { data } = await regression.score(features, weights, options);
    for (let i = 0; i < count; i++) {
      const [scores, own] = [data.subarray(i * classes.length, (i + 1) * classes.length), labels.data[i]!];
      outcomes.truth.push(own);
      outcomes.chosen.push(highest(scores));
      outcomes.place.push(placeOf(scores, own));
    }
  }
  const { truth, chosen, place } = outcomes;
  return { classes, truth: Int32Array.from(truth), chosen: Int32Array.from(chosen), place: Int32Array.from(place) };
}

function sweepTable(tried: readonly TriedPenalty[], chosen: number): EvaluationTable {
  return {
    title: "Penalties, on the held-out fifth of the training pictures",
    columns: ["penalty", "top1 %", "steps", "converged", ""],
    rows: [...tried]
      .sort((a, b) => b.penalty - a.penalty)
      .map(({ penalty, share, iterations, converged }) => [
        penalty.toPrecision(3),
        100 * share,
        iterations,
        converged ? "yes" : "no",
        penalty === chosen ? "chosen" : "",
      ]),
  };
}
