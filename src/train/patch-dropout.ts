/**
 * Patch dropout (FLIP, arXiv 2212.00794; open_clip's `patch_dropout`): a step of training sees some patches of each
 * picture only (of a TokLIP: some tokens), as many of each, and costs that much less. Which ones depends on the seed, the step and the sample's key
 * alone, so that neither a resumed run nor the number of processes changes them. Evaluation sees all patches.
 */
import { fnv1a, type NDArray, ndarray, Random } from "../core/index.ts";

/** How many of a picture's patches are left: at least one. */
export function keptCount(tokens: number, dropout: number): number {
  return Math.max(1, Math.round(tokens * (1 - dropout)));
}

/** Which patches steps leave out. */
export interface PatchDropout {
  /** The share of them, in [0, 1). */
  readonly share: number;
  readonly seed: number;
}

/** What a training draws its patches from, but for the step; undefined where all are seen. */
export function patchDraw(tokens: number, dropout: PatchDropout | undefined): Omit<PatchDraw, "step"> | undefined {
  if (dropout === undefined || dropout.share === 0) return undefined;
  return { seed: dropout.seed, tokens, count: keptCount(tokens, dropout.share) };
}

/** What decides which patches are left. */
export interface PatchDraw {
  readonly seed: number;
  readonly step: number;
  /** Patches of a picture, N. */
  readonly tokens: number;
  /** Patches that are left, M. */
  readonly count: number;
}

/** The patches that are left of each sample: i32 (B, M), rising, in [0, N). */
export function keptPatches(keys: readonly string[], { seed, step, tokens, count }: PatchDraw): NDArray<"i32"> {
  const kept = ndarray("i32", [keys.length, count]);
  for (const [i, key] of keys.entries()) {
    const random = new Random(fnv1a(`${seed} ${step} patches ${key}`));
    const order = Int32Array.from({ length: tokens }, (_, patch) => patch);
    for (let j = 0; j < count; j++) {
      const other = j + random.integer(tokens - j);
      [order[j], order[other]] = [order[other]!, order[j]!];
    }
    kept.data.set(order.subarray(0, count).sort(), i * count);
  }
  return kept;
}
