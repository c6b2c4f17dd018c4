// The unified transformer in float64: causality, packing, cached steps, gradients.
import { describe, expect, test } from "vitest";
import { type NDArray, ndarray, Random } from "../../src/core/index.ts";
import { Graph, gradients, interpretGraph } from "../../src/graph/index.ts";
import { weightedTokenLoss } from "../../src/losses/index.ts";
import {
  AR_STEP,
  type ArConfig,
  arLogits,
  arRowInputs,
  arVocabulary,
  placeFeatures,
  traceArGraph,
} from "../../src/models/index.ts";
import { Scope } from "../../src/nn/index.ts";
import { normals, TINY_ARS, tinyAr, tinyWeights } from "../ar-models.ts";
import { maxDifference } from "../goldens.ts";

type Feeds = Record<string, NDArray>;

const i32 = (shape: readonly number[], data: readonly number[]) => ndarray("i32", shape, Int32Array.from(data));
const countFrom = (start: number, length: number) => Array.from({ length }, (_, i) => start + i);

/** Two samples, a picture after text and text after a picture, by their ids. */
const SAMPLES = [
  [1, 9, 14, 3, 20, 29, 23, 20, 4, 2],
  [1, 3, 25, 22, 21, 28, 4, 10, 11, 2],
] as const;

/** A feature of each id of a picture, of the ids up to it, as a causal encoder's would be. */
function featuresOf(ids: readonly number[], { featureWidth, imageTokens }: ArConfig): number[] {
  return ids.flatMap((id, i) => {
    const begin = ids.lastIndexOf(3, i) + 1;
    const inPicture = id >= 20 && i - begin < imageTokens;
    const seen = inPicture ? ids.slice(begin, i + 1).join() : "none";
    return inPicture ? [...normals(seen, [featureWidth]).data] : new Array<number>(featureWidth).fill(0);
  });
}

/** Rows of samples one behind the other, padded to a length. */
function rowsOf(rows: readonly (readonly (readonly number[])[])[], length: number, config: ArConfig): Feeds {
  const shape = [rows.length, length];
  const padded = (of: (sample: readonly number[], i: number) => readonly number[]) =>
    rows.flatMap((samples) =>
      Array.from({ ...samples.flatMap(of), length }, (value: number | undefined) => value ?? 0),
    );
  const ids = padded((sample) => sample);
  const features = rows.flatMap((_, row) => featuresOf(ids.slice(row * length, (row + 1) * length), config));
  return {
    ids: i32(shape, ids),
    segments: i32(
      shape,
      padded((sample, i) => sample.map(() => i + 1)),
    ),
    positions: i32(
      shape,
      padded((sample) => countFrom(0, sample.length)),
    ),
    ...(config.entry !== "vq" && {
      image: ndarray("f32", [...shape, config.featureWidth], Float32Array.from(features)),
    }),
  };
}

/** Logits of whole rows, and how many there are for a position. */
function logitsOf(feeds: Feeds, config: ArConfig): Float64Array {
  const [batch, length] = feeds.ids!.shape as [number, number];
  const graph = new Graph();
  graph.output("logits", arLogits(new Scope(graph), arRowInputs(graph, { batch, length }, config), config));
  const weights = tinyWeights(config);
  return interpretGraph(graph, feeds, (name) => weights.get(name)).get("logits")!.data;
}

