// The distance against NumPy: of the trace of the root it gives the sum of the singular values of A B^T, A and B the centred
// features, which needs no root at all.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Random } from "../../src/core/index.ts";
import { frechetDistance, GaussianSums } from "../../src/evaluation/index.ts";

/** Features by formula, exact in f32. */
function features(count: number, width: number, k: number): Float32Array[] {
  return Array.from({ length: count }, (_, i) =>
    Float32Array.from(
      { length: width },
      (_, j) => ((i * i * (j + 3) + 7 * i * j * j + 13 * j * k + 5 * k * i ** 3) % 101) / 16 + (k * (j % 3)) / 8,
    ),
  );
}

function gaussianOf(rows: readonly Float32Array[], block = 7) {
  const sums = new GaussianSums(rows[0]!.length);
  for (let at = 0; at < rows.length; at += block) sums.add(rows.slice(at, at + block));
  return sums.finish()!;
}

describe("NumPy's numbers", () => {
  test.each([
    ["of more samples than features", 60, 12, 6.516507261411107],
    ["of fewer samples than features", 9, 20, 83.38334904994844],
    ["of more blocks than one", 200, 64, 74.12252195224966],
  ])("%s", (_, count, width, distance) => {
    const [a, b] = [gaussianOf(features(count, width, 1)), gaussianOf(features(count, width, 2))];
    expect(frechetDistance(a, b)).toBeCloseTo(distance, 8);
    expect(frechetDistance(b, a)).toBeCloseTo(distance, 8);
  });
});

test("of two normal distributions with diagonal covariances it is that of their deviations", () => {
  const diagonal = (deviations: readonly number[], mean: readonly number[]) => ({
    count: 100,
    mean: Float64Array.from(mean),
    covariance: Float64Array.from({ length: 9 }, (_, i) => (i % 4 === 0 ? deviations[i / 4]! ** 2 : 0)),
  });
  const distance = frechetDistance(diagonal([1, 2, 0], [0, 0, 1]), diagonal([3, 2, 5], [2, 0, 0]));
  expect(distance).toBeCloseTo((1 - 3) ** 2 + 25 + 4 + 1, 12);
});

test("equal features have no distance, however they are cut into blocks", () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 2, max: 30 }), fc.integer({ min: 1, max: 9 }), (seed, count, block) => {
      const random = new Random(seed);
      const rows = Array.from({ length: count }, () => Float32Array.from({ length: 8 }, () => random.normal()));
      expect(frechetDistance(gaussianOf(rows), gaussianOf(rows, block))).toBeLessThan(1e-6);
    }),
    { numRuns: 50 },
  );
});

test("large means lose no digits of small covariances", () => {
  const rows = features(40, 5, 1).map((row) => row.map((value) => 2 ** 18 + value));
  const small = gaussianOf(features(40, 5, 1)).covariance;
  expect([...gaussianOf(rows).covariance]).toEqual([...small].map((value) => expect.closeTo(value, 9)));
});

test("one row has no covariance, and features that are no numbers are refused", () => {
  const sums = new GaussianSums(2);
  sums.add([Float32Array.of(1, 2)]);
  expect(sums.finish()).toBeUndefined();
  expect(() => sums.add([Float32Array.of(1, Number.NaN)])).toThrow(expect.objectContaining({ code: "DATA_INVALID" }));
});
