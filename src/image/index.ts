/** `toklip/image`: pictures in memory, resized as Pillow does, augmented for training, made into pixels and back, compared. */
export { type Augmentation, augmentImage, type CropSettings, checkAugmentation } from "./augment.ts";
export type { Range } from "./augment-crop.ts";
export type { ColorJitter } from "./colour-jitter.ts";
export { type Background, toRgb, WHITE } from "./convert.ts";
export { cropImage } from "./crop.ts";
export type { Filter } from "./filter-taps.ts";
export { type Box, checkImage, IMAGE_MODES, type Image, type ImageMode, isImage, samplesOf } from "./image.ts";
export { meanAbsoluteDifference, meanSquaredDifference, psnr, psnrOf } from "./metrics.ts";
export type { PictureWriter } from "./picture-writer.ts";
export { fromPixels, toPixels, writePixels } from "./pixels.ts";
export { type PreprocessSettings, preprocessImage } from "./preprocess.ts";
export { type ResizeOptions, resizeImage } from "./resize.ts";
export { multiScaleSsim, ssim, ssimScales } from "./ssim.ts";
