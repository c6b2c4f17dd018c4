/**
 * The teacher's training objective: a pixel ViT and a text transformer from scratch, against the softmax loss of CLIP
 * (arXiv 2103.00020) or the sigmoid loss of SigLIP (arXiv 2303.15343), whose bias and scale are trained too.
 *
 * Dim letters: B batch, H W pixels, T text length, D width, M patches that are left.
 */
import { ToklipError } from "../core/index.ts";
import { l2Normalize } from "../graph/index.ts";
import {
  SIGMOID_LOGIT_BIAS_INIT,
  SIGMOID_LOGIT_SCALE_INIT,
  sigmoidContrastiveLoss,
  softmaxContrastiveLoss,
} from "../losses/index.ts";
import { gridOf, PREFIXES, pixelEncoder, type ToklipConfig, textEncoder } from "../models/index.ts";
import { Scope } from "../nn/index.ts";
import type { ContrastiveObjective } from "./contrastive-objective.ts";
import { keptPatches, type PatchDropout, patchDraw } from "./patch-dropout.ts";

/** The contrastive losses by name. */
export type ContrastiveLossName = "softmax" | "sigmoid";

/** Where the scalars of a loss begin. CLIP's scale begins at ln(1/0.07). */
export const LOSS_SCALARS: Readonly<Record<ContrastiveLossName, Readonly<Record<string, number>>>> = {
  softmax: { logit_scale: Math.log(1 / 0.07) },
  sigmoid: { logit_scale: SIGMOID_LOGIT_SCALE_INIT, logit_bias: SIGMOID_LOGIT_BIAS_INIT },
};

/**
 * The objective of a pixel teacher. Nothing in it is frozen.
 * @param dropout for training; absent or of share 0, all patches are seen
 * @throws CONFIG_INVALID for a model that reads image ids
 */
export function teacherObjective(
  { name, trunk, text, embedDim, vq }: ToklipConfig,
  loss: ContrastiveLossName,
  dropout?: PatchDropout,
): ContrastiveObjective {
  if (vq !== undefined) {
    throw new ToklipError(
      "CONFIG_INVALID",
      `${name}: it reads image ids; a teacher is a pixel model, without vision_cfg.vq`,
    );
  }
  const { tokens } = gridOf(trunk);
  const draw = patchDraw(tokens, dropout);
  return {
    towerInputs: {
      pixels: { dtype: "f32", shape: [3, trunk.imageSize, trunk.imageSize] },
      text_ids: { dtype: "i32", shape: [text.contextLength] },
      ...(draw && { patches: { dtype: "i32", shape: [draw.count] } }),
    },
    innerInputs: {},
    lossInputs: { concepts: { dtype: "i32", shape: [] } },
    towers: (graph, { pixels, text_ids, patches }) => ({
      features: {
        image: pixelEncoder(new Scope(graph).at(PREFIXES.trunk), pixels!, trunk, patches).imageFeatures,
        text: textEncoder(new Scope(graph).at(PREFIXES.text), text_ids!, text, embedDim),
      },
    }),
    innerLoss: () => ({}),
    batchLoss: (graph, { image, text: texts }, { concepts }) => {
      const scope = new Scope(graph);
      const pair = {
        imageFeatures: l2Normalize(image!),
        textFeatures: l2Normalize(texts!),
        logitScale: scope.parameter("logit_scale", []),
        concepts: concepts!,
      };
      return {
        contrastive:
          loss === "softmax"
            ? softmaxContrastiveLoss(pair)
            : sigmoidContrastiveLoss(pair, scope.parameter("logit_bias", [])),
      };
    },
    prepare: async ({ pixels, textIds, concepts, keys }, step = 0) => ({
      pixels,
      text_ids: textIds,
      concepts,
      ...(draw && { patches: keptPatches(keys, { ...draw, step }) }),
    }),
    dispose: async () => {},
  };
}
