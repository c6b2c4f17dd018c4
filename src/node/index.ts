/**
 * `toklip/node`: TokLIP in Node.
 *
 * @example
 * import { TokLIP } from "toklip/node";
 * const model = await TokLIP.load("TokLIP_S_256.pt");
 * const pixels = await model.preprocess(["photo.jpg"]);
 * const { ids, imageFeatures } = await model.encodeImage(pixels);
 */
export { type NDArray, ndarray, type ProgressEvent, ToklipError } from "../core/index.ts";
export type { Image } from "../image/image.ts";
export type { LlamaGenOptions } from "../pipelines/llamagen.ts";
export type * from "../pipelines/model.ts";
export type * from "../pipelines/picture-generator.ts";
export type {
  DescribeOptions,
  LabelLikelihood,
  PictureInput,
  ScoreOptions,
  UnifiedOptions,
} from "../pipelines/unified.ts";
export { type CaptionEncoderOptions, encodeCaptionTexts } from "./caption-encoder.ts";
export { type NamedCaption, readCaptionFeatures } from "./caption-features.ts";
export { convertFile } from "./convert.ts";
export { exportOnnx } from "./export.ts";
export { resolveHubFile } from "./hub.ts";
export { decodeImage, encodePng } from "./image.ts";
export { initCheckpoint } from "./init.ts";
export { LlamaGen } from "./llamagen.ts";
export { createOrtBackend, type OrtBackendOptions } from "./ort-backend.ts";
export { TokLIP } from "./toklip.ts";
export { Unified } from "./unified.ts";
