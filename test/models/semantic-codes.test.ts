// Residual quantisation of features: codebooks that are fitted, codes that are nearest.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ndarray, Random } from "../../src/core/index.ts";
import { interpretGraph } from "../../src/graph/index.ts";
import { fitSemanticCodebooks, kMeans, semanticCodebookName, traceSemanticCodes } from "../../src/models/index.ts";
import { normals, tinyAr } from "../ar-models.ts";

const points = (list: readonly (readonly number[])[]) =>
  ndarray("f32", [list.length, list[0]!.length], Float32Array.from(list.flat()));

/** Rows of an array as lists, sorted. */
const sorted = (data: Float32Array, width: number) =>
  Array.from({ length: data.length / width }, (_, i) => [...data.subarray(i * width, (i + 1) * width)]).sort(
    (a, b) => a[0]! - b[0]! || a[1]! - b[1]!,
  );

/** Rows around four far corners. */
function clouds(): ReturnType<typeof points> {
  const random = new Random(8);
  const corners = [
    [0, 0],
    [0, 50],
    [50, 0],
    [50, 50],
  ];
  return points(Array.from({ length: 200 }, (_, i) => corners[i % 4]!.map((x) => x + random.normal())));
}

describe("k-means", () => {
  test.each([1, 2, 3, 4, 5])("finds clouds that are far from each other: seed %d", (seed) => {
    const { data } = kMeans(clouds(), 4, { seed });
    expect(
      sorted(
        data.map((x) => Math.abs(Math.round(x / 10) * 10)),
        2,
      ).map(String),
    ).toEqual(["0,0", "0,50", "50,0", "50,50"]);
  });

  test("ends where each centre is the mean of its rows, and each row is with its nearest", () => {
    const rows = normals("rows", [60, 3]);
    const centres = kMeans(rows, 5, { seed: 3, iterations: 100 });
    const nearest = Array.from({ length: 60 }, (_, i) => {
      const distances = Array.from({ length: 5 }, (__, k) =>
        [0, 1, 2].reduce((sum, n) => sum + (rows.data[i * 3 + n]! - centres.data[k * 3 + n]!) ** 2, 0),
      );
      return distances.indexOf(Math.min(...distances));
    });
    for (let k = 0; k < 5; k++) {
      const own = nearest.flatMap((centre, i) => (centre === k ? [i] : []));
      expect(own.length).toBeGreaterThan(0);
      for (let n = 0; n < 3; n++) {
        const mean = own.reduce((sum, i) => sum + rows.data[i * 3 + n]!, 0) / own.length;
        expect(centres.data[k * 3 + n]).toBeCloseTo(mean, 5);
      }
    }
  });

  test("depends on rows and seed alone", () => {
    const rows = normals("rows", [80, 4]);
    expect(kMeans(rows, 9, { seed: 1 })).toEqual(kMeans(rows, 9, { seed: 1 }));
    expect(kMeans(rows, 9, { seed: 1 }).data).not.toEqual(kMeans(rows, 9, { seed: 2 }).data);
  });

  test("has every row for a centre when there are as many, and some twice when there are more", () => {
    const rows = points([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    expect(sorted(kMeans(rows, 3, { seed: 0 }).data, 2)).toEqual(sorted(rows.data, 2));
    const more = sorted(kMeans(rows, 5, { seed: 0 }).data, 2).map(String);
    expect(new Set(more)).toEqual(new Set(["1,2", "3,4", "5,6"]));
  });

  test("refuses what has no centre", () => {
    expect(() => kMeans(ndarray("f32", [0, 4]), 2, { seed: 0 })).toThrow("[SHAPE_MISMATCH]");
    expect(() => kMeans(points([[1, Number.NaN]]), 2, { seed: 0 })).toThrow("[ARGUMENT_INVALID]");
  });
});

describe("semantic codes", () => {
  const config = tinyAr("semantic-codes", { semantic_codes: { levels: 3, size: 7 } });
  const features = normals("features", [120, 6]);
  const { codebooks, left } = fitSemanticCodebooks(features, config.semanticCodes!, { seed: 4 });
  const weights = new Map(codebooks.map((codebook, level) => [semanticCodebookName(level), codebook]));
  const outputs = interpretGraph(traceSemanticCodes(config), { features }, (name) => weights.get(name));
  const [codes, quantized] = [outputs.get("codes")!, outputs.get("quantized")!];

  test("leave less with each level, and what is left is what was measured", () => {
    expect(left).toHaveLength(3);
    expect(left[0]).toBeLessThan(1);
    expect(left[1]).toBeLessThan(left[0]!);
    expect(left[2]).toBeLessThan(left[1]!);
    let [rest, whole] = [0, 0];
    const mean = [0, 1, 2, 3, 4, 5].map((n) =>
      features.data.reduce((sum, x, i) => sum + (i % 6 === n ? x / 120 : 0), 0),
    );
    features.data.forEach((x, i) => {
      rest += (x - quantized.data[i]!) ** 2;
      whole += (x - mean[i % 6]!) ** 2;
    });
    expect(rest / whole).toBeCloseTo(left[2]!, 5);
  });

  test("are the nearest rows of each level to what the levels before leave", () => {
    expect(codes.shape).toEqual([120, 3]);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 119 }), fc.integer({ min: 0, max: 2 }), fc.nat(6), (row, level, other) => {
        const rest = features.data.slice(row * 6, row * 6 + 6);
        for (let before = 0; before < level; before++) {
          const code = codes.data[row * 3 + before]!;
          rest.forEach((_, n) => {
            rest[n]! -= codebooks[before]!.data[code * 6 + n]!;
          });
        }
        const distance = (code: number) =>
          rest.reduce((sum, x, n) => sum + (x - codebooks[level]!.data[code * 6 + n]!) ** 2, 0);
        expect(distance(codes.data[row * 3 + level]!)).toBeLessThanOrEqual(distance(other) + 1e-6);
      }),
    );
  });

  test("there are none of another entry", () => {
    expect(() => traceSemanticCodes(tinyAr("toklip"))).toThrow(
      "the entry toklip has no semantic codes [GRAPH_INVALID]",
    );
  });
});
