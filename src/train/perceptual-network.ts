/**
 * A perceptual distance on any network that someone has as an ONNX file: the features that it makes of two pictures are
 * compared as LPIPS compares VGG's, each place's feature vector at unit length, without learned weights.
 */
import { type NDArray, ndarray, ToklipError } from "../core/index.ts";
import { div, formatShape, type Graph, reshape, sub, type Tensor } from "../graph/index.ts";
import { perceptualDistance } from "../models/index.ts";
import { importOnnx, type OnnxModel, onnxWeights } from "../onnx/index.ts";
import { type PerceptualDistance, VQ_TRAINING_PREFIXES } from "./vq-objective.ts";

/** How a network is used. */
export interface PerceptualNetworkOptions {
  /** The mean of red, green and blue that the network expects, of values in [0, 1]. Default ImageNet's. */
  readonly mean?: readonly [number, number, number];
  /** Their standard deviations. Default ImageNet's. */
  readonly std?: readonly [number, number, number];
  /** The values of the model that are compared, by name. Default its outputs. */
  readonly features?: readonly string[] | undefined;
}

/** The statistics that networks trained on ImageNet are fed with. */
export const IMAGENET_STATISTICS = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

/** A distance, and the values of its weights by the names they have in a training graph. */
export interface PerceptualNetwork {
  readonly distance: PerceptualDistance;
  readonly weight: (name: string) => NDArray<"f32"> | undefined;
}

function channels(graph: Graph, values: readonly number[]): Tensor {
  return graph.constant(ndarray("f32", [1, 3, 1, 1], Float32Array.from(values)));
}

/** Features as maps (B, C, h, w); pooled ones (B, C) become (B, C, 1, 1). */
function asMap(name: string, feature: Tensor): Tensor {
  const { shape } = feature;
  if (shape.length === 4) return feature;
  if (shape.length === 2) return reshape(feature, [...shape, 1, 1]);
  throw new ToklipError("OP_UNSUPPORTED", `feature ${name} ${formatShape(shape)}: expected (B, C, h, w) or (B, C)`);
}

/**
 * Makes a distance of a model. Its input is one batch of pictures (B, 3, H, W).
 * @throws (the distance, when it is traced) OP_UNSUPPORTED, SHAPE_MISMATCH, ARGUMENT_INVALID as `importOnnx`
 */
export function perceptualNetwork(
  model: OnnxModel,
  { mean = IMAGENET_STATISTICS.mean, std = IMAGENET_STATISTICS.std, features }: PerceptualNetworkOptions = {},
): PerceptualNetwork {
  const distance: PerceptualDistance = (scope, a, b) => {
    const { graph } = scope;
    // (x / 2 + 1/2 - mean) / std of pixels x in [-1, 1]
    const shift = channels(
      graph,
      mean.map((value) => 2 * value - 1),
    );
    const scale = channels(
      graph,
      std.map((value) => 2 * value),
    );
    const network = (pixels: Tensor) => {
      const fed = div(sub(pixels, shift), scale);
      const { outputs } = importOnnx(model, fed, { prefix: scope.prefix, ...(features && { outputs: features }) });
      return Object.entries(outputs).map(([name, feature]) => asMap(name, feature));
    };
    return perceptualDistance(network, a, b);
  };
  return { distance, weight: onnxWeights(model, { prefix: VQ_TRAINING_PREFIXES.perceptual }) };
}
