/** The two trainings of towers, put together from configurations and checkpoints. */
import { ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/index.ts";
import type { Graph } from "../graph/index.ts";
import { gridOf, PREFIXES, parameterShapes, type ToklipConfig } from "../models/index.ts";
import type { Backend } from "../runtime/index.ts";
import type { Communicator } from "./communicator.ts";
import { wholeBatchGraph } from "./contrastive-step.ts";
import { ContrastiveTrainer, type ContrastiveTrainerOptions } from "./contrastive-trainer.ts";
import type { FeatureCache } from "./feature-cache.ts";
import { checkTeacher, createFrozenEncoders, evenPartSize } from "./frozen-encoders.ts";
import { checkWeights, initialParameters, weightsOf } from "./initial-weights.ts";
import { decayGroups } from "./parameter-groups.ts";
import type { Schedule } from "./schedule.ts";
import { type ContrastiveLossName, LOSS_SCALARS, teacherObjective } from "./teacher-objective.ts";
import { type ToklipLossWeights, toklipObjective } from "./toklip-objective.ts";

/** What both trainings need. */
export interface TowersTrainingOptions {
  readonly backend: Backend;
  readonly model: ToklipConfig;
  /** Where trained weights begin, in order of preference; what none of them has begins at random. */
  readonly checkpoints: readonly Checkpoint[];
  readonly seed: number;
  readonly optimizer: {
    readonly betas: readonly [number, number];
    readonly eps: number;
    readonly weightDecay: number;
    readonly clipNorm?: number | undefined;
  };
  readonly ema?: { readonly decay: number; readonly warmup?: boolean } | undefined;
  /** The range of the logarithm of the logit scale; null leaves it free. */
  readonly logitScaleRange: readonly [number, number] | null;
  readonly schedule: Schedule;
  readonly batchSize: number;
  readonly partSize?: number;
  readonly recompute?: boolean;
  readonly communicator?: Communicator;
  /** See `LearnerOptions`. */
  readonly resident?: boolean;
}

/** The training of a TokLIP. */
export interface ToklipTrainingOptions extends TowersTrainingOptions {
  readonly weights: ToklipLossWeights;
  /** The share of tokens that a step leaves out, in [0, 1). Default 0. */
  readonly patchDropout?: number;
  readonly teacher?: { readonly config: ToklipConfig; readonly checkpoint: Checkpoint } | undefined;
  /** Where the VQ and the text tower come from, in order of preference. Default `checkpoints`. */
  readonly frozenCheckpoints?: readonly Checkpoint[];
  /** Samples that the frozen parts take at once. Default `evenPartSize`: at most 8. */
  readonly frozenPartSize?: number;
  /** Keeps what the frozen parts make. Stays the caller's. */
  readonly cache?: FeatureCache | undefined;
}

/** A trainer that is ready, and the names of parameters that no checkpoint had. */
export interface ReadyTrainer {
  readonly trainer: ContrastiveTrainer;
  readonly fresh: readonly string[];
}

/** Whether a TokLIP's training moves a parameter: not the VQ, not the text tower. */
export function isTrainedInToklip(name: string): boolean {
  return !name.startsWith(`${PREFIXES.vq}.`) && !name.startsWith(`${PREFIXES.text}.`);
}

/** The shapes of the parameters that an objective trains, by name. */
export function trainedShapes(graph: Graph, trained: (name: string) => boolean): Map<string, readonly number[]> {
  const entries = [...graph.parameters].filter(([name]) => trained(name));
  return new Map(entries.map(([name, { shape }]) => [name, shape as readonly number[]]));
}

async function assemble(
  options: TowersTrainingOptions,
  { objective, evaluated = objective }: Pick<ContrastiveTrainerOptions, "objective" | "evaluated">,
  trained: (name: string) => boolean,
  scalars: Readonly<Record<string, number>>,
  frozenCheckpoints = options.checkpoints,
): Promise<ReadyTrainer> {
  const { checkpoints, seed, optimizer, ema, logitScaleRange, ...rest } = options;
  const { batchSize, partSize = batchSize, model } = options;
  const shapes = trainedShapes(wholeBatchGraph(objective, partSize, trained, false), trained);
  const { parameters, fresh } = await initialParameters(shapes, checkpoints, { seed, scalars });
  const update = {
    groups: decayGroups(shapes, optimizer.weightDecay),
    betas: optimizer.betas,
    eps: optimizer.eps,
    clipNorm: optimizer.clipNorm,
    ema,
    clamps: logitScaleRange ? { logit_scale: logitScaleRange } : {},
  };
  const frozen = weightsOf(frozenCheckpoints, model.name);
  return {
    trainer: await ContrastiveTrainer.create({ ...rest, objective, evaluated, parameters, frozen, update }),
    fresh,
  };
}

/** What of a TokLIP's training is given and stays as it is. */
export type GivenParts = Pick<
  ToklipTrainingOptions,
  "model" | "checkpoints" | "frozenCheckpoints" | "teacher" | "weights"
>;

/**
 * Checks, from headers alone, that all weights are there that a TokLIP's training does not make: those that its steps
 * need, and the VQ's decoder, which belongs to the model that comes out.
 * @throws CHECKPOINT_MISMATCH, CONFIG_INVALID where there is distillation and no teacher
 */
export function checkGivenParts({ model, checkpoints, frozenCheckpoints, teacher, weights }: GivenParts): void {
  const shapes = [...parameterShapes(model)];
  const below = (prefix: string) => new Map(shapes.filter(([name]) => name.startsWith(`${prefix}.`)));
  checkWeights("the VQ", below(PREFIXES.vq), frozenCheckpoints ?? checkpoints);
  checkWeights("the text tower", below(PREFIXES.text), frozenCheckpoints ?? checkpoints);
  if (teacher) {
    checkTeacher(model, teacher.config);
    const [own, taught] = [gridOf(model.trunk).tokens, gridOf(teacher.config.trunk).tokens];
    if (weights.tokenDistillation > 0 && own !== taught) {
      throw new ToklipError(
        "CONFIG_INVALID",
        `loss: token features are distilled one by one, but the teacher has ${taught} of a picture, the student ${own}`,
      );
    }
    checkWeights("the teacher", parameterShapes(teacher.config, ["pixel_encoder"]), [teacher.checkpoint]);
  } else if (weights.distillation > 0 || weights.tokenDistillation > 0) {
    throw new ToklipError(
      "CONFIG_INVALID",
      "loss: distillation needs a teacher; name teacher.checkpoint, or set loss.distillation to 0",
    );
  }
}

/** Trains TokLIP's token encoder. @throws CHECKPOINT_MISMATCH, CONFIG_INVALID, ARGUMENT_INVALID, OUT_OF_MEMORY */
export async function createToklipTrainer(options: ToklipTrainingOptions): Promise<ReadyTrainer> {
  const { backend, model, checkpoints, frozenCheckpoints = checkpoints, teacher, weights, cache, seed } = options;
  const { frozenPartSize = evenPartSize(options.batchSize), patchDropout: share = 0 } = options;
  checkGivenParts(options);
  const encoders = createFrozenEncoders({
    backend,
    config: model,
    weights: weightsOf(frozenCheckpoints, model.name),
    ...(teacher && {
      teacher: { config: teacher.config, weights: weightsOf([teacher.checkpoint], teacher.config.name) },
    }),
    partSize: frozenPartSize,
  });
  const given = cache?.over(encoders) ?? encoders;
  return assemble(
    options,
    {
      objective: toklipObjective(model, given, weights, { share, seed }),
      evaluated: toklipObjective(model, given, weights),
    },
    isTrainedInToklip,
    LOSS_SCALARS.softmax,
    frozenCheckpoints,
  );
}

/** The training of a pixel teacher. */
export interface TeacherTrainingOptions extends TowersTrainingOptions {
  readonly loss: ContrastiveLossName;
  /** The share of patches that a step leaves out, in [0, 1). Default 0. */
  readonly patchDropout?: number;
}

/** Trains a pixel teacher with its text tower. @throws as `createToklipTrainer` */
export async function createTeacherTrainer(options: TeacherTrainingOptions): Promise<ReadyTrainer> {
  const { model, loss, seed, patchDropout: share = 0 } = options;
  const objectives = {
    objective: teacherObjective(model, loss, { share, seed }),
    evaluated: teacherObjective(model, loss),
  };
  return assemble(options, objectives, () => true, LOSS_SCALARS[loss]);
}
