/**
 * LPIPS, the learned perceptual distance between pictures (arXiv 1801.03924, section 3), on the features of VGG16 (arXiv
 * 1409.1556). The weights are the user's: none come with this project.
 *
 * Follows the `LPIPS` of Taming Transformers, which LlamaGen trains with; parameter names are theirs below the scope
 * (`net.slice1.0.weight`, `lin0.model.1.weight`, `scaling_layer.shift`). Differs in having no dropout: upstream's
 * training leaves the dropout before each linear layer on by mistake, so that two calls on one pair of pictures differ.
 * The network is a function of pixels to features, so another takes its place in `perceptualDistance`.
 *
 * Dim letters: B batch, C channels, H W pixels, h w size of a feature map.
 */
import { ToklipError } from "../core/index.ts";
import {
  add,
  conv2d as convolve,
  div,
  maxPool2x2,
  reduceMean,
  reduceSum,
  relu,
  reshape,
  sqrt,
  square,
  sub,
  type Tensor,
} from "../graph/index.ts";
import { conv3x3, type Scope } from "../nn/index.ts";

/** A feature network: pixels (B, 3, H, W) -> maps (B, C, h, w), from shallow to deep. */
export type FeatureNetwork = (pixels: Tensor) => readonly Tensor[];

/** The convolutions of each slice by their places in torchvision's `vgg16.features`, and their channels. */
const VGG16_SLICES: readonly { readonly layers: readonly number[]; readonly channels: number }[] = [
  { layers: [0, 2], channels: 64 },
  { layers: [5, 7], channels: 128 },
  { layers: [10, 12, 14], channels: 256 },
  { layers: [17, 19, 21], channels: 512 },
  { layers: [24, 26, 28], channels: 512 },
];

/** What four halvings leave one pixel of. */
const SMALLEST_SIDE = 16;

/** The activations of VGG16 before each pooling: five maps of 64 to 512 channels, of H, H/2, ... H/16 rows. */
export function vgg16Features(scope: Scope, pixels: Tensor): readonly Tensor[] {
  let x = pixels;
  return VGG16_SLICES.map(({ layers, channels }, i) => {
    if (i > 0) x = maxPool2x2(x);
    for (const layer of layers) x = relu(conv3x3(scope.at(`slice${i + 1}.${layer}`), x, channels));
    return x;
  });
}

/** x / (|x| + 1e-10) over the channels. */
function unitChannels(x: Tensor): Tensor {
  return div(x, add(sqrt(reduceSum(square(x), [1])), 1e-10));
}

/**
 * The distance of two batches of pictures in the features of a network, (B): at each place of a map the squared
 * difference of the unit feature vectors, summed over channels with `weights[i]` (1, C, 1, 1) or with ones; the mean over
 * places; the sum over maps.
 */
export function perceptualDistance(
  network: FeatureNetwork,
  a: Tensor,
  b: Tensor,
  weights: readonly Tensor[] = [],
): Tensor {
  const others = network(b);
  const distances = network(a).map((map, i) => {
    const squared = square(sub(unitChannels(map), unitChannels(others[i]!)));
    const weight = weights[i];
    const summed = weight ? convolve(squared, weight) : reduceSum(squared, [1]); // (B, C, h, w) -> (B, 1, h, w)
    return reshape(reduceMean(summed, [2, 3]), [map.shape[0]!]);
  });
  return distances.reduce((sum, distance) => add(sum, distance));
}

/** The pixel scaling that LPIPS begins with: (x - shift) / scale, for pixels in [-1, 1]. */
function scalePixels(scope: Scope, pixels: Tensor): Tensor {
  const [shift, scale] = ["shift", "scale"].map((name) => scope.parameter(name, [1, 3, 1, 1]));
  return div(sub(pixels, shift!), scale!);
}

/**
 * LPIPS of two batches of pixels (B, 3, H, W) in [-1, 1], H and W at least 16: a distance each, (B).
 * @throws SHAPE_MISMATCH for smaller pictures.
 */
export function lpips(scope: Scope, a: Tensor, b: Tensor): Tensor {
  const [height, width] = a.shape.slice(2) as [number, number];
  if (Math.min(height, width) < SMALLEST_SIDE) {
    const least = `${SMALLEST_SIDE} x ${SMALLEST_SIDE}`;
    throw new ToklipError("SHAPE_MISMATCH", `lpips: pictures must be at least ${least}, got ${width} x ${height}`);
  }
  const network = (pixels: Tensor) => vgg16Features(scope.at("net"), scalePixels(scope.at("scaling_layer"), pixels));
  const weights = VGG16_SLICES.map(({ channels }, i) => scope.parameter(`lin${i}.model.1.weight`, [1, channels, 1, 1]));
  return perceptualDistance(network, a, b, weights);
}
