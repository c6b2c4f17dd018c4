/** What a run will need on this machine: the estimate, and the speed that it is made with. */
import { ndarray } from "../core/index.ts";
import type { Checkpoint } from "../files/index.ts";
import { Graph, gemm } from "../graph/index.ts";
import type { ArConfig, ToklipConfig } from "../models/index.ts";
import type { Backend } from "../runtime/index.ts";
import { arTrainedShapes, checkGivenEncoder, type GivenEncoder } from "../train/ar-assembly.ts";
import { type EstimateOptions, estimateTraining, type TrainingEstimate } from "../train/estimate.ts";
import { checkBeginnings, checkInit } from "../train/initial-weights.ts";
import type { RunConfig, RunConfigs } from "../train/run-config.ts";
import { checkGivenParts } from "../train/towers-trainer.ts";
import type { VqLossOptions } from "../train/vq-objective.ts";
import { openIdsSource } from "./ids-data.ts";
import { openGivenEncoder } from "./open-ar-run.ts";
import { createOrtBackend } from "./ort-backend.ts";
import { isArRun, type ResolvedRun, resolveRunConfig, type TrainOptions, totalSteps } from "./train.ts";
import { openDataSource } from "./train-data.ts";
import { closeAll, openCheckpoints, openGiven, openPerceptual, openTokenizer } from "./train-models.ts";
import { givenParts, tokenizerOf, vqLossOf } from "./train-trainers.ts";

/** The run to estimate. */
export type EstimateRunOptions = Pick<TrainOptions, "kind" | "config" | "name" | "overrides" | "smoke" | "signal">;

/** An estimate of a whole run. */
export interface RunEstimate extends TrainingEstimate {
  readonly config: RunConfig;
  /** Absent where the size of the data is not known and `epochs` was asked for. */
  readonly steps?: number;
  /** Samples of the training data, where that is known. */
  readonly samples?: number;
  /** Floating-point operations a second that the machine reached on matrix products. */
  readonly matmulFlops: number;
}

const [ROWS, WIDTH, ROUNDS] = [512, 1024, 12];

/** How fast this machine multiplies matrices just now: about a third of a second. */
async function measureMatmul(backend: Backend): Promise<number> {
  const graph = new Graph();
  const weight = graph.parameter("weight", [WIDTH, WIDTH]);
  graph.output("y", gemm(graph.input("x", "f32", [ROWS, WIDTH]), weight, undefined, { transB: true }));
  const value = ndarray("f32", [WIDTH, WIDTH], new Float32Array(WIDTH * WIDTH).fill(0.5));
  const session = await backend.compile({ name: "matmul", graph, weight: async () => ({ kind: "array", value }) });
  const x = ndarray("f32", [ROWS, WIDTH], new Float32Array(ROWS * WIDTH).fill(0.5));
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    await session.run({ x });
    best = Math.min(best, performance.now() - start);
  }
  await session.dispose();
  return (2 * ROWS * WIDTH * WIDTH) / (best / 1000);
}

/** What an estimate needs to know of a run's models, once their checkpoints' headers have been looked at. */
type KnownModels = Pick<EstimateOptions, "model" | "ar" | "teacher" | "vqLoss">;

async function checkModels(run: ResolvedRun): Promise<KnownModels> {
  const opened = await openCheckpoints(run.config.init);
  try {
    if (isArRun(run)) return { ar: await checkAr(run.config, run.model, opened) };
    const { config, model } = run;
    checkInit(opened, model);
    await tokenizerOf(config, model);
    if (config.kind === "vq") return { model, vqLoss: await lossOf(config) };
    return { model, teacher: config.kind === "toklip" ? await checkTaught(config, model, opened) : undefined };
  } finally {
    await closeAll(opened);
  }
}

/** @returns the configuration of the teacher */
async function checkTaught(config: RunConfigs["toklip"], model: ToklipConfig, init: readonly Checkpoint[]) {
  const teacher = config.teacher ? await openGiven(config.teacher) : undefined;
  try {
    checkGivenParts(givenParts(config, model, init, teacher));
    return teacher?.config;
  } finally {
    await teacher?.checkpoint.close();
  }
}

async function checkAr(config: RunConfigs["ar"], model: ArConfig, init: readonly Checkpoint[]): Promise<GivenEncoder> {
  await openTokenizer(config.tokenizer, model.textVocabSize);
  const given = await openGivenEncoder(config, model);
  try {
    checkGivenEncoder(given);
    const encoder = given.tokenEncoder === "trained" ? given.toklip?.config : undefined;
    checkBeginnings(model.name, arTrainedShapes(model, encoder), init);
    return given;
  } finally {
    await given.toklip?.checkpoint.close();
  }
}

/**
 * Checks a run's configuration, its data and its models, and estimates what it needs; nothing is trained or written.
 * @throws as `train`
 */
export async function estimateRun(options: EstimateRunOptions): Promise<RunEstimate> {
  const run = await resolveRunConfig(options);
  const { config } = run;
  const { size } = isArRun(run)
    ? await openIdsSource(run.config.data.train, options.signal)
    : await openDataSource(run.config.data.train, options.signal);
  const known = await checkModels(run);
  const backend = createOrtBackend(config.threads === null ? {} : { threads: config.threads });
  try {
    const matmulFlops = await measureMatmul(backend);
    const estimate = estimateTraining({ config, ...known, batchSize: config.batch_size, matmulFlops });
    const isKnown = config.steps !== null || size !== undefined;
    return {
      ...estimate,
      config,
      matmulFlops,
      ...(isKnown && { steps: totalSteps(config, size) }),
      ...(size !== undefined && { samples: size }),
    };
  } finally {
    await backend.dispose();
  }
}

async function lossOf(config: RunConfigs["vq"]): Promise<VqLossOptions> {
  const perceptual = await openPerceptual(config);
  await perceptual.close();
  return vqLossOf(config, perceptual.distance);
}