describe.each(TINY_ARS)("%s", (_, config) => {
  const { size } = arVocabulary(config);

  test("predicts from what comes before alone", () => {
    const before = logitsOf(rowsOf([[SAMPLES[0]]], 10, config), config);
    for (const [place, id] of [
      [2, 15],
      [5, 27],
      [8, 5],
    ] as [number, number][]) {
      const changed = logitsOf(rowsOf([[(SAMPLES[0] as readonly number[]).with(place, id)]], 10, config), config);
      expect(maxDifference(changed.subarray(0, place * size), before.subarray(0, place * size))).toBe(0);
      expect(maxDifference(changed.subarray(place * size), before.subarray(place * size))).toBeGreaterThan(0.1);
    }
  });

  test("computes packed samples as it does each alone, whatever the padding", () => {
    const packed = logitsOf(rowsOf([[...SAMPLES]], 23, config), config);
    for (const [i, sample] of SAMPLES.entries()) {
      const alone = logitsOf(rowsOf([[sample]], 10, config), config);
      expect(maxDifference(packed.subarray(i * 10 * size, (i + 1) * 10 * size), alone)).toBeLessThan(1e-12);
    }
    expect(packed.every(Number.isFinite)).toBe(true);
  });

  test("gives in cached steps of any sizes what it gives at once, and the scores of given ids", () => {
    const feeds = rowsOf([[SAMPLES[0]], [SAMPLES[1]]], 10, config);
    const whole = logitsOf(feeds, config);
    const steps = [4, 1, 1, 3, 1];
    const places = 12;
    const step = stepper(config, 2, places);
    let at = 0;
    for (const length of steps) {
      const { logits, scores, targets } = step(feeds, at, length);
      for (let row = 0; row < 2; row++) {
        for (let i = 0; i < length; i++) {
          const expected = whole.subarray((row * 10 + at + i) * size).subarray(0, size);
          const got = logits.subarray((row * length + i) * size).subarray(0, size);
          expect(maxDifference(got, expected), `row ${row}, place ${at + i}`).toBeLessThan(1e-12);
          const total = Math.log(expected.reduce((sum, x) => sum + Math.exp(x), 0));
          const target = targets[row * length + i]!;
          expect(scores[row * length + i]).toBeCloseTo(expected[target]! - total, 10);
        }
      }
      at += length;
    }
  });
});

/** Columns `at` to `at + length` of an array (B, L, ...). */
function columns({ dtype, shape, data }: NDArray, at: number, length: number): NDArray {
  const [batch, whole, inner = 1] = shape as [number, number, number?];
  const out = ndarray(dtype as "f32", [batch, length, ...shape.slice(2)]);
  for (let row = 0; row < batch; row++) {
    const begin = (row * whole + at) * inner;
    out.data.set((data as Float32Array).subarray(begin, begin + length * inner), row * length * inner);
  }
  return out;
}

/** Runs cached steps, and keeps their keys and values in float64. */
function stepper(config: ArConfig, batch: number, places: number) {
  const weights = tinyWeights(config);
  const graphs = { logits: traceArGraph("ar_step", config), scores: traceArGraph("ar_score_step", config) };
  const { depth, numKvHeads, width, numHeads } = config;
  const headWidth = width / numHeads;
  const cache = () => Array.from({ length: depth }, () => ndarray("f64", [batch, numKvHeads, places, headWidth]));
  const [keys, values] = [cache(), cache()];
  return (rows: Feeds, at: number, length: number) => {
    const cacheMask = ndarray("f32", [batch, 1, length, places]);
    cacheMask.data.forEach((_, i) => {
      if (i % places >= at) cacheMask.data[i] = Number.NEGATIVE_INFINITY;
    });
    const newMask = ndarray("f32", [batch, 1, length, length]);
    newMask.data.forEach((_, i) => {
      if (i % length > Math.floor(i / length) % length) newMask.data[i] = Number.NEGATIVE_INFINITY;
    });
    const targets = i32(
      [batch, length],
      countFrom(at, batch * length).map((i) => (i * 7) % 30),
    );
    const feeds: Feeds = {
      ids: columns(rows.ids!, at, length),
      positions: columns(rows.positions!, at, length),
      ...(rows.image && { features: columns(rows.image, at, length) }),
      cache_mask: cacheMask,
      new_mask: newMask,
    };
    for (let block = 0; block < depth; block++) {
      feeds[AR_STEP.keys(block)] = keys[block]!;
      feeds[AR_STEP.values(block)] = values[block]!;
    }
    const wanted = i32([length], countFrom(0, length));
    const out = interpretGraph(graphs.logits, { ...feeds, wanted }, (name) => weights.get(name));
    const scored = interpretGraph(graphs.scores, { ...feeds, targets }, (name) => weights.get(name));
    for (const [name, caches] of [
      ["new_keys", keys],
      ["new_values", values],
    ] as const) {
      const { data } = out.get(name)!;
      const span = length * headWidth;
      for (let i = 0; i < data.length / span; i++) {
        const [block, lane] = [Math.floor(i / (batch * numKvHeads)), i % (batch * numKvHeads)];
        const to = (lane * places + at) * headWidth;
        (caches[block]!.data as Float64Array).set(data.subarray(i * span, (i + 1) * span), to);
      }
    }
    return { logits: out.get("logits")!.data, scores: scored.get("scores")!.data, targets: targets.data };
  };
}

