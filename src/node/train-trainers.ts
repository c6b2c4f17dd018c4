/** From a run's configuration to its trainer: one row a kind. */
import { ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/index.ts";
import { PREFIXES, type ToklipConfig, vqOf } from "../models/index.ts";
import type { Backend } from "../runtime/index.ts";
import type { TextTokenizer } from "../text/index.ts";
import type { Communicator } from "../train/communicator.ts";
import type { FeatureCache } from "../train/feature-cache.ts";
import type { ImageTextBatch } from "../train/image-text-batch.ts";
import { checkInit } from "../train/initial-weights.ts";
import type { PictureRunConfig, PictureTrainingKind, RunConfig, RunConfigs } from "../train/run-config.ts";
import { createSchedule, type ScheduleName } from "../train/schedule.ts";
import { createTeacherTrainer, createToklipTrainer, type GivenParts } from "../train/towers-trainer.ts";
import type { Trainer } from "../train/trainer.ts";
import { createVqTrainer } from "../train/vq-assembly.ts";
import type { PerceptualDistance, VqLossOptions } from "../train/vq-objective.ts";
import { closeAll, openCheckpoints, openGiven, openPerceptual, openTokenizer } from "./train-models.ts";

/** What every trainer is built with. */
export interface TrainerContext<K extends PictureTrainingKind = PictureTrainingKind> {
  readonly config: RunConfigs[K];
  readonly model: ToklipConfig;
  readonly backend: Backend;
  readonly communicator: Communicator;
  /** Where a TokLIP's training finds and keeps what its frozen parts make. */
  readonly cache?: FeatureCache | undefined;
}

/** A trainer with what its batches need. */
export interface OpenTrainer {
  readonly trainer: Trainer<ImageTextBatch>;
  /** Names of parameters that begin at random. */
  readonly fresh: readonly string[];
  /** Closes the checkpoints that it reads. The trainer is disposed first. */
  close(): Promise<void>;
}

/** Samples of one process in one step. @throws CONFIG_INVALID when the processes do not divide the batch */
export function localBatchSize({ batch_size }: RunConfig, { size }: Communicator): number {
  if (batch_size % size === 0) return batch_size / size;
  throw new ToklipError("CONFIG_INVALID", `batch_size ${batch_size} cannot be shared by ${size} processes`);
}

/** The schedule of a run's learning rate. */
export function scheduleOf({ optimizer }: RunConfig) {
  const { learning_rate, schedule, warmup, final_fraction } = optimizer;
  return createSchedule(schedule as ScheduleName, {
    learningRate: learning_rate,
    warmup,
    finalFraction: final_fraction,
  });
}

/** What a configuration of any kind says to its trainer. */
export function commonOptions({
  config,
  backend,
  communicator,
}: Pick<TrainerContext, "backend" | "communicator"> & { readonly config: RunConfig }) {
  const { optimizer, ema, part_size, recompute, seed, device } = config;
  const batchSize = localBatchSize(config, communicator);
  const partSize = Math.min(part_size ?? batchSize, batchSize);
  return {
    backend,
    seed,
    recompute,
    communicator,
    schedule: scheduleOf(config),
    batchSize,
    partSize,
    resident: device === "webgpu" && partSize === batchSize && communicator.size === 1,
    ema: ema ?? undefined,
    optimizer: {
      betas: optimizer.betas,
      eps: optimizer.eps,
      weightDecay: optimizer.weight_decay,
      clipNorm: optimizer.clip_norm ?? undefined,
    },
  };
}

/** The tokenizer of a kind that reads texts. */
export async function tokenizerOf(config: PictureRunConfig, model: ToklipConfig): Promise<TextTokenizer | undefined> {
  return config.kind === "vq" ? undefined : openTokenizer(config.tokenizer, model.text.vocabSize);
}

/** What the VQ's loss is made of; `perceptual` is the distance where it is not LPIPS. */
export function vqLossOf({ loss }: RunConfigs["vq"], perceptual?: PerceptualDistance): VqLossOptions {
  const { discriminator } = loss;
  return {
    reconstruction: loss.reconstruction,
    reconstructionWeight: loss.reconstruction_weight,
    perceptualWeight: loss.perceptual?.weight ?? 0,
    perceptual,
    beta: loss.beta,
    entropyRatio: loss.entropy_ratio,
    entropyTemperature: loss.entropy_temperature,
    ...(discriminator && {
      discriminator: {
        ndf: discriminator.ndf,
        numLayers: discriminator.layers,
        loss: discriminator.loss,
        weight: discriminator.weight,
        start: discriminator.start,
        adaptive: discriminator.adaptive,
      },
    }),
  };
}

type Teacher = Awaited<ReturnType<typeof openGiven>>;

/** What a TokLIP's training is given: checkpoints in the order in which they are asked, teacher, weights of the loss. */
export function givenParts(
  { teacher: named, loss }: RunConfigs["toklip"],
  model: ToklipConfig,
  init: readonly Checkpoint[],
  teacher: Teacher | undefined,
): GivenParts {
  const taught = teacher ? [teacher.checkpoint] : [];
  return {
    model,
    checkpoints: named?.initialize ? [...init, ...taught] : init,
    frozenCheckpoints: [...init, ...taught],
    teacher,
    weights: {
      contrastive: loss.contrastive,
      distillation: loss.distillation,
      tokenDistillation: loss.token_distillation,
    },
  };
}

type Builder<K extends PictureTrainingKind> = (
  context: TrainerContext<K>,
  init: readonly Checkpoint[],
) => Promise<OpenTrainer>;

const BUILDERS: { readonly [K in PictureTrainingKind]: Builder<K> } = {
  toklip: async (context, init) => {
    const { config, model } = context;
    const teacher = config.teacher ? await openGiven(config.teacher) : undefined;
    const built = createToklipTrainer({
      ...commonOptions(context),
      ...givenParts(config, model, init, teacher),
      patchDropout: config.patch_dropout ?? 0,
      logitScaleRange: config.logit_scale_range,
      cache: context.cache,
    });
    return withClose(built, () => closeAll(teacher ? [teacher.checkpoint] : []));
  },
  teacher: async (context, init) => {
    const { config, model } = context;
    const built = createTeacherTrainer({
      ...commonOptions(context),
      model,
      checkpoints: init,
      loss: config.loss.type,
      patchDropout: config.patch_dropout ?? 0,
      logitScaleRange: config.logit_scale_range,
    });
    return withClose(built, async () => {});
  },
  vq: async (context, init) => {
    const { config, model } = context;
    const perceptual = await openPerceptual(config);
    const built = createVqTrainer({
      ...commonOptions(context),
      config: vqOf(model),
      imageSize: model.trunk.imageSize,
      loss: vqLossOf(config, perceptual.distance),
      ...(config.trained && { trained: config.trained }),
      checkpoints: init.map(bareVq),
      perceptualWeights: perceptual.weights,
      codebook: { patience: config.codebook.patience, reviveEvery: config.codebook.revive_every },
    });
    return withClose(built, perceptual.close);
  },
};

/** A checkpoint with the VQ's tensors under LlamaGen's own names. */
function bareVq(checkpoint: Checkpoint): Checkpoint {
  const prefix = `${PREFIXES.vq}.`;
  const own = [...checkpoint.tensors].filter(([name]) => name.startsWith(prefix));
  const tensors = new Map(own.map(([name, entry]) => [name.slice(prefix.length), entry]));
  return { ...checkpoint, tensors, close: () => checkpoint.close() };
}

/** Builds the trainer of a run. @throws CHECKPOINT_MISMATCH, CONFIG_INVALID, FILE_NOT_FOUND, OUT_OF_MEMORY */
export async function openTrainer(context: TrainerContext): Promise<OpenTrainer> {
  const init = await openCheckpoints(context.config.init);
  try {
    checkInit(init, context.model);
  } catch (thrown) {
    await closeAll(init);
    throw thrown;
  }
  const build = BUILDERS[context.config.kind] as Builder<PictureTrainingKind>;
  return withClose(build(context, init), () => closeAll(init));
}

/** A trainer that is being built, with what closes its files after its own; called at once when it cannot be built. */
async function withClose(
  building: Promise<Omit<OpenTrainer, "close"> & Partial<Pick<OpenTrainer, "close">>>,
  close: () => Promise<void>,
): Promise<OpenTrainer> {
  try {
    const built = await building;
    const closeBoth = async () => {
      await built.close?.();
      await close();
    };
    return { ...built, close: closeBoth };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}
