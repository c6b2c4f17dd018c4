/** A training run in Node: configuration, data, trainer and folder put together, and the loop over them. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type LongCallOptions, ToklipError } from "../core/index.ts";
import type { BadSample, Batch, JsonValue } from "../data/index.ts";
import type { ToklipConfig } from "../models/index.ts";
import type { Communicator } from "../train/communicator.ts";
import type { FeatureCache } from "../train/feature-cache.ts";
import type { ImageTextBatch } from "../train/image-text-batch.ts";
import { type Positioned, runTraining, type TrainingEvent, type TrainingSummary } from "../train/loop.ts";
import { withOverrides } from "../train/overrides.ts";
import { mayDiffer, parseRunConfig, type RunConfig, type TrainingKind } from "../train/run-config.ts";
import { openRunFolder } from "../train/run-folder.ts";
import { smokeConfig } from "../train/smoke.ts";
import { createDecodePool } from "./decode-pool.ts";
import { openRunCache } from "./feature-cache.ts";
import { communicatorFromEnvironment } from "./mpi.ts";
import { createOrtBackend } from "./ort-backend.ts";
import { pictureWriter, readRunFolder, withRunFolder } from "./run-folder.ts";
import { openRunBatches, type RunBatches } from "./train-data.ts";
import { exportRun } from "./train-export.ts";
import { openModelConfig } from "./train-models.ts";
import { localBatchSize, openTrainer, tokenizerOf } from "./train-trainers.ts";

/** A run to make. */
export interface TrainOptions extends LongCallOptions {
  readonly kind: TrainingKind;
  /** The parsed configuration file. */
  readonly config: unknown;
  /** What to call the configuration in messages: its file. */
  readonly name: string;
  /** The run's folder. */
  readonly out: string;
  /** Changes of the configuration, `key=value` each. */
  readonly overrides?: readonly string[];
  /** Go on with the run in the folder. */
  readonly resume?: boolean;
  /** The smallest run that goes through everything. */
  readonly smoke?: boolean;
  /** Is told how the run goes. */
  readonly onEvent?: ((event: TrainingEvent) => void) | undefined;
  /** Is told of each sample that could not be used. */
  readonly onBad?: ((bad: BadSample) => void) | undefined;
}

/** How a run ended, and the model that it made. */
export interface TrainResult extends TrainingSummary {
  /** The model as one .safetensors file, in the reference's layout. */
  readonly model: string;
  /** Which process of the run this is, from 0. */
  readonly rank: number;
}

/**
 * The complete configuration of a run, with the model's own in it, so that the run's folder explains itself.
 * @throws CONFIG_INVALID, CONFIG_UNKNOWN, ARGUMENT_INVALID
 */
export async function resolveRunConfig(
  options: Pick<TrainOptions, "kind" | "config" | "name" | "overrides" | "smoke">,
): Promise<{ readonly config: RunConfig; readonly model: ToklipConfig }> {
  const { kind, name, overrides = [], smoke = false } = options;
  const asked = withOverrides(options.config, overrides);
  const parsed = parseRunConfig(kind, asked, name);
  const model = await openModelConfig(parsed.model);
  if (!smoke) return { config: { ...parsed, model: { ...model.source } }, model };
  const small = parseRunConfig(kind, smokeConfig(kind, asked, model.source), name);
  return { config: small, model: await openModelConfig(small.model) };
}

/** The length of a run in steps. @throws CONFIG_INVALID for epochs over data of unknown size */
export function totalSteps({ steps, epochs, batch_size }: RunConfig, size: number | undefined): number {
  if (steps !== null) return steps;
  if (size === undefined)
    throw new ToklipError("CONFIG_INVALID", "epochs: the size of the data is not known; give steps");
  return Math.max(1, Math.floor((size * epochs!) / batch_size));
}

