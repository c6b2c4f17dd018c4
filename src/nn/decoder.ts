/**
 * The blocks of decoders after Llama (arXiv 2302.13971): RMSNorm before each part (arXiv 1910.07467), rotary positions, heads
 * of keys and values that may be shared (arXiv 2305.13245), SwiGLU (arXiv 2002.05202), no biases. Parameter names are those
 * of LlamaGen (arXiv 2406.06525), with queries, keys and values in one matrix.
 *
 * Dim letters: B batch, L length, D width, A heads, Ak heads of keys and values, d = D/A, V vocabulary.
 */
import { add, boundary, mul, reshape, split, type Tensor, transpose } from "../graph/index.ts";
import { swish } from "./activation.ts";
import { type Attend, mergeHeads, splitHeads } from "./attention.ts";
import { linear } from "./linear.ts";
import { rmsNorm } from "./normalization.ts";
import { type Rotary, rotate } from "./rotary.ts";
import type { Scope } from "./scope.ts";

/** The measures of a decoder. */
export interface DecoderConfig {
  readonly width: number;
  readonly depth: number;
  readonly numHeads: number;
  /** Heads of keys and values; fewer than `numHeads` where they are shared. */
  readonly numKvHeads: number;
  /** Width inside of the SwiGLU. */
  readonly hidden: number;
  readonly normEps: number;
}

const UNBIASED = { bias: false } as const;

/** w2(silu(w1 x) * w3 x). (B, L, D) -> the same. */
export function swiGlu(scope: Scope, x: Tensor, hidden: number): Tensor {
  const gate = swish(linear(scope.at("w1"), x, hidden, UNBIASED));
  const inner = mul(gate, linear(scope.at("w3"), x, hidden, UNBIASED));
  return linear(scope.at("w2"), inner, x.shape.at(-1) as number, UNBIASED);
}

/** x += attention(norm(x)); x += swiglu(norm(x)). (B, L, D) -> the same. */
export function decoderBlock(
  scope: Scope,
  x: Tensor,
  rotary: Rotary,
  attention: Attend,
  { width, numHeads, numKvHeads, hidden, normEps }: DecoderConfig,
): Tensor {
  const headWidth = width / numHeads;
  const turned = numHeads + numKvHeads; // queries and keys are turned together
  const normal = rmsNorm(scope.at("attention_norm"), x, normEps);
  const qkv = linear(scope.at("attention.wqkv"), normal, (turned + numKvHeads) * headWidth, UNBIASED);
  const [qk, values] = split(qkv, -1, [turned * headWidth, numKvHeads * headWidth]);
  const heads = rotate(reshape(qk!, [...x.shape.slice(0, 2), turned, headWidth]), rotary);
  const [q, k] = split(heads, 2, [numHeads, numKvHeads]).map((part) => transpose(part, [0, 2, 1, 3])); // -> (B, A, L, d)
  const mixed = mergeHeads(attention(q!, k!, splitHeads(values!, numKvHeads)));
  const middle = add(x, linear(scope.at("attention.wo"), mixed, width, UNBIASED));
  return add(middle, swiGlu(scope.at("feed_forward"), rmsNorm(scope.at("ffn_norm"), middle, normEps), hidden));
}

/** All blocks: embedded (B, L, D) -> (B, L, D). */
export function decoderBlocks(
  scope: Scope,
  embedded: Tensor,
  rotary: Rotary,
  attentionOf: (block: number) => Attend,
  config: DecoderConfig,
): Tensor {
  let x = boundary(embedded);
  for (let i = 0; i < config.depth; i++) {
    x = boundary(decoderBlock(scope.at(`layers.${i}`), x, rotary, attentionOf(i), config));
  }
  return x;
}

/** The final norm and the output layer: (B, L, D) -> logits (B, L, V). */
export function decoderHead(scope: Scope, x: Tensor, vocabSize: number, { normEps }: DecoderConfig): Tensor {
  return linear(scope.at("output"), rmsNorm(scope.at("norm"), x, normEps), vocabSize, UNBIASED);
}
