/** Retrieval within a set of pairs, for watching a training: is the nearest of all the right one? */
import { concatRows, type NDArray, normalizeRows } from "../core/index.ts";

/** For each row of `queries`, the index of the row of `candidates` with the largest inner product; the first on ties. */
function nearest(queries: NDArray<"f32">, candidates: NDArray<"f32">): Int32Array {
  const width = queries.shape[1]!;
  const count = candidates.shape[0]!;
  return Int32Array.from({ length: queries.shape[0]! }, (_, i) => {
    let [best, at] = [Number.NEGATIVE_INFINITY, -1];
    for (let j = 0; j < count; j++) {
      let product = 0;
      for (let k = 0; k < width; k++) product += queries.data[i * width + k]! * candidates.data[j * width + k]!;
      if (product > best) [best, at] = [product, j];
    }
    return at;
  });
}

/**
 * The share of pictures whose nearest text, and of texts whose nearest picture, shows the same concept.
 * @param images parts of (N, D) f32, not normalised; texts alike; concepts parts of (N) i32
 */
export function recallAtOne(
  images: readonly NDArray[],
  texts: readonly NDArray[],
  concepts: readonly NDArray[],
): Record<"image_to_text@1" | "text_to_image@1", number> {
  const [image, text] = [images, texts].map((parts) => normalizeRows(concatRows(parts) as NDArray<"f32">));
  const { data: concept } = concatRows(concepts) as NDArray<"i32">;
  const share = (found: Int32Array) => found.filter((j, i) => concept[j] === concept[i]).length / found.length;
  return { "image_to_text@1": share(nearest(image!, text!)), "text_to_image@1": share(nearest(text!, image!)) };
}