/**
 * Trains a model. Started by `mpirun`, all processes call it alike.
 * @throws CONFIG_INVALID, CHECKPOINT_MISMATCH, DATA_EMPTY, DATA_TOO_BAD, FILE_EXISTS, RESUME_MISMATCH, FOLDER_BUSY,
 * TRAINING_DIVERGED, FILE_WRITE_FAILED, PEER_LOST, ABORTED
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { out, signal } = options;
  const communicator = await communicatorFromEnvironment();
  const { config, model } = await resolveRunConfig(options);
  const run = (storage: Parameters<typeof openRunFolder>[0]["storage"]) =>
    trainIn(storage, { ...options, communicator, config, model });
  const summary = communicator.rank === 0 ? await withRunFolder(out, run, { signal }) : await run(readRunFolder(out));
  const exported = communicator.rank === 0 ? await exportRun({ run: out, overwrite: true, signal }) : undefined;
  await communicator.close();
  return { ...summary, rank: communicator.rank, model: exported?.out ?? join(out, "model.safetensors") };
}

interface PreparedRun extends Omit<TrainOptions, "config"> {
  readonly communicator: Communicator;
  readonly config: RunConfig;
  readonly model: ToklipConfig;
}

async function trainIn(storage: Parameters<typeof openRunFolder>[0]["storage"], prepared: PreparedRun) {
  const { config, model, communicator, resume = false, signal, onBad } = prepared;
  const folder = await openRunFolder({
    storage,
    config: config as unknown as JsonValue,
    mayDiffer: mayDiffer(config),
    resume,
    communicator,
  });
  const tokenizer = await tokenizerOf(config, model);
  const pool = createDecodePool(config.data.workers === null ? {} : { workers: config.data.workers });
  const backend = createOrtBackend({
    device: config.device,
    threads: config.threads ?? Math.max(1, Math.floor(availableParallelism() / localSize(communicator))),
  });
  let cache: FeatureCache | undefined;
  try {
    cache = await openRunCache(prepared);
    const batches = await openRunBatches({
      data: config.data,
      seed: config.seed,
      batchSize: localBatchSize(config, communicator),
      evalBatches: config.eval_batches,
      imageSize: model.trunk.imageSize,
      decode: pool.decode,
      ...(tokenizer && { text: { tokenizer, contextLength: model.text.contextLength } }),
      communicator,
      cache,
      signal,
      onBad,
    });
    const opened = await openTrainer({ config, model, backend, communicator, cache });
    if (folder.resumeFrom === undefined) tellFresh(prepared, opened.fresh);
    try {
      return await runTraining<ImageTextBatch & Positioned>({
        ...loopOptions(prepared, batches),
        trainer: opened.trainer,
        folder,
      });
    } finally {
      await opened.trainer.dispose();
      await opened.close();
    }
  } finally {
    await cache?.close();
    await pool.dispose();
    await backend.dispose();
  }
}

/** Says what begins at random in a run that was given checkpoints to begin from. */
function tellFresh({ config, communicator, onEvent }: PreparedRun, fresh: readonly string[]): void {
  const isGiven = config.init.length > 0 || (config.kind === "toklip" && config.teacher?.initialize === true);
  if (!isGiven || fresh.length === 0 || communicator.rank > 0) return;
  const named = `${fresh.slice(0, 3).join(", ")}${fresh.length > 3 ? ` and ${fresh.length - 3} more` : ""}`;
  onEvent?.({ type: "warning", message: `no checkpoint has these parameters, they begin anew: ${named}` });
}

/** Processes on this machine. */
function localSize(communicator: Communicator): number {
  return "localSize" in communicator ? (communicator.localSize as number) : communicator.size;
}

function loopOptions(
  { config, communicator, signal, onEvent }: PreparedRun,
  { train: batches, evaluation, size }: RunBatches,
) {
  return {
    batches: (from: Positioned["position"] | undefined) => withTexts(batches(from)),
    evaluationBatches: evaluation && (() => withTexts(evaluation())),
    totalSteps: totalSteps(config, size),
    imagesPerStep: config.batch_size,
    logEvery: config.log_every,
    evaluateEvery: config.eval_every,
    samplesEvery: config.samples_every,
    checkpointEvery: config.checkpoint_every,
    keepLast: config.keep_last,
    best: config.best,
    pictures: pictureWriter,
    communicator,
    signal,
    now: () => Date.now() / 1000,
    ...(communicator.rank === 0 && { onEvent }),
  };
}

/** Batches as the trainers take them; where no texts are wanted, none are read. */
async function* withTexts(batches: AsyncIterable<Batch>): AsyncGenerator<ImageTextBatch & Positioned> {
  const none = { dtype: "i32", shape: [0, 0], data: new Int32Array() } as const;
  for await (const { textIds = none, ...batch } of batches) yield { ...batch, textIds };
}
