/**
 * The cached step of the unified transformer: the next positions over keys and values kept from before, as a sequence or as
 * a tree. What each position sees is said by masks alone, so that one step may hold the next ids of several sequences, those
 * of many texts after one picture, or those of the beams of a search, and the places of the cache may belong to any of them.
 *
 * Dim letters: B rows, S new positions, P places of the cache, W positions whose result is wanted, F width of token
 * features, V vocabulary.
 */
import { ndarray } from "../core/index.ts";
import { equal, gather, logSoftmax, reduceSum, reshape, type Tensor, where } from "../graph/index.ts";
import { CACHE, cachedAttention, decoderBlocks, decoderHead, type Scope } from "../nn/index.ts";
import { arEmbedding, arRotary } from "./ar.ts";
import type { ArConfig } from "./ar-config.ts";
import { arVocabulary } from "./ar-vocabulary.ts";

/** The inputs and outputs of a cached step, by name. */
export const AR_STEP = {
  ids: "ids",
  positions: "positions",
  features: "features",
  wanted: "wanted",
  targets: "targets",
  logits: "logits",
  scores: "scores",
  ...CACHE,
} as const;

/** All blocks over the new positions, with the inputs that they need; what is new of the cache becomes outputs. (B, S, D) */
function stepBlocks(scope: Scope, config: ArConfig): Tensor {
  const { graph } = scope;
  const { width, numHeads, numKvHeads, entry, featureWidth } = config;
  const ids = graph.input(AR_STEP.ids, "i32", ["B", "S"]);
  const positions = graph.input(AR_STEP.positions, "i32", ["B", "S"]);
  const image = entry === "vq" ? {} : { image: graph.input(AR_STEP.features, "f32", ["B", "S", featureWidth]) };
  const attention = cachedAttention(graph, {
    cache: ["B", numKvHeads, "P", width / numHeads],
    cacheMask: ["B", 1, "S", "P"],
    newMask: ["B", 1, "S", "S"],
  });
  const embedded = arEmbedding(scope, { ids, ...image }, config);
  const out = decoderBlocks(scope, embedded, arRotary(positions, config), attention.attentionOf, config);
  attention.output();
  return out;
}

/**
 * The next S positions of B rows.
 *
 * Inputs: `ids` i32 (B, S); `positions` i32 (B, S), below the context's length; `features` f32 (B, S, F), for entries that
 * read them, of which what is at no id of a picture is not read; `cache_mask` f32 (B, 1, S, P) to add to the scores over the
 * cache; `new_mask` f32 (B, 1, S, S) for those over the new positions; `wanted` i32 (W), indices into S; and for each block
 * a cache of keys and one of values, f32 (B, Ak, P, d). Outputs: `logits` (B, W, V) after the wanted positions, and
 * `new_keys`, `new_values`: see `cachedAttention`.
 */
export function arStep(scope: Scope, config: ArConfig): void {
  const { graph } = scope;
  const out = stepBlocks(scope, config);
  const wanted = gather(out, graph.input(AR_STEP.wanted, "i32", ["W"]), 1);
  graph.output(AR_STEP.logits, decoderHead(scope, wanted, arVocabulary(config).size, config));
}

/**
 * As `arStep` without `wanted`, and with `targets` i32 (B, S): the output `scores` f32 (B, S) is the logarithm of the
 * probability of each target after its position, so that no logits leave the engine.
 */
export function arScoreStep(scope: Scope, config: ArConfig): void {
  const { graph } = scope;
  const { size } = arVocabulary(config);
  const out = stepBlocks(scope, config);
  const targets = graph.input(AR_STEP.targets, "i32", ["B", "S"]);
  const logProbabilities = logSoftmax(decoderHead(scope, out, size, config), -1);
  const all = graph.constant(
    ndarray(
      "i32",
      [size],
      Int32Array.from({ length: size }, (_, id) => id),
    ),
  );
  const isTarget = equal(reshape(targets, ["B", "S", 1]), all); // (B, S, V)
  graph.output(AR_STEP.scores, reshape(reduceSum(where(isTarget, logProbabilities, 0), [-1]), ["B", "S"]));
}
