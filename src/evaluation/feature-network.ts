/**
 * A network of someone else's, given as an ONNX file, that makes features of pictures: what a Fréchet distance is taken of.
 * Pictures are resized by antialiased bicubic, as G. Parmar et al., "On aliased resizing and surprising subtleties in GAN
 * evaluation", 2022, advise. A figure says something only beside another of the same network and the same settings.
 */
import { concatRows, type LongCallOptions, type NDArray, ndarray, ToklipError } from "../core/index.ts";
import { div, formatShape, Graph, isStatic, reduceMean, reshape, sub, type Tensor } from "../graph/index.ts";
import { type Image, resizeImage, toPixels } from "../image/index.ts";
import { importOnnx, type OnnxModel, onnxWeights } from "../onnx/index.ts";
import type { Backend } from "../runtime/index.ts";

/** A network and how it is fed. */
export interface FeatureNetworkOptions {
  readonly model: OnnxModel;
  /** Tells the model from another: what is made with it is kept under this. */
  readonly digest: string;
  /** The value of the model that is the feature, by name. Default its first output. */
  readonly output?: string | undefined;
  /** Edge of the pictures that it takes, in pixels. Default the one that it was exported for. */
  readonly size?: number | undefined;
  /** The mean of red, green and blue that it expects, of values in [0, 1]. Default ImageNet's. */
  readonly mean?: readonly [number, number, number] | undefined;
  /** Their standard deviations. Default ImageNet's. */
  readonly std?: readonly [number, number, number] | undefined;
}

/** A network that is ready to run. */
export interface FeatureNetwork {
  /** What it is and how it is fed, for the record. */
  readonly settings: {
    readonly network: string;
    readonly output: string;
    readonly size: number;
    readonly mean: readonly number[];
    readonly std: readonly number[];
    readonly width: number;
  };
  readonly digest: string;
  /** Floats a picture. */
  readonly width: number;
  /** RGB pictures -> features f32 (B, width); maps (B, width, h, w) are averaged over their places. */
  features(images: readonly Image[], options?: LongCallOptions): Promise<NDArray<"f32">>;
}

const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

/**
 * Makes a network ready. Its input is a batch of pictures (B, 3, H, W), or one picture where it was exported so.
 * @throws ARGUMENT_INVALID for names that it lacks, and without a size where it has none; OP_UNSUPPORTED, SHAPE_MISMATCH,
 * FILE_CORRUPT as `importOnnx`
 */
export async function compileFeatureNetwork(
  backend: Backend,
  { model, digest, output = model.outputs[0]?.name ?? "", ...given }: FeatureNetworkOptions,
  options: LongCallOptions = {},
): Promise<FeatureNetwork> {
  const { batch, size: ownSize } = inputOf(model);
  const { size = ownSize, mean = IMAGENET.mean, std = IMAGENET.std } = given;
  if (size === undefined) {
    throw new ToklipError("ARGUMENT_INVALID", `${model.name}: takes pictures of any size, so say which`);
  }
  const graph = new Graph();
  const fed = standardized(graph.input("pixels", "f32", [batch, 3, size, size]), mean, std);
  const feature = asRows(output, importOnnx(model, fed, { outputs: [output] }).outputs[output]!);
  graph.output("features", feature.tensor);
  const weights = onnxWeights(model);
  const weight = async (name: string) => ({ kind: "array" as const, value: weights(name)! });
  const session = await backend.compile({ name: "feature-network", graph, weight }, options);
  const run = async (images: readonly Image[], how: LongCallOptions) => {
    const pixels = toPixels(images.map((image) => resizeImage(image, { width: size, height: size })));
    return (await session.run({ pixels }, how)).features as NDArray<"f32">;
  };
  return {
    settings: { network: model.name, output, size, mean, std, width: feature.width },
    digest,
    width: feature.width,
    async features(images, how = {}) {
      if (batch !== 1) return run(images, how);
      const rows: NDArray<"f32">[] = [];
      for (const image of images) rows.push(await run([image], how));
      return concatRows(rows);
    },
  };
}

/** The batch and the size that a network was exported for, where it was for one. */
function inputOf({ inputs, initializers }: OnnxModel): { readonly batch: 1 | "B"; readonly size: number | undefined } {
  const weights = new Set(initializers.map(({ name }) => name)); // older files list them as inputs
  const [batch = "B", , height, width] = inputs.find(({ name }) => !weights.has(name))?.shape ?? [];
  const isSquare = height !== undefined && isStatic(height) && height > 0 && height === width;
  return { batch: isStatic(batch) && batch > 0 ? 1 : "B", size: isSquare ? height : undefined };
}

/** (x / 2 + 1/2 - mean) / std of pixels x in [-1, 1]. */
function standardized(pixels: Tensor, mean: readonly number[], std: readonly number[]): Tensor {
  const channels = (values: readonly number[]) =>
    pixels.graph.constant(ndarray("f32", [1, 3, 1, 1], Float32Array.from(values)));
  const shift = channels(mean.map((value) => 2 * value - 1));
  return div(sub(pixels, shift), channels(std.map((value) => 2 * value)));
}

/** A feature as rows (B, C): maps (B, C, h, w) are averaged over their places, axes of length 1 left out. */
function asRows(name: string, feature: Tensor): { readonly tensor: Tensor; readonly width: number } {
  const [batch, width, ...places] = feature.shape;
  if (batch === undefined || width === undefined || !isStatic(width) || ![0, 2].includes(places.length)) {
    const shape = formatShape(feature.shape);
    throw new ToklipError("OP_UNSUPPORTED", `feature ${name} ${shape}: expected (B, C) or (B, C, h, w)`);
  }
  const tensor = places.length === 0 ? feature : reshape(reduceMean(feature, [2, 3]), [batch, width]);
  return { tensor, width };
}
