/**
 * The text tower of SigLIP2 as open_clip builds it: text ids -> one feature in the image tower's space.
 * Pre-norm transformer with open_clip's parameter names below `text`; pooled at the literal last position, so that texts
 * must be padded to the full context length; pad tokens are attended where there is no causal mask, as in training.
 *
 * Dim letters: B batch, T text length, D width, V vocabulary.
 */
import { add, boundary, gather, matmul, reshape, slice, type Tensor } from "../graph/index.ts";
import {
  applyLinear,
  attend,
  causalMask,
  layerNorm,
  linear,
  mergeHeads,
  mlp,
  type Scope,
  splitQkv,
} from "../nn/index.ts";
import type { TextConfig } from "./config.ts";

function attention(scope: Scope, x: Tensor, { width, numHeads }: TextConfig, mask: Tensor | undefined): Tensor {
  const weight = scope.parameter("in_proj_weight", [3 * width, width]);
  const qkv = applyLinear(x, weight, scope.parameter("in_proj_bias", [3 * width]));
  return linear(scope.at("out_proj"), mergeHeads(attend(...splitQkv(qkv, numHeads), mask)), width);
}

function residualBlock(scope: Scope, x: Tensor, config: TextConfig, mask: Tensor | undefined): Tensor {
  const { normEps, mlpRatio, act } = config;
  const middle = add(x, attention(scope.at("attn"), layerNorm(scope.at("ln_1"), x, normEps), config, mask));
  const normal = layerNorm(scope.at("ln_2"), middle, normEps);
  return add(middle, mlp(scope.at("mlp"), normal, { layers: ["c_fc", "c_proj"], ratio: mlpRatio, act }));
}

/** Text ids i32 (B, T), padded to the context length -> text features (B, embedDim), not normalised. */
export function textEncoder(scope: Scope, ids: Tensor, config: TextConfig, embedDim: number): Tensor {
  const { width, vocabSize, contextLength, depth, normEps, projBias } = config;
  const words = gather(scope.at("token_embedding").parameter("weight", [vocabSize, width]), ids); // (B, T) -> (B, T, D)
  let x = boundary(add(words, scope.parameter("positional_embedding", [contextLength, width])));
  const mask = config.causal ? causalMask(scope.graph, contextLength) : undefined;
  for (let i = 0; i < depth; i++) {
    x = boundary(residualBlock(scope.at(`transformer.resblocks.${i}`), x, config, mask));
  }
  const normal = layerNorm(scope.at("ln_final"), x, normEps);
  const last = reshape(slice(normal, 1, contextLength - 1, contextLength), [ids.shape[0]!, width]); // (B, 1, D) -> (B, D)
  // open_clip keeps a Linear where the projection has a bias, and a bare (in, out) matrix where it has none.
  if (projBias) return linear(scope.at("text_projection"), last, embedDim);
  return matmul(last, scope.parameter("text_projection", [width, embedDim]));
}
