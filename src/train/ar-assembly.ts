/** The training of a unified transformer, put together from configurations and checkpoints. */
import { ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/index.ts";
import { type ArConfig, gridOf, PREFIXES, type ToklipConfig, vqOf } from "../models/index.ts";
import { countedLosses } from "./ar-feeds.ts";
import { arTrainingGraph } from "./ar-objective.ts";
import { createFeatureReader, tokenFeatureGraph } from "./ar-pictures.ts";
import { ArTrainer, type ArTrainerOptions } from "./ar-trainer.ts";
import { checkBeginnings, checkWeights, initialParameters, weightsOf } from "./initial-weights.ts";
import { decayGroups } from "./parameter-groups.ts";
import type { TowersTrainingOptions } from "./towers-trainer.ts";

/** Whether the token encoder stays as it is, or is trained through. */
export type TokenEncoderTraining = "frozen" | "trained";

/** What the training of a unified transformer needs. */
export interface ArTrainingOptions
  extends Omit<ArTrainerOptions, "parameters" | "encoder" | "reader" | "frozen" | "update"> {
  /** Where trained weights begin, in order of preference; what none of them has begins at random. */
  readonly checkpoints: readonly Checkpoint[];
  /** The TokLIP whose ids the data are; needed for entries that read its features. */
  readonly toklip?: { readonly config: ToklipConfig; readonly checkpoint: Checkpoint } | undefined;
  readonly tokenEncoder: TokenEncoderTraining;
  readonly seed: number;
  readonly optimizer: TowersTrainingOptions["optimizer"];
  readonly ema?: TowersTrainingOptions["ema"];
}

/** What of a training concerns its token encoder. */
export type GivenEncoder = Pick<ArTrainingOptions, "model" | "toklip" | "tokenEncoder">;

/**
 * Checks that a TokLIP makes the ids of a unified transformer, and the features that it reads, and has all weights for that.
 * @throws CONFIG_INVALID where the entry needs a TokLIP and there is none, or there is nothing to train through;
 * CHECKPOINT_MISMATCH
 */
export function checkGivenEncoder({ model, toklip, tokenEncoder }: GivenEncoder): void {
  const { entry, name, featureWidth, imageTokens, codebookSize } = model;
  if (tokenEncoder === "trained" && !entry.startsWith("toklip")) {
    throw new ToklipError("CONFIG_INVALID", `token_encoder: with the entry ${entry} no gradient reaches it`);
  }
  if (toklip === undefined) {
    if (entry === "vq") return;
    throw new ToklipError("CONFIG_INVALID", `toklip: the entry ${entry} reads token features, name their TokLIP`);
  }
  const { trunk } = toklip.config;
  const ids = {
    "ids of a picture": [imageTokens, gridOf(trunk).tokens],
    codebook: [codebookSize, vqOf(toklip.config).codebookSize],
  };
  const read = { "width of token features": [featureWidth, trunk.width] };
  for (const [what, [wanted, found]] of Object.entries(entry === "vq" ? ids : { ...ids, ...read })) {
    if (wanted === found) continue;
    throw new ToklipError("CHECKPOINT_MISMATCH", `${name}: ${what} ${wanted}, ${toklip.config.name} has ${found}`);
  }
  if (entry === "vq") return;
  if (!trunk.causal) {
    throw new ToklipError(
      "CONFIG_INVALID",
      `toklip: ${toklip.config.name} has full attention, its features tell what is to come`,
    );
  }
  checkWeights("the token encoder", shapesOf(tokenFeatureGraph(toklip.config)), [toklip.checkpoint]);
}

function shapesOf({ parameters }: ReturnType<typeof tokenFeatureGraph>): Map<string, readonly number[]> {
  return new Map([...parameters].map(([name, { shape }]) => [name, shape as readonly number[]]));
}

/** Whether a parameter of the training graph is trained: all but the codebook of the ids. */
export function isTrainedInAr(name: string): boolean {
  return !name.startsWith(`${PREFIXES.vq}.`);
}

/** Trains a unified transformer. @throws CHECKPOINT_MISMATCH, CONFIG_INVALID, ARGUMENT_INVALID, OUT_OF_MEMORY */
export async function createArTrainer(
  options: ArTrainingOptions,
): Promise<{ readonly trainer: ArTrainer; readonly fresh: readonly string[] }> {
  const { backend, model, checkpoints, toklip, tokenEncoder, seed, optimizer, ema, weights } = options;
  checkGivenEncoder(options);
  const encoder = tokenEncoder === "trained" ? toklip?.config : undefined;
  const given = toklip ? [toklip.checkpoint] : [];
  const shapes = arTrainedShapes(model, encoder);
  checkBeginnings(model.name, shapes, checkpoints);
  const { parameters, fresh } = await initialParameters(shapes, [...checkpoints, ...(encoder ? given : [])], { seed });
  const frozen = weightsOf(given, model.name);
  const reads = model.entry !== "vq" && encoder === undefined;
  const trainer = await ArTrainer.create({
    ...options,
    weights,
    parameters,
    encoder,
    reader: reads ? createFeatureReader({ backend, encoder: toklip!.config, weights: frozen }) : undefined,
    frozen,
    update: {
      groups: decayGroups(shapes, optimizer.weightDecay),
      betas: optimizer.betas,
      eps: optimizer.eps,
      clipNorm: optimizer.clipNorm,
      ema,
    },
  });
  return { trainer, fresh };
}

/** The shapes of what is trained, by name: found by tracing the smallest part. */
export function arTrainedShapes(model: ArConfig, encoder: ToklipConfig | undefined): Map<string, readonly number[]> {
  const losses = countedLosses({ text_to_image: 1, image_to_text: 1, image_prior: 0 });
  const graph = arTrainingGraph({ model, encoder, partSize: 1, losses }, { trained: () => false, recompute: false });
  return new Map([...shapesOf(graph)].filter(([name]) => isTrainedInAr(name)));
}
