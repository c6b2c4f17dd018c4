import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { shareMetric, wilsonInterval } from "../../src/evaluation/statistics.ts";

describe("the interval of a share", () => {
  // Newcombe, Statistics in Medicine 17 (1998), table I, method 3: Wilson's without continuity correction.
  it.each([
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ])("of %i in %i is as published", (hits, count, low, high) => {
    const interval = wilsonInterval(hits, count);
    expect(interval[0]).toBeCloseTo(low, 4);
    expect(interval[1]).toBeCloseTo(high, 4);
  });

  it("holds the share, lies in [0, 1], and mirrors when hits and misses change places", () => {
    const cases = fc
      .integer({ min: 1, max: 1e6 })
      .chain((count) => fc.tuple(fc.integer({ min: 0, max: count }), fc.constant(count)));
    fc.assert(
      fc.property(cases, ([hits, count]) => {
        const [low, high] = wilsonInterval(hits, count);
        expect(low).toBeGreaterThanOrEqual(0);
        expect(high).toBeLessThanOrEqual(1);
        expect(high).toBeGreaterThan(low);
        expect(hits / count).toBeGreaterThanOrEqual(low - 1e-15);
        expect(hits / count).toBeLessThanOrEqual(high + 1e-15);
        const [mirroredLow, mirroredHigh] = wilsonInterval(count - hits, count);
        expect(1 - mirroredHigh).toBeCloseTo(low, 12);
        expect(1 - mirroredLow).toBeCloseTo(high, 12);
      }),
    );
  });

  it("is not there where nothing was seen", () => {
    expect(shareMetric("top1", 0, 0, "")).toEqual({ name: "top1", unit: "share", count: 0, meaning: "", value: null });
  });
});
