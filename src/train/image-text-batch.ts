/** What the trainers of two towers take: pictures and their texts. */
import type { NDArray } from "../core/index.ts";

/** Some pictures, each with a text. */
export interface ImageTextBatch {
  /** f32 (B, 3, H, W) in [-1, 1]. */
  readonly pixels: NDArray<"f32">;
  /** i32 (B, T), padded. */
  readonly textIds: NDArray<"i32">;
  /** i32 (B): samples with the same number show the same concept. */
  readonly concepts: NDArray<"i32">;
  /** Names of the samples, for caches. */
  readonly keys: readonly string[];
}
