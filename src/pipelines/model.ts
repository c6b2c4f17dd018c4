/**
 * The public face of a TokLIP model, the same on every platform. `toklip/node` and `toklip/web` give a class
 * `TokLIP` that implements it.
 *
 * Dim letters: B batch, T text length, N image tokens (N = h*w), H W pixels, h w grid, D embedding width.
 */
import type { LongCallOptions, NDArray, ProgressEvent } from "../core/index.ts";
import type { Image } from "../image/image.ts";
import type { ToklipConfig } from "../models/config.ts";
import type { LabelSetName } from "./label-sets.ts";

/** A picture as a user has it: a path (Node) or URL (web), encoded bytes, or decoded pixels. */
export type ImageInput = string | Uint8Array | Image;

/** Where a model runs. */
export type Device = "cpu" | "cuda" | "webgpu";

/** `fp32`; `int8`: block-wise 8-bit weights in the ViT and text MatMuls (the VQ, and so the ids, stay fp32). */
export type Precision = "fp32" | "int8" | "int8-fast";

/** More threads than this make no run faster; a mistyped number of them would take the machine down. */
export const MAX_THREADS = 1024;

/** How a model is loaded. */
export interface LoadOptions extends LongCallOptions {
  /** A built-in configuration name, the path of a JSON file, or the parsed JSON. Default: found beside or in the checkpoint. */
  readonly config?: string | object;
  readonly device?: Device;
  readonly precision?: Precision;
  /** Whether text can be encoded. Default: whether the checkpoint has a text tower. It is read when first used. */
  readonly textTower?: boolean;
  /** The path or hub name of a `tokenizer.json`. Default: beside the checkpoint, else as the configuration names it. */
  readonly tokenizer?: string;
  /** Lets a hub name be downloaded when it is not in the cache. Default false: nothing is downloaded unasked. */
  readonly download?: boolean;
  /** Threads of the compute engine, 1 to `MAX_THREADS`. Default: the machine's cores. */
  readonly threads?: number;
}

/** How pictures are prepared. */
export interface PreprocessOptions extends LongCallOptions {
  /** `shortest`: resize the shorter edge and crop the centre. `squash`: resize both edges. Default as the model's configuration says. */
  readonly resize?: "shortest" | "squash";
  /** Turns pictures by their EXIF orientation. Default true; the reference ignores it. */
  readonly exif?: boolean;
  /** What shows through transparency; `"drop"` ignores alpha as the reference does. Default as the configuration says. */
  readonly background?: readonly [number, number, number] | "drop";
  /** Largest number of pixels a picture may have. Default 268 million. */
  readonly maxPixels?: number;
}

/** What the image tower says of pictures. */
export interface EncodedFeatures {
  /** f32 (B, N, D), after the final norm, not normalised. */
  readonly tokenFeatures: NDArray<"f32">;
  /** f32 (B, D), pooled, not normalised. */
  readonly imageFeatures: NDArray<"f32">;
}

/** Ids and features of pictures. */
export interface EncodedImage extends EncodedFeatures {
  /** i32 (B, h, w), row-major, in [0, codebookSize). */
  readonly ids: NDArray<"i32">;
}

/** A label and how well it fits. */
export interface LabelScore {
  readonly label: string;
  /** Softmax of 100 x cosine over the labels, in [0, 1]. */
  readonly score: number;
}

/** The labels to choose among. */
export interface ClassifyOptions extends PreprocessOptions {
  /** The labels, or the name of a set that comes with the package: see `LABEL_SETS`. */
  readonly labels: LabelSetName | readonly string[];
  /** Prompt templates with `{}` for the label; a name of a built-in set, or the templates. Default as the configuration says. */
  readonly templates?: string | readonly string[];
}

/** Token features one position at a time: position t from ids <= t. */
export interface TokenStream {
  /** The number of ids taken so far. */
  readonly position: number;
  /**
   * Takes the next k >= 1 ids of each sequence, i32 (B, k); gives their features, f32 (B, k, D).
   * @throws IDS_OUT_OF_RANGE, IDS_GRID_MISMATCH (more ids than the grid has)
   */
  step(ids: NDArray<"i32">, options?: LongCallOptions): Promise<NDArray<"f32">>;
  /** Starts again at position 0. */
  reset(): void;
  /** Frees the keys and values. */
  dispose(): Promise<void>;
}

/** A loaded model. */
export interface TokLIPModel {
  readonly config: ToklipConfig;
  /** f32 (B, 3, H, W) in [-1, 1]. */
  preprocess(images: ImageInput | readonly ImageInput[], options?: PreprocessOptions): Promise<NDArray<"f32">>;
  /** Pixels f32 (B, 3, H, W) -> ids i32 (B, h, w). */
  encodeIds(pixels: NDArray<"f32">, options?: LongCallOptions): Promise<NDArray<"i32">>;
  /** Ids i32 (B, h, w) or (B, N) -> features, without pixels or the VQ encoder. */
  encodeFeatures(ids: NDArray<"i32">, options?: LongCallOptions): Promise<EncodedFeatures>;
  /** Pixels f32 (B, 3, H, W) -> ids, token features and image features. */
  encodeImage(pixels: NDArray<"f32">, options?: LongCallOptions): Promise<EncodedImage>;
  /** Pixels f32 (B, 3, H, W) -> features, of a pixel model (a teacher) too; of a TokLIP by way of its ids. */
  encodePixels(pixels: NDArray<"f32">, options?: LongCallOptions): Promise<EncodedFeatures>;
  /** Text ids i32 (B, T) -> f32 (B, D), not normalised. */
  encodeTextIds(textIds: NDArray<"i32">, options?: LongCallOptions): Promise<NDArray<"f32">>;
  /** Cleans, tokenizes, pads, encodes -> f32 (B, D), not normalised. */
  encodeText(texts: string | readonly string[], options?: LongCallOptions): Promise<NDArray<"f32">>;
  /** Ids i32 (B, h, w) -> pixels f32 (B, 3, H, W), about [-1, 1], not clamped. */
  decodeIds(ids: NDArray<"i32">, options?: LongCallOptions): Promise<NDArray<"f32">>;
  /** Scores of every label for every picture, best first. */
  classify(images: ImageInput | readonly ImageInput[], options: ClassifyOptions): Promise<LabelScore[][]>;
  /** Starts `batch` sequences for incremental features. */
  startStream(options?: { batch?: number }): Promise<TokenStream>;
  /** Lets the run under way end, then frees everything. */
  dispose(): Promise<void>;
}

export type { LongCallOptions, ProgressEvent };
