/**
 * The pixel SigLIP2 image tower (arXiv 2502.14786): patches -> full-attention ViT -> attention pooling. TokLIP's teacher.
 * Parameter names are timm's, below `visual.trunk`.
 *
 * Dim letters: B batch, N patches, D width, P patch side.
 */
import { reshape, type Tensor, transpose } from "../graph/index.ts";
import { conv2d, type Scope } from "../nn/index.ts";
import type { TrunkConfig } from "./config.ts";
import { addPositions, attentionPool, gridOf, transformer, wholeSequence } from "./vision-transformer.ts";

/** Pixels (B, 3, H, W) in [-1, 1] -> patch features (B, N, D) and image features (B, D), not normalised. */
export function pixelEncoder(
  scope: Scope,
  pixels: Tensor,
  trunk: TrunkConfig,
): { readonly tokenFeatures: Tensor; readonly imageFeatures: Tensor } {
  const { width, patchSize } = trunk;
  const patches = conv2d(scope.at("patch_embed.proj"), pixels, width, patchSize, { stride: [patchSize, patchSize] });
  const rows = reshape(patches, [pixels.shape[0]!, width, gridOf(trunk).tokens]); // (B, D, h, w) -> (B, D, N)
  const embedded = addPositions(scope, transpose(rows, [0, 2, 1])); // (B, D, N) -> (B, N, D)
  const tokenFeatures = transformer(scope, embedded, trunk, wholeSequence());
  return { tokenFeatures, imageFeatures: attentionPool(scope.at("attn_pool"), tokenFeatures, trunk) };
}
