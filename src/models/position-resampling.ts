/**
 * Learned positions of one grid for another: a token encoder of 12 x 12 ids may begin as a teacher of 8 x 8 patches. Both
 * grids cover the same picture, so that a position is read where its centre lies, between its four neighbours.
 */
import { type NDArray, ndarray } from "../core/index.ts";

const NAME = /(?:^|\.)pos_embed$/;

/** The side of a square grid of this many positions. */
function sideOf(positions: number): number | undefined {
  const side = Math.sqrt(positions);
  return Number.isInteger(side) ? side : undefined;
}

/** Whether a stored parameter (1, N, D) is learned positions that can be resampled to a shape (1, M, D). */
export function isResampled(name: string, stored: readonly number[], shape: readonly number[]): boolean {
  if (!NAME.test(name) || stored.length !== 3 || shape.length !== 3) return false;
  const isSquare = sideOf(stored[1]!) !== undefined && sideOf(shape[1]!) !== undefined;
  return isSquare && stored[0] === 1 && shape[0] === 1 && stored[2] === shape[2] && stored[1] !== shape[1];
}

/** Positions f32 (1, N, D) of a square grid -> (1, M, D), linear between centres, constant beyond the outermost. */
export function resamplePositions(positions: NDArray<"f32">, count: number): NDArray<"f32"> {
  const [, stored, width] = positions.shape as readonly [number, number, number];
  const from = sideOf(stored)!;
  const to = sideOf(count)!;
  const out = ndarray("f32", [1, count, width]);
  const taps = Array.from({ length: to }, (_, i) => tapsOf(i, from, to));
  taps.forEach((vertical, y) => {
    taps.forEach((horizontal, x) => {
      const row = out.data.subarray((y * to + x) * width, (y * to + x + 1) * width);
      for (const [v, a] of vertical) {
        for (const [h, b] of horizontal) {
          const at = (v * from + h) * width;
          for (let d = 0; d < width; d++) row[d]! += a * b * positions.data[at + d]!;
        }
      }
    });
  });
  return out;
}

/** The two stored places around the centre of place `i`, with their shares. */
function tapsOf(i: number, from: number, to: number): readonly (readonly [number, number])[] {
  const centre = Math.min(Math.max(((i + 0.5) * from) / to - 0.5, 0), from - 1);
  const low = Math.floor(centre);
  const share = centre - low;
  return [
    [low, 1 - share],
    [Math.min(low + 1, from - 1), share],
  ];
}