describe("the gradients of a packed row", () => {
  const config = tinyAr("toklip+vq");
  const { size } = arVocabulary(config);
  // The feature of each id of two pictures, and where the row has them.
  const features = normals("features", [2, 4, 6]);
  const length = 21;
  const places = i32([1, length], [-1, -1, -1, -1, 0, 1, 2, 3, -1, -1, -1, -1, 4, 5, 6, 7, -1, -1, -1, -1, -1]);
  const feeds: Feeds = (({ image: _, ...rows }) => ({ ...rows, places, pictures: features }))(
    rowsOf([[...SAMPLES]], length, config),
  );
  const targets = [...SAMPLES.flatMap((sample) => [...sample.slice(1), -1]), -1];
  const weights = targets.map((_, i) => (i < 10 ? 0.5 : 2));

  /** The loss of a row and the gradients of some parameters and of the features. */
  function traceLoss(wrt: readonly string[], row: { readonly length: number; readonly total?: number }): Graph {
    const graph = new Graph();
    const { ids, segments, positions } = arRowInputs(graph, { batch: 1, length: row.length }, config, "nothing");
    const pictures = graph.input("pictures", "f32", features.shape);
    const image = placeFeatures(pictures, graph.input("places", "i32", [1, row.length]));
    const logits = arLogits(new Scope(graph), { ids, segments, positions, image }, config);
    const shape = [1, row.length];
    const total = row.total === undefined ? undefined : graph.constant(ndarray("f32", [], Float32Array.of(row.total)));
    const [wanted, weight] = [graph.input("targets", "i32", shape), graph.input("weights", "f32", shape)];
    const loss = weightedTokenLoss(logits, wanted, weight, total);
    graph.output("loss", loss);
    const slopes = gradients(loss, [pictures, ...wrt.map((name) => graph.parameters.get(name)!)]);
    for (const [i, name] of ["pictures", ...wrt].entries()) graph.output(`d.${name}`, slopes[i]!);
    return graph;
  }
  const lossFeeds = {
    ...feeds,
    targets: i32([1, length], targets),
    weights: ndarray("f32", [1, length], Float32Array.from(weights)),
  };
  const start = tinyWeights(config);
  const watched = [
    "tok_embeddings.weight",
    "image_projection.fc1.weight",
    "layers.0.attention.wqkv.weight",
    "output.weight",
  ];
  const graph = traceLoss(watched, { length });
  const results = interpretGraph(graph, lossFeeds, (name) => start.get(name));

  test("are those of finite differences, in the features too", () => {
    const random = new Random(5);
    for (const name of ["pictures", ...watched]) {
      const base = name === "pictures" ? features : start.get(name)!;
      const direction = Float64Array.from({ length: base.data.length }, () => random.normal());
      const lossAt = (h: number) => {
        const moved = Float64Array.from(base.data, (x, i) => x + h * direction[i]!);
        const array = ndarray("f64", base.shape, moved);
        const fed = name === "pictures" ? { ...lossFeeds, pictures: array } : lossFeeds;
        return interpretGraph(graph, fed, (key) => (key === name ? array : start.get(key))).get("loss")!.data[0]!;
      };
      const difference = (lossAt(1e-5) - lossAt(-1e-5)) / 2e-5;
      const along = results.get(`d.${name}`)!.data.reduce((sum, x, i) => sum + x * direction[i]!, 0);
      expect(Math.abs(along)).toBeGreaterThan(1e-3);
      expect(Math.abs(difference / along - 1), name).toBeLessThan(1e-5);
    }
  });

  test("are the sums of those of the samples, which do not know of each other", () => {
    const total = weights.reduce((sum, weight, i) => sum + (targets[i] === -1 ? 0 : weight), 0);
    const parts = SAMPLES.map((_, i) => {
      const alone = traceLoss(watched, { length: 10, total });
      const row = Object.fromEntries(
        Object.entries(lossFeeds).map(([name, array]) => [
          name,
          name === "pictures" ? array : columns(array, 10 * i, 10),
        ]),
      );
      row.segments = i32([1, 10], new Array<number>(10).fill(1));
      return interpretGraph(alone, row, (name) => start.get(name));
    });
    for (const name of ["loss", ...["pictures", ...watched].map((key) => `d.${key}`)]) {
      const sum = results.get(name)!.data.map((_, i) => parts[0]!.get(name)!.data[i]! + parts[1]!.get(name)!.data[i]!);
      expect(maxDifference(results.get(name)!.data, sum), name).toBeLessThan(1e-12);
    }
  });

  test("is a mean by weight of those positions that have a target", () => {
    const logits = logitsOf({ ...feeds, image: placed() }, config);
    let [sum, weight] = [0, 0];
    targets.forEach((target, i) => {
      if (target < 0) return;
      const row = logits.subarray(i * size, (i + 1) * size);
      const total = Math.log(row.reduce((all, x) => all + Math.exp(x), 0));
      sum += weights[i]! * (total - row[target]!);
      weight += weights[i]!;
    });
    expect(results.get("loss")!.data[0]).toBeCloseTo(sum / weight, 10);
  });

  test("are zero, and no NaN, where nothing counts", () => {
    const none = { ...lossFeeds, weights: ndarray("f32", [1, length]) };
    for (const [name, { data }] of interpretGraph(graph, none, (key) => start.get(key))) {
      expect(
        data.every((x) => x === 0),
        name,
      ).toBe(true);
    }
  });

  /** The features as rows have them. */
  function placed(): NDArray<"f32"> {
    const out = ndarray("f32", [1, length, 6]);
    places.data.forEach((place, i) => {
      if (place >= 0) out.data.set(features.data.subarray(place * 6, place * 6 + 6), i * 6);
    });
    return out;
  }
});

