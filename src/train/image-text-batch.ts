/** What the trainers of two towers take: pictures and their texts. */
import type { NDArray } from "../core/index.ts";
import type { RecalledPicture } from "../data/recall.ts";

/** Some pictures, each with a text. */
export interface ImageTextBatch {
  /** f32 (B, 3, H, W) in [-1, 1]. */
  readonly pixels: NDArray<"f32">;
  /** i32 (B, T), padded. */
  readonly textIds: NDArray<"i32">;
  /** i32 (B): samples with the same number show the same concept. */
  readonly concepts: NDArray<"i32">;
  /** For pictures from a loader with a memory: what was known of each. The pixels of those that are known are zeros. */
  readonly recalled?: readonly RecalledPicture[];
  /** Names of the samples. */
  readonly keys: readonly string[];
}
