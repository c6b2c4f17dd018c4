/** What a run will need on this machine: the estimate, and the speed that it is made with. */
import { ndarray } from "../core/index.ts";
import { Graph, gemm } from "../graph/index.ts";
import type { ToklipConfig } from "../models/index.ts";
import type { Backend } from "../runtime/index.ts";
import { estimateTraining, type TrainingEstimate } from "../train/estimate.ts";
import { checkInit } from "../train/initial-weights.ts";
import type { RunConfig, RunConfigs } from "../train/run-config.ts";
import { checkGivenParts } from "../train/towers-trainer.ts";
import type { VqLossOptions } from "../train/vq-objective.ts";
import { createOrtBackend } from "./ort-backend.ts";
import { resolveRunConfig, type TrainOptions, totalSteps } from "./train.ts";
import { openDataSource } from "./train-data.ts";
import { closeAll, openCheckpoints, openPerceptual, openTeacher } from "./train-models.ts";
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

/** Looks at the headers of a run's checkpoints. @returns the configuration of its teacher */
async function checkCheckpoints(config: RunConfig, model: ToklipConfig): Promise<ToklipConfig | undefined> {
  const opened = await openCheckpoints(config.init);
  try {
    checkInit(opened, model);
    if (config.kind !== "toklip") return undefined;
    const init = [...opened];
    const teacher = config.teacher ? await openTeacher(config.teacher) : undefined;
    if (teacher) opened.push(teacher.checkpoint);
    checkGivenParts(givenParts(config, model, init, teacher));
    return teacher?.config;
  } finally {
    await closeAll(opened);
  }
}

/**
 * Checks a run's configuration, its data and its models, and estimates what it needs; nothing is trained or written.
 * @throws as `train`
 */
export async function estimateRun(options: EstimateRunOptions): Promise<RunEstimate> {
  const { config, model } = await resolveRunConfig(options);
  const { size } = await openDataSource(config.data.train, options.signal);
  await tokenizerOf(config, model);
  const taught = await checkCheckpoints(config, model);
  const backend = createOrtBackend(config.threads === null ? {} : { threads: config.threads });
  try {
    const matmulFlops = await measureMatmul(backend);
    const estimate = estimateTraining({
      config,
      model,
      teacher: taught,
      ...(config.kind === "vq" && { vqLoss: await lossOf(config) }),
      batchSize: config.batch_size,
      matmulFlops,
    });
    const known = config.steps !== null || size !== undefined;
    return {
      ...estimate,
      config,
      matmulFlops,
      ...(known && { steps: totalSteps(config, size) }),
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