test("semantic codes may be given in place of the features that they are made of", () => {
  const config = tinyAr("semantic-codes");
  const feeds = rowsOf([[SAMPLES[0]]], 10, config);
  const expected = logitsOf(feeds, config);
  const weights = tinyWeights(config);
  const { data } = feeds.image as NDArray<"f32">;
  // The nearest row of each codebook to what is left, by distance.
  const codes = Array.from({ length: 10 }, (_, i) => {
    let rest = data.subarray(i * 6, i * 6 + 6);
    return [0, 1].map((level) => {
      const table = weights.get(`semantic_codebooks.${level}.weight`)!.data;
      const rows = countFrom(0, 5).map((row) => table.subarray(row * 6, row * 6 + 6));
      const distances = rows.map((row) => row.reduce((sum, x, j) => sum + (x - rest[j]!) ** 2, 0));
      const nearest = distances.indexOf(Math.min(...distances));
      rest = rest.map((x, j) => x - rows[nearest]![j]!);
      return nearest;
    });
  });
  const graph = new Graph();
  const inputs = arRowInputs(graph, { batch: 1, length: 10 }, config, "codes");
  graph.output("logits", arLogits(new Scope(graph), inputs, config));
  const image = i32([1, 10, 2], codes.flat());
  const got = interpretGraph(graph, { ...feeds, image }, (name) => weights.get(name)).get("logits")!.data;
  expect(maxDifference(got, expected)).toBeLessThan(1e-12);
  expect(new Set(codes.slice(4, 8).flat()).size).toBeGreaterThan(1);
});

test("an entry that reads features needs them", () => {
  const config = tinyAr("toklip");
  const graph = new Graph();
  const { ids, segments, positions } = arRowInputs(graph, { batch: 1, length: 10 }, config, "nothing");
  expect(() => arLogits(new Scope(graph), { ids, segments, positions }, config)).toThrow("no image features are given");
});
