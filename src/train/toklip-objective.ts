/**
 * TokLIP's training objective (arXiv 2505.05422, section 3.2): the token encoder's image features are drawn to those of
 * a pixel teacher and to the texts' features, while the VQ and the text tower stay as they are.
 *
 * Follows the reference's `DistillSimpleClipLoss`: the softmax contrastive loss plus 1000 x the mean squared error of
 * normalised image features. Differs in that token features can be distilled too, and that samples of one concept are
 * positives of one another.
 *
 * Dim letters: B batch, N image tokens, T text length, D width.
 */
import { type NDArray, ToklipError } from "../core/index.ts";
import { type Graph, l2Normalize, mul, reshape, type Tensor } from "../graph/index.ts";
import { imageDistillationLoss, softmaxContrastiveLoss, tokenDistillationLoss } from "../losses/index.ts";
import { gridOf, PREFIXES, poolTokens, type ToklipConfig, tokenEncoder, vqOf } from "../models/index.ts";
import { Scope } from "../nn/index.ts";
import type { Feeds } from "../runtime/index.ts";
import type { ContrastiveObjective, RowInputs, Tensors, TowerResult } from "./contrastive-objective.ts";
import type { ImageTextBatch } from "./image-text-batch.ts";
import { keptPatches, type PatchDropout, patchDraw } from "./patch-dropout.ts";

/** The weights of the terms; a term of weight 0 is not computed. */
export interface ToklipLossWeights {
  readonly contrastive: number;
  readonly distillation: number;
  readonly tokenDistillation: number;
}

/** The reference's weights. */
export const TOKLIP_LOSS_WEIGHTS: ToklipLossWeights = { contrastive: 1, distillation: 1000, tokenDistillation: 0 };

/** The parts of TokLIP that stay as they are, applied to pictures and texts. */
export interface FrozenEncoders {
  /** pixels (B, 3, H, W) -> what is wanted of them. */
  pictures(batch: ImageTextBatch, wanted: WantedFeatures): Promise<PictureFeatures>;
  /** i32 (B, T), padded -> f32 (B, D), not normalised. */
  texts(textIds: NDArray<"i32">): Promise<NDArray<"f32">>;
  /** Frees them. */
  dispose(): Promise<void>;
}

/** Which results of frozen encoders some loss needs. */
export interface WantedFeatures {
  readonly text: boolean;
  readonly teacher: boolean;
  readonly teacherTokens: boolean;
}

/** What the frozen parts make of pictures. */
export interface PictureFeatures {
  /** i32 (B, h, w). */
  readonly ids: NDArray<"i32">;
  /** f32 (B, D), not normalised. */
  readonly teacherFeatures?: NDArray<"f32">;
  /** f32 (B, N, D). */
  readonly teacherTokens?: NDArray<"f32">;
}

/** What a loss needs. */
export function wantedFeatures(weights: ToklipLossWeights): WantedFeatures {
  return {
    text: weights.contrastive > 0,
    teacher: weights.distillation > 0,
    teacherTokens: weights.tokenDistillation > 0,
  };
}

/**
 * The objective of a TokLIP, with its frozen parts.
 * @param dropout for training; absent or of share 0, all tokens are seen
 * @throws CONFIG_INVALID when all weights are 0, or token features are distilled of which some are left out
 */
export function toklipObjective(
  config: ToklipConfig,
  encoders: FrozenEncoders,
  weights: ToklipLossWeights = TOKLIP_LOSS_WEIGHTS,
  dropout?: PatchDropout,
): ContrastiveObjective {
  const { trunk, embedDim } = config;
  const { side, tokens } = gridOf(trunk);
  const wanted = wantedFeatures(weights);
  if (!Object.values(wanted).some(Boolean)) {
    throw new ToklipError("CONFIG_INVALID", "loss: every weight is 0, so there is nothing to train for");
  }
  const draw = patchDraw(tokens, dropout);
  if (draw && wanted.teacherTokens) {
    throw new ToklipError("CONFIG_INVALID", "patch_dropout: token features are distilled from pictures that are whole");
  }
  const lossInputs: RowInputs = {
    ...(wanted.text && {
      text_features: { dtype: "f32", shape: [embedDim] },
      concepts: { dtype: "i32", shape: [] },
    }),
    ...(wanted.teacher && { teacher_features: { dtype: "f32", shape: [embedDim] } }),
  };
  return {
    towerInputs: {
      ids: { dtype: "i32", shape: [side, side] },
      ...(draw && { patches: { dtype: "i32", shape: [draw.count] } }),
    },
    innerInputs: wanted.teacherTokens ? { teacher_tokens: { dtype: "f32", shape: [tokens, trunk.width] } } : {},
    lossInputs,
    towers: (graph, { ids, patches }) => {
      const scope = new Scope(graph).at(PREFIXES.trunk);
      const rows = reshape(ids!, [ids!.shape[0]!, tokens]); // (B, h, w) -> (B, N)
      const tokenFeatures = tokenEncoder(scope, rows, trunk, vqOf(config), patches);
      return { features: { image: poolTokens(scope, tokenFeatures, trunk) }, inner: { tokens: tokenFeatures } };
    },
    innerLoss: (_, { inner }: TowerResult, { teacher_tokens }) =>
      teacher_tokens === undefined
        ? {}
        : { token_distill: tokenDistillationLoss(inner!.tokens!, teacher_tokens, weights.tokenDistillation) },
    batchLoss: (graph, { image }, inputs) => batchLoss(graph, l2Normalize(image!), inputs, weights),
    prepare: async (batch, step = 0) => {
      const pictures = await encoders.pictures(batch, wanted);
      return {
        ...feedsOfFrozen(pictures, wanted.text ? await encoders.texts(batch.textIds) : undefined, batch),
        ...(draw && { patches: keptPatches(batch.keys, { ...draw, step }) }),
      };
    },
    dispose: () => encoders.dispose(),
  };
}

function batchLoss(graph: Graph, imageFeatures: Tensor, inputs: Tensors, weights: ToklipLossWeights): Tensors {
  const { text_features: text, teacher_features: teacher, concepts } = inputs;
  const contrastive = text && {
    contrastive: mul(
      softmaxContrastiveLoss({
        imageFeatures,
        textFeatures: l2Normalize(text),
        logitScale: new Scope(graph).parameter("logit_scale", []),
        concepts: concepts!,
      }),
      weights.contrastive,
    ),
  };
  const distill = teacher && {
    distill: imageDistillationLoss(imageFeatures, l2Normalize(teacher), weights.distillation),
  };
  return { ...contrastive, ...distill };
}

function feedsOfFrozen(
  { ids, teacherFeatures, teacherTokens }: PictureFeatures,
  textFeatures: NDArray<"f32"> | undefined,
  { concepts }: ImageTextBatch,
): Feeds {
  return {
    ids,
    concepts,
    ...(textFeatures && { text_features: textFeatures }),
    ...(teacherFeatures && { teacher_features: teacherFeatures }),
    ...(teacherTokens && { teacher_tokens: teacherTokens }),
  };
}
