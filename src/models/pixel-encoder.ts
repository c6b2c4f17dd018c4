/**
 * The pixel SigLIP2 image tower (arXiv 2502.14786): patches -> full-attention ViT -> attention pooling. TokLIP's teacher.
 * Parameter names are timm's, below `visual.trunk`; `patch_embed.stem` is ours: a convolutional stem (arXiv 2106.14881),
 * where the configuration has one.
 *
 * Dim letters: B batch, N patches, M patches that are left, D width, P patch side.
 */
import { add, boundary, reshape, type Tensor, transpose } from "../graph/index.ts";
import { conv2d, groupNorm, type Scope, swish } from "../nn/index.ts";
import type { TrunkConfig } from "./config.ts";
import { addPositions, attentionPool, gridOf, keepPlaces, transformer, wholeSequence } from "./vision-transformer.ts";

/**
 * Pixels (B, 3, H, W) in [-1, 1] -> patch features (B, N, D) and image features (B, D), not normalised.
 * @param kept i32 (B, M): the patches that the blocks see of each picture, for training; then N is M, and B a number
 * @throws GRAPH_INVALID for patches of a batch of unknown size
 */
export function pixelEncoder(
  scope: Scope,
  pixels: Tensor,
  trunk: TrunkConfig,
  kept?: Tensor,
): { readonly tokenFeatures: Tensor; readonly imageFeatures: Tensor } {
  const { width, patchSize, convStem = [], convBlocks = [] } = trunk;
  const maps = convStem.reduce((x, channels, i) => {
    const layer = scope.at(`patch_embed.stem.${i}`);
    let y = halve(layer, x, channels);
    for (let block = 0; block < (convBlocks[i] ?? 0); block++) y = residual(layer.at(`blocks.${block}`), y);
    return y;
  }, pixels);
  const side = patchSize / 2 ** convStem.length;
  const patches = conv2d(scope.at("patch_embed.proj"), maps, width, side, { stride: [side, side] });
  const rows = reshape(patches, [pixels.shape[0]!, width, gridOf(trunk).tokens]); // (B, D, h, w) -> (B, D, N)
  const embedded = addPositions(scope, transpose(rows, [0, 2, 1])); // (B, D, N) -> (B, N, D)
  const seen = kept === undefined ? embedded : keepPlaces(embedded, kept);
  const tokenFeatures = transformer(scope, seen, trunk, wholeSequence());
  return { tokenFeatures, imageFeatures: attentionPool(scope.at("attn_pool"), tokenFeatures, trunk) };
}

/** A layer of the convolutional stem: (B, C, H, W) -> (B, O, H/2, W/2). */
function halve(scope: Scope, x: Tensor, channels: number): Tensor {
  const halved = conv2d(scope.at("conv"), x, channels, 3, { stride: [2, 2], pads: [1, 1, 1, 1] });
  return swish(groupNorm(scope.at("norm"), halved, { groups: 1 }));
}

/** A pre-activation residual block: (B, C, H, W) -> (B, C, H, W). */
function residual(scope: Scope, x: Tensor): Tensor {
  const channels = x.shape[1] as number;
  const half = (i: number, y: Tensor) => {
    const active = swish(groupNorm(scope.at(`norm${i}`), y, { groups: 1 }));
    return conv2d(scope.at(`conv${i}`), active, channels, 3, { pads: [1, 1, 1, 1] });
  };
  return boundary(add(x, half(2, half(1, x))));
}
