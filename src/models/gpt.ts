/**
 * LlamaGen's GPT (arXiv 2406.06525): a decoder-only transformer that continues a condition, a class or the features of a
 * caption, with the ids of a picture. The blocks are those of `nn/decoder.ts`, with rotary positions on the grid.
 *
 * Parameter names are those of the released checkpoints. Follows LlamaGen's `autoregressive/models/gpt.py`: condition
 * positions have neither sine nor cosine, so that their queries and keys are 0 and only their values are read. Differs
 * in masking by additions to scores, and in keeping the cache outside of the graph. Dropout is not here.
 *
 * Dim letters: B batch, T condition positions, N ids, L = T + N - 1, D width, A heads, Ak heads of keys and values,
 * d = D/A, V vocabulary, S new positions of a step, P = T + side^2.
 */
import { type NDArray, ndarray } from "../core/index.ts";
import {
  concat,
  type Graph,
  gather,
  gelu,
  less,
  maximum,
  pad,
  reshape,
  slice,
  type Tensor,
  where,
} from "../graph/index.ts";
import {
  type Attend,
  attend,
  CACHE,
  cachedAttention,
  causalMask,
  decoderBlocks,
  decoderHead,
  gridRotaryTable,
  linear,
  type Rotary,
  type Scope,
} from "../nn/index.ts";
import type { GptConfig } from "./gpt-config.ts";

const UNBIASED = { bias: false } as const;

/** The positions of a whole sequence, condition included. */
export function gptLength({ side, condition }: GptConfig): number {
  return condition.tokens + side * side;
}

/** The table of all positions as constants, both (P, d). */
export function rotaryConstants(graph: Graph, { width, numHeads, side, rotaryBase, condition }: GptConfig): Rotary {
  const headWidth = width / numHeads;
  const table = gridRotaryTable({ side, headWidth, base: rotaryBase, before: condition.tokens });
  return { cos: graph.constant(table.cos), sin: graph.constant(table.sin) };
}

/**
 * The embedded condition, (B, T, D): of `condition` i32 (B), classes, or f32 (B, T, width), features of captions; where
 * `drop`, bool (B), is true, that of no condition.
 */
export function gptCondition(scope: Scope, condition: Tensor, drop: Tensor, config: GptConfig): Tensor {
  const at = scope.at("cls_embedding");
  const { width, condition: kind } = config;
  const [batch] = condition.shape;
  if (kind.kind === "class") {
    const table = at.parameter("embedding_table.weight", [kind.classes + (kind.hasNull ? 1 : 0), width]);
    const labels = kind.hasNull ? where(drop, kind.classes, condition) : condition;
    return reshape(gather(table, labels), [batch!, 1, width]);
  }
  const none = at.parameter("uncond_embedding", [kind.tokens, kind.width]);
  const features = where(reshape(drop, [batch!, 1, 1]), none, condition);
  const hidden = gelu(linear(at.at("cap_proj.fc1"), features, width, UNBIASED), "tanh");
  return linear(at.at("cap_proj.fc2"), hidden, width, UNBIASED);
}

/** The embeddings of ids i32 (B, N), (B, N, D). */
export function gptEmbedding(scope: Scope, ids: Tensor, { vocabSize, width }: GptConfig): Tensor {
  return gather(scope.parameter("tok_embeddings.weight", [vocabSize, width]), ids);
}

/**
 * What positions of captions' padding change in the causal mask, (B, 1, L, L): no one sees them but they themselves.
 * @param valid f32 (B, T), 1 where a position holds a token of the caption
 */
export function captionMask(valid: Tensor, length: number): Tensor {
  const { graph, shape } = valid;
  const [batch, tokens] = shape as [number | string, number];
  const identity = ndarray("f32", [length, length]);
  for (let i = 0; i < length; i++) identity.data[i * length + i] = 1;
  const columns = reshape(pad(valid, [0, 0], [0, length - tokens], 1), [batch, 1, 1, length]);
  const visible = less(0, maximum(columns, graph.constant(identity)));
  return where(visible, causalMask(graph, length), Number.NEGATIVE_INFINITY);
}

/** What a whole sequence is computed from. */
export interface GptSequence {
  /** i32 (B, N): the last is a target only. */
  readonly ids: Tensor;
  /** i32 (B) or f32 (B, T, width): see `gptCondition`. */
  readonly condition: Tensor;
  /** bool (B). */
  readonly drop: Tensor;
  /** f32 (B, T), for captions: see `captionMask`. Absent: padding is seen. */
  readonly valid?: Tensor;
}

/** Logits f32 (B, N, V) of each id from the condition and the ids before it: the form of training. N <= side^2. */
export function gptLogits(scope: Scope, { ids, condition, drop, valid }: GptSequence, config: GptConfig): Tensor {
  const { graph } = scope;
  const { tokens } = config.condition;
  const count = ids.shape[1] as number;
  const length = tokens + count - 1;
  const before = gptCondition(scope, condition, drop, config);
  const read = gptEmbedding(scope, slice(ids, 1, 0, count - 1), config);
  const table = rotaryConstants(graph, config);
  const rotary = { cos: slice(table.cos, 0, 0, length), sin: slice(table.sin, 0, 0, length) };
  const mask = valid ? captionMask(valid, length) : causalMask(graph, length);
  const attention: Attend = (q, k, v) => attend(q, k, v, mask);
  const x = decoderBlocks(scope, count > 1 ? concat([before, read], 1) : before, rotary, () => attention, config);
  return decoderHead(scope, slice(x, 1, tokens - 1, length), config.vocabSize, config);
}

/** The inputs and outputs of a cached step, by name. */
export const GPT_STEP = {
  ids: "ids",
  embedded: "embedded",
  positions: "positions",
  logits: "logits",
  ...CACHE,
} as const;

/**
 * The next S positions of B sequences, over keys and values kept from before.
 *
 * Inputs: `ids` i32 (B, S), where -1 stands for a position that is given as a row of `embedded` f32 (B, S, D) instead (the
 * condition); `positions` i32 (S); `cache_mask` f32 (B, 1, 1, P) to add to the scores over the cache; `new_mask` f32
 * (B, 1, S, S) for those over the new positions; and for each block a cache of keys and one of values, f32 (B, Ak, P, d).
 * Outputs: `logits` (B, 1, V) after the last position, and `new_keys`, `new_values`: see `cachedAttention`.
 */
export function gptStep(scope: Scope, config: GptConfig): void {
  const { graph } = scope;
  const { width, numHeads, numKvHeads } = config;
  const length = gptLength(config);
  const ids = graph.input(GPT_STEP.ids, "i32", ["B", "S"]);
  const embedded = graph.input(GPT_STEP.embedded, "f32", ["B", "S", width]);
  const positions = graph.input(GPT_STEP.positions, "i32", ["S"]);
  const attention = cachedAttention(graph, {
    cache: ["B", numKvHeads, length, width / numHeads],
    cacheMask: ["B", 1, 1, length],
    newMask: ["B", 1, "S", "S"],
  });
  const table = rotaryConstants(graph, config);
  const rotary = { cos: gather(table.cos, positions), sin: gather(table.sin, positions) };
  const rows = gptEmbedding(scope, maximum(ids, 0), config);
  const x = where(reshape(less(ids, 0), ["B", "S", 1]), embedded, rows);
  const out = decoderBlocks(scope, x, rotary, attention.attentionOf, config);
  const last: NDArray = ndarray("i32", [1], Int32Array.of(-1));
  graph.output(GPT_STEP.logits, decoderHead(scope, gather(out, graph.constant(last), 1), config.vocabSize, config));
  attention.output();
}
