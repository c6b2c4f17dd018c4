// Gradients against the goldens: whole tensors by their relative distance, summaries by norm, sum, projection and samples
// (spec/ar.md, section 7).
import { expect } from "vitest";
import type { NDArray } from "../src/core/index.ts";
import { prngWeight } from "./prng-weights.ts";

export interface GradientSummary {
  readonly size: number;
  readonly stride: number;
  readonly l2: number;
  readonly sum: number;
  readonly dot: number;
  readonly samples: readonly number[];
}

/** |a - b| / |b|. */
export function relativeDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`lengths ${a.length} and ${b.length} differ`);
  let [difference, norm] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

/**
 * How far a gradient is from its summary, relative to its norm: in the norm itself, the samples, and the sums over it.
 * The sums, which may cancel to nothing, are taken relative to what a vector of this norm can sum to.
 */
export function summaryDistance(
  name: string,
  gradient: ArrayLike<number>,
  summary: GradientSummary,
  seed: number,
): number {
  expect(gradient.length, name).toBe(summary.size);
  const signs = prngWeight({ key: `dot:${name}`, shape: [summary.size], offset: 0, scale: 1 }, seed).data;
  let [squares, sum, dot] = [0, 0, 0];
  for (let i = 0; i < gradient.length; i++) {
    squares += gradient[i]! ** 2;
    sum += gradient[i]!;
    dot += gradient[i]! * signs[i]!;
  }
  const reach = summary.l2 * Math.sqrt(summary.size);
  const samples = summary.samples.map((value, j) => Math.abs(gradient[j * summary.stride]! - value));
  return Math.max(
    Math.abs(Math.sqrt(squares) - summary.l2) / summary.l2,
    Math.abs(sum - summary.sum) / reach,
    Math.abs(dot - summary.dot) / reach,
    Math.max(...samples) / summary.l2,
  );
}

/** The largest magnitude of an array. */
export function largest({ data }: NDArray): number {
  return (data as Float32Array).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}
