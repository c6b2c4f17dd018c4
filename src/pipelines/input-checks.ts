/** Holds what goes into a model against its configuration. */
import { type NDArray, ToklipError } from "../core/index.ts";
import { gridOf, type ToklipConfig, type VqConfig } from "../models/index.ts";

/** The VQ of a model. @throws ARGUMENT_INVALID for a pixel model, which has none. */
export function requireVq({ vq, name }: ToklipConfig, call: string): VqConfig {
  if (vq !== undefined) return vq;
  throw new ToklipError("ARGUMENT_INVALID", `${call}: ${name} is a pixel model, which has no image ids`);
}

/** @throws ARGUMENT_INVALID for a model with full attention, whose features are not known before all ids. */
export function requireCausal({ trunk, name }: ToklipConfig, call: string): void {
  if (trunk.causal) return;
  throw new ToklipError("ARGUMENT_INVALID", `${call}: ${name} attends in full: no feature is known before all ids`);
}

/** @throws SHAPE_MISMATCH unless pixels are f32 (B, 3, H, W) of the model's size, B >= 1. */
export function checkPixels({ shape, dtype }: NDArray, { trunk: { imageSize } }: ToklipConfig): void {
  const [batch = 0, ...picture] = shape;
  if (dtype === "f32" && batch >= 1 && picture.join() === `3,${imageSize},${imageSize}`) return;
  throw new ToklipError(
    "SHAPE_MISMATCH",
    `pixels: expected f32 (B, 3, ${imageSize}, ${imageSize}), got ${dtype} [${shape}]`,
  );
}

/**
 * Ids i32 (B, h, w) or (B, N), as (B, h, w).
 * @throws DTYPE_MISMATCH, IDS_GRID_MISMATCH, IDS_OUT_OF_RANGE
 */
export function checkIds(ids: NDArray<"i32">, config: ToklipConfig, call: string): NDArray<"i32"> {
  const { codebookSize } = requireVq(config, call);
  const { side, tokens } = gridOf(config.trunk);
  const [batch = 0, ...grid] = ids.shape;
  if (ids.dtype !== "i32") throw new ToklipError("DTYPE_MISMATCH", `ids: expected i32, got ${ids.dtype}`);
  if (batch < 1 || (grid.join() !== `${side},${side}` && grid.join() !== `${tokens}`)) {
    throw new ToklipError("IDS_GRID_MISMATCH", `ids: expected (B, ${side}, ${side}), got [${ids.shape}]`);
  }
  checkRange("ids", ids, codebookSize);
  return { dtype: "i32", shape: [batch, side, side], data: ids.data };
}

/** @throws SHAPE_MISMATCH, IDS_OUT_OF_RANGE unless text ids are i32 (B, T) in the vocabulary, B >= 1. */
export function checkTextIds(textIds: NDArray<"i32">, { text: { contextLength, vocabSize } }: ToklipConfig): void {
  const [batch = 0, length, ...more] = textIds.shape;
  if (batch < 1 || length !== contextLength || more.length > 0) {
    throw new ToklipError("SHAPE_MISMATCH", `text ids: expected (B, ${contextLength}), got [${textIds.shape}]`);
  }
  checkRange("text ids", textIds, vocabSize);
}

/** @throws IDS_OUT_OF_RANGE unless all ids are in [0, size). */
export function checkRange(what: string, { data }: NDArray<"i32">, size: number): void {
  const place = data.findIndex((id) => id < 0 || id >= size);
  if (place >= 0) {
    throw new ToklipError("IDS_OUT_OF_RANGE", `${what}: ${data[place]} at place ${place} is not in [0, ${size})`);
  }
}

/** The value. @throws ARGUMENT_INVALID unless it is a whole number, 1 or more */
export function checkCount(what: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw new ToklipError("ARGUMENT_INVALID", `${what} ${value}: expected a whole number, 1 or more`);
}
