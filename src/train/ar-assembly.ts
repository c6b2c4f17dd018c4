/** The training of a unified transformer, put together from configurations and checkpoints. */
import { type NDArray, ndarray, ToklipError, toF32 } from "../core/index.ts";
import { type Checkpoint, readTensor } from "../files/index.ts";
import {
  type ArConfig,
  gridOf,
  PREFIXES,
  type SemanticCodesConfig,
  semanticCodebookName,
  type ToklipConfig,
  vqOf,
} from "../models/index.ts";
import { countedLosses } from "./ar-feeds.ts";
import { arTrainingGraph } from "./ar-objective.ts";
import {
  type CodeReaderOptions,
  codePictures,
  createFeatureReader,
  type FeatureReader,
  featurePictures,
  tokenFeatureGraph,
} from "./ar-pictures.ts";
import { ArTrainer, type ArTrainerOptions, type PictureReader } from "./ar-trainer.ts";
import type { WeightSource } from "./frozen-encoders.ts";
import { checkBeginnings, checkWeights, initialParameters, weightsOf } from "./initial-weights.ts";
import { decayGroups } from "./parameter-groups.ts";
import type { TowersTrainingOptions } from "./towers-trainer.ts";
import type { TensorMap } from "./trainer.ts";

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
  /** Pictures of the training data to fit the codebooks of semantic codes to. Needed for that entry. */
  readonly examples?: CodeReaderOptions["examples"] | undefined;
  /** Puts a cache before what computes token features. */
  readonly cached?: ((reader: FeatureReader) => FeatureReader) | undefined;
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
  const { entry, featureWidth, imageTokens, codebookSize } = model;
  if (tokenEncoder === "trained" && !entry.startsWith("toklip")) {
    throw new ToklipError("CONFIG_INVALID", `token_encoder: with the entry ${entry} no gradient reaches it`);
  }
  if (toklip === undefined) {
    if (entry === "vq") return;
    throw new ToklipError("CONFIG_INVALID", `toklip: the entry ${entry} reads token features, name their TokLIP`);
  }
  const { trunk } = toklip.config;
  const ids = {
    "ids a picture": [imageTokens, gridOf(trunk).tokens],
    "ids in all": [codebookSize, vqOf(toklip.config).codebookSize],
  };
  const read = { "numbers a token feature": [featureWidth, trunk.width] };
  for (const [what, [wanted, found]] of Object.entries(entry === "vq" ? ids : { ...ids, ...read })) {
    if (wanted === found) continue;
    throw new ToklipError(
      "CHECKPOINT_MISMATCH",
      `toklip ${toklip.checkpoint.name}: has ${found} ${what}, the model reads ${wanted}`,
    );
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
  const { model, checkpoints, toklip, tokenEncoder, seed, optimizer, ema } = options;
  checkGivenEncoder(options);
  const encoder = tokenEncoder === "trained" ? toklip?.config : undefined;
  const given = toklip ? [toklip.checkpoint] : [];
  const shapes = arTrainedShapes(model, encoder);
  checkBeginnings(model.name, shapes, checkpoints);
  const { parameters, fresh } = await initialParameters(shapes, [...checkpoints, ...(encoder ? given : [])], { seed });
  const frozen = weightsOf(given, model.name);
  const reader = encoder === undefined ? pictureReader(options, frozen) : undefined;
  if (model.semanticCodes) reader?.restore(await storedCodebooks(model.semanticCodes, checkpoints));
  const trainer = await ArTrainer.create({
    ...options,
    parameters,
    encoder,
    reader,
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

/** What reads pictures for the entry, with a token encoder that stays as it is. */
function pictureReader(options: ArTrainingOptions, weights: WeightSource): PictureReader | undefined {
  const { backend, model, toklip, seed, examples, cached = (reader) => reader } = options;
  if (model.entry === "vq") return undefined;
  const reader = cached(createFeatureReader({ backend, encoder: toklip!.config, weights }));
  if (model.entry !== "semantic-codes") return featurePictures(reader);
  if (examples === undefined) {
    throw new ToklipError("ARGUMENT_INVALID", "semantic codes need pictures to fit their codebooks to");
  }
  return codePictures(reader, { backend, model, seed, examples });
}

/** The codebooks of semantic codes that a checkpoint to begin from has; none where none does. */
async function storedCodebooks(
  { levels }: SemanticCodesConfig,
  checkpoints: readonly Checkpoint[],
): Promise<TensorMap> {
  const names = Array.from({ length: levels }, (_, level) => semanticCodebookName(level));
  const holder = checkpoints.find(({ tensors }) => names.every((name) => tensors.has(name)));
  const found = new Map<string, NDArray>();
  for (const name of holder ? names : []) {
    const { dtype, shape, data } = await readTensor(holder!.tensors.get(name)!);
    found.set(name, ndarray("f32", shape, toF32(dtype, data).slice()));
  }
  return found;
}

/** The shapes of what is trained, by name: found by tracing the smallest part. */
export function arTrainedShapes(model: ArConfig, encoder: ToklipConfig | undefined): Map<string, readonly number[]> {
  const losses = countedLosses({ text_to_image: 1, image_to_text: 1, image_prior: 0 });
  const graph = arTrainingGraph({ model, encoder, partSize: 1, losses }, { trained: () => false, recompute: false });
  return new Map([...shapesOf(graph)].filter(([name]) => isTrainedInAr(name)));
}
