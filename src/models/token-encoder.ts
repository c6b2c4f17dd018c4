/**
 * TokLIP's token encoder (arXiv 2505.05422, section 3): image ids -> semantic token features and a pooled image feature.
 * The normalised codebook row of each id goes through a mapping MLP, gets a position, and a causal ViT reads it.
 *
 * Parameter names are those of the released checkpoints below `visual.trunk`. There is no patch embedding. The causal
 * mask is part of the model, although neither checkpoint nor configuration of the reference says so. For ablations the
 * configuration may ask for full attention (`causal`) or for a learned embedding of the ids (`mapping`).
 *
 * Dim letters: B batch, N image tokens, M tokens that are left, T new tokens of a step, D width, A heads, d = D/A.
 */
import { ToklipError } from "../core/index.ts";
import { add, gather, reshape, type Tensor } from "../graph/index.ts";
import { activate, CACHE, cachedAttention, causalMask, linear, type Scope } from "../nn/index.ts";
import type { TrunkConfig, VqConfig } from "./config.ts";
import { addPositions, attentionPool, gridOf, keepPlaces, transformer, wholeSequence } from "./vision-transformer.ts";
import { normalizedCodebook } from "./vq.ts";

/** Ids i32 (B, N) -> codebook rows -> mapping MLP, or learned rows of their own -> (B, N, D), without positions. */
export function mapIds(scope: Scope, ids: Tensor, trunk: TrunkConfig, vq: VqConfig): Tensor {
  if (trunk.mapping === "embedding") {
    return gather(scope.parameter("id_embedding.weight", [vq.codebookSize, trunk.width]), ids);
  }
  const codes = gather(normalizedCodebook(scope.at("vq"), vq), ids); // (B, N) -> (B, N, embedDim)
  const hidden = activate(linear(scope.at("vq_table"), codes, 4 * trunk.width), "gelu");
  return linear(scope.at("vq_mapping"), hidden, trunk.width);
}

/**
 * Ids i32 (B, N) -> token features (B, N, D); where the trunk is causal, position t depends on ids <= t only.
 * @param kept i32 (B, M), rising: the tokens that the blocks see of each picture, for training; then N is M, and B a number
 * @throws GRAPH_INVALID for tokens of a batch of unknown size
 */
export function tokenEncoder(scope: Scope, ids: Tensor, trunk: TrunkConfig, vq: VqConfig, kept?: Tensor): Tensor {
  const embedded = addPositions(scope, mapIds(scope, ids, trunk, vq));
  const seen = kept === undefined ? embedded : keepPlaces(embedded, kept);
  const mask = trunk.causal ? causalMask(scope.graph, seen.shape[1] as number) : undefined;
  return transformer(scope, seen, trunk, wholeSequence(mask));
}

/** Token features (B, N, D) -> image features (B, D), not normalised. */
export function poolTokens(scope: Scope, tokens: Tensor, trunk: TrunkConfig): Tensor {
  return attentionPool(scope.at("attn_pool"), tokens, trunk);
}

/** The inputs and outputs of the incremental encoder, by name. */
export const STEP = { ids: "ids", positions: "positions", features: "token_features", ...CACHE } as const;

/**
 * The encoder for the next T ids of B sequences, over keys and values kept from before.
 *
 * Inputs: `ids` i32 (B, T), `positions` i32 (T), `cache_mask` f32 (1, N) to add to the scores over the cache,
 * `new_mask` f32 (T, T) for those over the new tokens, and for each block a cache of keys and one of values,
 * f32 (B, A, N, d). Outputs: `token_features` (B, T, D), and `new_keys`, `new_values`: see `cachedAttention`.
 *
 * @throws CONFIG_INVALID for a trunk with full attention, where each feature depends on all ids
 */
export function tokenEncoderStep(scope: Scope, trunk: TrunkConfig, vq: VqConfig): void {
  if (!trunk.causal) {
    throw new ToklipError(
      "CONFIG_INVALID",
      "trunk.causal is false: with full attention no feature is known before all ids",
    );
  }
  const { graph } = scope;
  const { tokens } = gridOf(trunk);
  const { width, numHeads } = trunk;
  const ids = graph.input(STEP.ids, "i32", ["B", "T"]);
  const positions = graph.input(STEP.positions, "i32", ["T"]);
  const attention = cachedAttention(graph, {
    cache: ["B", numHeads, tokens, width / numHeads],
    cacheMask: [1, tokens],
    newMask: ["T", "T"],
  });
  const positionTable = reshape(scope.parameter("pos_embed", [1, tokens, width]), [tokens, width]);
  const embedded = add(mapIds(scope, ids, trunk, vq), gather(positionTable, positions));
  graph.output(STEP.features, transformer(scope, embedded, trunk, attention.attentionOf));
  attention.output();
}
