// Features in memory, and products in plain loops: what evaluators are tested with.
import { type NDArray, ndarray, Random } from "../../src/core/index.ts";
import type { FeatureRows } from "../../src/evaluation/index.ts";

/** Rows of features, handed out `blockSize` at a time. */
export function memoryRows(
  rows: readonly (readonly number[])[],
  { labels = [], classes = [], blockSize = 3 }: { labels?: number[]; classes?: string[]; blockSize?: number } = {},
): FeatureRows {
  const width = rows[0]?.length ?? 1;
  return {
    size: rows.length,
    width,
    classes,
    async *blocks() {
      for (let at = 0; at < rows.length; at += blockSize) {
        const part = rows.slice(at, at + blockSize);
        yield {
          features: Float32Array.from(part.flat()),
          keys: part.map((_, i) => `row-${at + i}`),
          labels: Int32Array.from(part, (_, i) => labels[at + i] ?? -1),
        };
      }
    },
  };
}

/** Inner products as their definition says. */
export async function plainProducts(a: NDArray<"f32">, b: NDArray<"f32">): Promise<NDArray<"f32">> {
  const [m, width] = a.shape as [number, number];
  const n = b.shape[0]!;
  const out = ndarray("f32", [m, n]);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let d = 0; d < width; d++) sum += a.data[i * width + d]! * b.data[j * width + d]!;
      out.data[i * n + j] = sum;
    }
  }
  return out;
}

/** Rows of normal deviates. */
export function randomRows(count: number, width: number, seed: number): number[][] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => Array.from({ length: width }, () => random.normal()));
}
