/** A training run in Node: configuration, data, trainer and folder put together, and the loop over them. */
import { join } from "node:path";
import { type LongCallOptions, ToklipError } from "../core/index.ts";
import type { BadSample, JsonValue } from "../data/index.ts";
import type { ArConfig, ToklipConfig } from "../models/index.ts";
import type { Communicator } from "../train/communicator.ts";
import { type Positioned, runTraining, type TrainingEvent, type TrainingSummary } from "../train/loop.ts";
import { withOverrides } from "../train/overrides.ts";
import {
  mayDiffer,
  type PictureRunConfig,
  parseRunConfig,
  type RunConfig,
  type RunConfigs,
  type TrainingKind,
} from "../train/run-config.ts";
import { openRunFolder, type RunFolder } from "../train/run-folder.ts";
import type { RunStorage } from "../train/run-storage.ts";
import { smokeConfig } from "../train/smoke.ts";
import { communicatorFromEnvironment } from "./mpi.ts";
import { openArConfig, openArRun } from "./open-ar-run.ts";
import { type OpenRun, openPictureRun, threadsOf } from "./open-run.ts";
import { createOrtBackend } from "./ort-backend.ts";
import { pictureWriter, readRunFolder, withRunFolder } from "./run-folder.ts";
import { exportRun } from "./train-export.ts";
import { openModelConfig } from "./train-models.ts";

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

/** A run's complete configuration, and that of its model. */
export type ResolvedRun =
  | { readonly config: PictureRunConfig; readonly model: ToklipConfig }
  | { readonly config: RunConfigs["ar"]; readonly model: ArConfig };

/** Whether a run is one of the unified transformer. */
export function isArRun(run: ResolvedRun): run is Extract<ResolvedRun, { readonly model: ArConfig }> {
  return run.config.kind === "ar";
}

/**
 * The complete configuration of a run, with the model's own in it, so that the run's folder explains itself.
 * @throws CONFIG_INVALID, CONFIG_UNKNOWN, ARGUMENT_INVALID
 */
export async function resolveRunConfig(
  options: Pick<TrainOptions, "kind" | "config" | "name" | "overrides" | "smoke">,
): Promise<ResolvedRun> {
  const { kind, name, overrides = [], smoke = false } = options;
  const asked = withOverrides(options.config, overrides);
  const parsed = parseRunConfig(kind, asked, name);
  const open = kind === "ar" ? openArConfig : openModelConfig;
  const model = await open(parsed.model);
  if (!smoke) return { config: { ...parsed, model: { ...model.source } }, model } as ResolvedRun;
  const small = parseRunConfig(kind, smokeConfig(kind, asked, model.source), name);
  return { config: small, model: await open(small.model) } as ResolvedRun;
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
  const run = await resolveRunConfig(options);
  const work = (storage: RunStorage) => trainIn(storage, run, { ...options, communicator });
  const summary = communicator.rank === 0 ? await withRunFolder(out, work, { signal }) : await work(readRunFolder(out));
  const exported = communicator.rank === 0 ? await exportRun({ run: out, overwrite: true, signal }) : undefined;
  await communicator.close();
  return { ...summary, rank: communicator.rank, model: exported?.out ?? join(out, "model.safetensors") };
}

type PreparedRun = Omit<TrainOptions, "config"> & { readonly communicator: Communicator };

async function trainIn(storage: RunStorage, run: ResolvedRun, options: PreparedRun): Promise<TrainingSummary> {
  const { config } = run;
  const { communicator, resume = false } = options;
  const folder = await openRunFolder({
    storage,
    config: config as unknown as JsonValue,
    mayDiffer: mayDiffer(config),
    resume,
    communicator,
  });
  const backend = createOrtBackend({ device: config.device, threads: threadsOf(config, communicator) });
  const context = { ...options, backend };
  try {
    // Each kind has batches of its own, which its trainer alone looks into.
    return isArRun(run)
      ? await trainOpen(await openArRun(run.config, run.model, context), folder, config, options)
      : await trainOpen(await openPictureRun(run.config, run.model, context), folder, config, options);
  } finally {
    await backend.dispose();
  }
}

async function trainOpen<B extends Positioned>(
  opened: OpenRun<B>,
  folder: RunFolder,
  config: RunConfig,
  options: PreparedRun,
): Promise<TrainingSummary> {
  const { trainer, batches, evaluation, size, fresh } = opened;
  const { communicator, signal, onEvent } = options;
  if (folder.resumeFrom === undefined) tellFresh(config, fresh, options);
  try {
    return await runTraining<B>({
      trainer,
      batches,
      evaluationBatches: evaluation,
      totalSteps: totalSteps(config, size),
      imagesPerStep: config.batch_size,
      logEvery: config.log_every,
      evaluateEvery: config.eval_every,
      samplesEvery: config.samples_every,
      checkpointEvery: config.checkpoint_every,
      keepLast: config.keep_last,
      best: config.best,
      folder,
      pictures: pictureWriter,
      communicator,
      signal,
      now: () => Date.now() / 1000,
      ...(communicator.rank === 0 && { onEvent }),
    });
  } finally {
    await opened.close();
  }
}

/** Says what begins at random in a run that was given checkpoints to begin from. */
function tellFresh(config: RunConfig, fresh: readonly string[], { communicator, onEvent }: PreparedRun): void {
  const isGiven = config.init.length > 0 || (config.kind === "toklip" && config.teacher?.initialize === true);
  if (!isGiven || fresh.length === 0 || communicator.rank > 0) return;
  const named = `${fresh.slice(0, 3).join(", ")}${fresh.length > 3 ? ` and ${fresh.length - 3} more` : ""}`;
  onEvent?.({ type: "warning", message: `no checkpoint has these parameters, they begin anew: ${named}` });
}
