/**
 * What is measured of one reconstruction: how far it is from the original, the ids that it was made of, and the features
 * that a network makes of both. As a row of floats, so that it is kept as features are.
 *
 * Dim letters: B batch, N ids of a picture, S image size, D features of the network.
 */
import { type LongCallOptions, type NDArray, ndarray } from "../core/index.ts";
import {
  fromPixels,
  type Image,
  meanAbsoluteDifference,
  meanSquaredDifference,
  multiScaleSsim,
  ssim,
} from "../image/index.ts";
import { gridOf } from "../models/index.ts";
import type { TokLIPModel } from "../pipelines/model.ts";
import type { FeatureNetwork } from "./feature-network.ts";
import type { PictureMeasure } from "./session.ts";

/** One picture's row, taken apart. */
export interface MeasuredPicture {
  /** Mean squared difference of 8-bit values. */
  readonly squared: number;
  /** Mean absolute difference of 8-bit values. */
  readonly absolute: number;
  readonly ssim: number;
  readonly multiScaleSsim: number;
  /** (N), row by row. */
  readonly ids: Float32Array;
  /** (D) of what the model saw; empty without a network. */
  readonly original: Float32Array;
  /** (D) of what came back. */
  readonly rebuilt: Float32Array;
}

/** A measure, and how its rows are read. */
export interface ReconstructionMeasure extends PictureMeasure {
  /** The picture of a row. */
  read(row: Float32Array): MeasuredPicture;
}

const DISTANCES = 4;

/** The measure of a model, with the features of a network where one is given. */
export function reconstructionMeasure(
  model: Pick<TokLIPModel, "config" | "encodeIds" | "decodeIds">,
  { network, signal }: LongCallOptions & { readonly network?: FeatureNetwork | undefined } = {},
): ReconstructionMeasure {
  const { tokens } = gridOf(model.config.trunk);
  const features = network?.width ?? 0;
  const width = DISTANCES + tokens + 2 * features;
  return {
    kind: "reconstruction",
    graphs: ["vq_encoder", "vq_decoder"],
    identity: network === undefined ? null : { ...network.settings, digest: network.digest },
    width,
    async encode(pixels) {
      const ids = await model.encodeIds(pixels, { signal });
      const [originals, rebuilt] = [picturesOf(pixels), picturesOf(await model.decodeIds(ids, { signal }))];
      const of = async (images: readonly Image[]) => (await network?.features(images, { signal }))?.data;
      const [seen, made] = [await of(originals), await of(rebuilt)];
      const measured = ndarray("f32", [originals.length, width]);
      for (const [i, original] of originals.entries()) {
        const row = measured.data.subarray(i * width, (i + 1) * width);
        row.set(distances(original, rebuilt[i]!));
        row.set(ids.data.subarray(i * tokens, (i + 1) * tokens), DISTANCES); // whole numbers below 2^24 are exact
        if (seen) row.set(seen.subarray(i * features, (i + 1) * features), DISTANCES + tokens);
        if (made) row.set(made.subarray(i * features, (i + 1) * features), width - features);
      }
      return measured;
    },
    read(row) {
      const [squared, absolute, single, multiple] = row as unknown as readonly [number, number, number, number];
      return {
        squared,
        absolute,
        ssim: single,
        multiScaleSsim: multiple,
        ids: row.subarray(DISTANCES, DISTANCES + tokens),
        original: row.subarray(DISTANCES + tokens, width - features),
        rebuilt: row.subarray(width - features),
      };
    },
  };
}

function distances(original: Image, rebuilt: Image): number[] {
  return [
    meanSquaredDifference(original, rebuilt),
    meanAbsoluteDifference(original, rebuilt),
    ssim(original, rebuilt),
    multiScaleSsim(original, rebuilt),
  ];
}

function picturesOf(pixels: NDArray<"f32">): Image[] {
  return Array.from({ length: pixels.shape[0]! }, (_, i) => fromPixels(pixels, i));
}
