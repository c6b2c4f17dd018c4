/**
 * What the token encoder and the pixel encoder share: pre-norm ViT blocks (arXiv 2010.11929) and attention pooling
 * (MAP head, arXiv 2106.04560), in timm's parameter names. GELU, LayerNorm eps 1e-6, no dropout, no LayerScale.
 *
 * Dim letters: B batch, N tokens, M tokens that are left, D width, A heads.
 */
import { ndarray, ToklipError } from "../core/index.ts";
import { add, boundary, gather, reshape, slice, type Tensor } from "../graph/index.ts";
import {
  type Attend,
  attend,
  layerNorm,
  linear,
  mergeHeads,
  mlp,
  type Scope,
  splitHeads,
  splitQkv,
} from "../nn/index.ts";
import type { TrunkConfig } from "./config.ts";

/** The epsilon of every LayerNorm of the image towers. */
export const NORM_EPS = 1e-6;

/** The number of tokens of a square picture, and the side of their grid. */
export function gridOf({ imageSize, patchSize }: TrunkConfig): { readonly side: number; readonly tokens: number } {
  const side = imageSize / patchSize;
  return { side, tokens: side * side };
}

function blockMlp(scope: Scope, x: Tensor, { mlpRatio, act }: TrunkConfig): Tensor {
  return mlp(scope, x, { layers: ["fc1", "fc2"], ratio: mlpRatio, act });
}

/** x += attention(norm(x)); x += mlp(norm(x)). (B, N, D) -> the same. */
export function transformerBlock(scope: Scope, x: Tensor, config: TrunkConfig, attention: Attend): Tensor {
  const { width, numHeads } = config;
  const qkv = linear(scope.at("attn.qkv"), layerNorm(scope.at("norm1"), x, NORM_EPS), 3 * width);
  const mixed = linear(scope.at("attn.proj"), mergeHeads(attention(...splitQkv(qkv, numHeads))), width);
  const middle = add(x, mixed);
  return add(middle, blockMlp(scope.at("mlp"), layerNorm(scope.at("norm2"), middle, NORM_EPS), config));
}

/** All blocks and the final norm: embedded (B, N, D) -> token features (B, N, D). */
export function transformer(
  scope: Scope,
  embedded: Tensor,
  config: TrunkConfig,
  attentionOf: (block: number) => Attend,
): Tensor {
  let x = boundary(embedded);
  for (let i = 0; i < config.depth; i++) {
    x = boundary(transformerBlock(scope.at(`blocks.${i}`), x, config, attentionOf(i)));
  }
  return layerNorm(scope.at("norm"), x, NORM_EPS);
}

/** Full attention, or causal when a mask (N, N) is given. */
export function wholeSequence(mask?: Tensor): () => Attend {
  return () => (q, k, v) => attend(q, k, v, mask);
}

/** One learned query over all tokens, not masked: token features (B, N, D) -> image features (B, D). */
export function attentionPool(scope: Scope, tokens: Tensor, config: TrunkConfig): Tensor {
  const { width, numHeads } = config;
  const latent = scope.parameter("latent", [1, 1, width]);
  const q = splitHeads(linear(scope.at("q"), latent, width), numHeads); // (1, 1, D) -> (1, A, 1, D/A)
  const kv = linear(scope.at("kv"), tokens, 2 * width);
  const k = splitHeads(slice(kv, -1, 0, width), numHeads);
  const v = splitHeads(slice(kv, -1, width, 2 * width), numHeads);
  const pooled = linear(scope.at("proj"), mergeHeads(attend(q, k, v)), width); // (B, 1, D)
  const out = add(pooled, blockMlp(scope.at("mlp"), layerNorm(scope.at("norm"), pooled, NORM_EPS), config));
  return reshape(out, [tokens.shape[0]!, width]); // (B, 1, D) -> (B, D)
}

/** x (B, N, D) plus the learned position embedding (1, N, D). */
export function addPositions(scope: Scope, x: Tensor): Tensor {
  return add(x, scope.parameter("pos_embed", [1, x.shape[1] as number, x.shape[2] as number]));
}

/**
 * The places that training leaves in each sequence: (B, N, D) at i32 (B, M) -> (B, M, D), by one gather over all rows.
 * @throws GRAPH_INVALID for a batch of unknown size
 */
export function keepPlaces(embedded: Tensor, kept: Tensor): Tensor {
  const [batch, tokens, width] = embedded.shape as readonly [number | string, number, number];
  if (typeof batch === "string") {
    throw new ToklipError("GRAPH_INVALID", "patches are dropped from batches of a known size only");
  }
  const firsts = ndarray(
    "i32",
    [batch, 1],
    Int32Array.from({ length: batch }, (_, i) => i * tokens),
  );
  return gather(reshape(embedded, [batch * tokens, width]), add(kept, embedded.graph.constant(firsts)));
}
