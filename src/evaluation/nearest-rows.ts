/** The rows of one data set that lie nearest to each row of another, by cosine. The other passes by in blocks. */
import type { LongCallOptions } from "../core/index.ts";
import type { FeatureRows } from "./feature-rows.ts";
import { type InnerProducts, pairProducts } from "./pair-products.ts";

/** For each row the nearest ones, nearest first: entry j of row i is at `i * k + j`. */
export interface NearestRows {
  readonly k: number;
  /** Rows that were asked for. */
  readonly count: number;
  /** Labels of the nearest; -1 where there were fewer than k. */
  readonly labels: Int32Array;
  /** Their cosines; minus infinity where there were fewer than k. */
  readonly cosines: Float32Array;
}

/**
 * Finds the k labelled rows of `train` nearest to each row of `test` that `keep` takes; of equally near ones those that come
 * first.
 * @throws SHAPE_MISMATCH; DATA_INVALID for features that are no numbers; ABORTED
 */
export async function nearestRows(
  test: FeatureRows,
  train: FeatureRows,
  options: LongCallOptions & {
    readonly products: InnerProducts;
    readonly k: number;
    readonly keep: (label: number) => boolean;
  },
): Promise<NearestRows> {
  const { k, keep, ...pairs } = options;
  const nearest = new Nearest(test.size, k);
  const isLabelled = (label: number) => label >= 0;
  let count = 0;
  for await (const { a, b, scores, stride } of pairProducts(test, train, {
    ...pairs,
    keepA: keep,
    keepB: isLabelled,
  })) {
    count = Math.max(count, a.start + a.count);
    for (let i = 0; i < a.count; i++) {
      nearest.offer(a.start + i, scores.subarray(i * stride, i * stride + b.count), b.labels);
    }
  }
  return { k, count, labels: nearest.labels.subarray(0, count * k), cosines: nearest.cosines.subarray(0, count * k) };
}

class Nearest {
  readonly labels: Int32Array;
  readonly cosines: Float32Array;
  private readonly k: number;

  constructor(rows: number, k: number) {
    this.k = k;
    this.labels = new Int32Array(rows * k).fill(-1);
    this.cosines = new Float32Array(rows * k).fill(Number.NEGATIVE_INFINITY);
  }

  /** Takes the next candidates of a row. */
  offer(row: number, scores: Float32Array, labels: Int32Array): void {
    const [begin, last] = [row * this.k, row * this.k + this.k - 1];
    let worst = this.cosines[last]!;
    for (let j = 0; j < scores.length; j++) {
      const score = scores[j]!;
      if (score <= worst) continue;
      this.insert(begin, last, score, labels[j]!);
      worst = this.cosines[last]!;
    }
  }

  /** Puts a candidate behind those that are as near, and drops the last. */
  private insert(begin: number, last: number, score: number, label: number): void {
    let at = last;
    for (; at > begin && this.cosines[at - 1]! < score; at--) {
      this.cosines[at] = this.cosines[at - 1]!;
      this.labels[at] = this.labels[at - 1]!;
    }
    this.cosines[at] = score;
    this.labels[at] = label;
  }
}
