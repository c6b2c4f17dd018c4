/** Tiny trainings of the unified transformer: a TokLIP of 2 x 2 ids with random weights, and trainers over made-up samples. */
import { bytesOf, memorySource, ndarray, sizeOf } from "../../src/core/index.ts";
import type { Checkpoint } from "../../src/files/index.ts";
import { type ArConfig, initialPieces, parameterShapes, parseConfig } from "../../src/models/index.ts";
import type { Backend } from "../../src/runtime/index.ts";
import { type ArTrainingOptions, createArTrainer } from "../../src/train/ar-assembly.ts";
import { type ArBatchOptions, arBatches } from "../../src/train/ar-batches.ts";
import type { ArTrainer } from "../../src/train/ar-trainer.ts";
import { tinyAr } from "../ar-models.ts";
import { datasetOf, letters, madeUpSample, take } from "./ar-samples.ts";

/** Reads ids of a codebook of 10 on a grid of 2 x 2, into features of width 8. */
export const TINY_TOKLIP_JSON = {
  embed_dim: 8,
  vision_cfg: {
    image_size: 16,
    trunk: { width: 8, depth: 1, heads: 2, mlp_ratio: 2, patch_size: 8, causal: true },
    vq: { ch: 32, ch_mult: [1], num_res_blocks: 1, z_channels: 32, codebook_size: 10, codebook_embed_dim: 8, stem: 8 },
  },
  text_cfg: {
    context_length: 8,
    vocab_size: 32,
    width: 8,
    heads: 2,
    layers: 1,
    no_causal_mask: true,
    pool_type: "last",
  },
};
export const TINY_TOKLIP = parseConfig(TINY_TOKLIP_JSON);

/** Its weights, in memory. */
export function tinyToklip(): { readonly config: typeof TINY_TOKLIP; readonly checkpoint: Checkpoint } {
  const tensors = [...parameterShapes(TINY_TOKLIP)].map(([name, shape]) => {
    const value = ndarray("f32", shape, new Float32Array(sizeOf(shape)));
    let at = 0;
    for (const piece of initialPieces(name, shape, 3)) {
      value.data.set(piece, at);
      at += piece.length;
    }
    return [name, { name, dtype: "f32", shape, offset: 0, source: memorySource(bytesOf(value.data), name) }] as const;
  });
  const metadata = {};
  const checkpoint = {
    name: "tiny TokLIP",
    format: "safetensors",
    tensors: new Map(tensors),
    metadata,
    close: async () => {},
  };
  return { config: TINY_TOKLIP, checkpoint: checkpoint as Checkpoint };
}

/** A transformer over its ids. */
export function arOver(entry: "vq" | "toklip" | "toklip+vq" | "semantic-codes", change: object = {}): ArConfig {
  return tinyAr(entry, { ...(entry === "vq" ? {} : { feature_width: 8 }), condition_dropout: 0, ...change });
}

/** Four samples. */
export const FOUR = (model: ArConfig) => Array.from({ length: 4 }, (_, i) => madeUpSample(i, model, 1));

/** How batches of a model are made. */
export function batchOptions(model: ArConfig, change: Partial<ArBatchOptions> = {}): ArBatchOptions {
  return {
    model,
    tokenizer: letters,
    seed: 1,
    shares: { text_to_image: 1, image_to_text: 1 },
    batchSize: 4,
    ...change,
  };
}

/** The first batches of the four samples. */
export function batchesOf(model: ArConfig, count: number, change: Partial<ArBatchOptions> = {}) {
  return take(arBatches(datasetOf(FOUR(model)), batchOptions(model, change)), count);
}

/** A trainer of a model. */
export async function arTrainer(
  backend: Backend,
  model: ArConfig,
  change: Partial<ArTrainingOptions> = {},
): Promise<ArTrainer> {
  const { trainer } = await createArTrainer({
    backend,
    model,
    weights: { text_to_image: 1, image_to_text: 1, image_prior: 0 },
    checkpoints: [],
    toklip: model.entry === "vq" ? undefined : tinyToklip(),
    tokenEncoder: "frozen",
    seed: 1,
    optimizer: { betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0.05, clipNorm: 1 },
    schedule: () => 1e-2,
    batchSize: 4,
    ...change,
  });
  return trainer;
}
