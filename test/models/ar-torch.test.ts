// The unified transformer against PyTorch (interop/unified.py): logits, loss and every gradient of a packed row.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type NDArray, ndarray } from "../../src/core/index.ts";
import { Graph, gradients, interpretGraph } from "../../src/graph/index.ts";
import { weightedTokenLoss } from "../../src/losses/index.ts";
import { AR_BUFFERS, type ArEntry, arLogits, arParameterShapes, arRowInputs } from "../../src/models/index.ts";
import { Scope } from "../../src/nn/index.ts";
import { tinyAr } from "../ar-models.ts";
import { prngWeight } from "../prng-weights.ts";

interface Case {
  readonly entry: ArEntry;
  readonly kv_heads: number;
  readonly loss: number;
  readonly sums: readonly number[];
  readonly gradients: Readonly<Record<string, { readonly l2: number; readonly dot: number }>>;
}

const { cases } = JSON.parse(readFileSync(new URL("./fixtures/ar.json", import.meta.url), "utf8")) as {
  readonly cases: readonly Case[];
};

const SAMPLES = [
  [1, 9, 14, 3, 20, 29, 23, 20, 4, 2],
  [1, 3, 25, 22, 21, 28, 4, 10, 11, 2],
];
const LENGTH = 23;
const row = (values: readonly number[], fill: number) =>
  ndarray(
    "i32",
    [1, LENGTH],
    Int32Array.from({ length: LENGTH }, (_, i) => values[i] ?? fill),
  );
const hashed = (key: string, shape: readonly number[], offset = 0, scale = 1) =>
  prngWeight({ key, shape, offset, scale }, 0);

describe.each(cases)("entry $entry with $kv_heads heads of keys and values equals PyTorch's", (expected) => {
  const config = tinyAr(expected.entry, { kv_heads: expected.kv_heads });
  const graph = new Graph();
  const rows = arRowInputs(graph, { batch: 1, length: LENGTH }, config);
  const logits = arLogits(new Scope(graph), rows, config);
  const loss = weightedTokenLoss(
    logits,
    graph.input("targets", "i32", [1, LENGTH]),
    graph.input("weights", "f32", [1, LENGTH]),
  );
  graph.output("logits", logits);
  graph.output("loss", loss);
  const trained = [...graph.parameters.keys()].filter((name) => !AR_BUFFERS.test(name));
  const slopes = gradients(
    loss,
    trained.map((name) => graph.parameters.get(name)!),
  );
  for (const [i, name] of trained.entries()) graph.output(`d.${name}`, slopes[i]!);
  const weights = new Map(
    [...arParameterShapes(config)].map(([name, shape]): [string, NDArray] => [
      name,
      name.includes("norm") ? hashed(name, shape, 1, 0.2) : hashed(name, shape, 0, 0.4),
    ]),
  );
  const segments = SAMPLES.flatMap((sample, i) => sample.map(() => i + 1));
  const feeds = {
    ids: row(SAMPLES.flat(), 0),
    segments: row(segments, 0),
    positions: row(
      SAMPLES.flatMap((sample) => sample.map((_, i) => i)),
      0,
    ),
    ...(config.entry !== "vq" && { image: hashed("features", [1, LENGTH, 6]) }),
    targets: row(
      SAMPLES.flatMap((sample) => [...sample.slice(1), -1]),
      -1,
    ),
    weights: ndarray(
      "f32",
      [1, LENGTH],
      Float32Array.from({ length: LENGTH }, (_, i) => (segments[i] === 1 ? 0.5 : 2)),
    ),
  };
  const outputs = interpretGraph(graph, feeds, (name) => weights.get(name));

  test("in the logits and the loss", () => {
    const { data } = outputs.get("logits")!;
    const size = data.length / LENGTH;
    expected.sums.forEach((sum, i) => {
      const ours = data.subarray(i * size, (i + 1) * size).reduce((total, x) => total + x, 0);
      expect(Math.abs(ours - sum), `position ${i}`).toBeLessThan(1e-9);
    });
    expect(Math.abs(outputs.get("loss")!.data[0]! - expected.loss)).toBeLessThan(1e-10);
  });

  // Constants in gradients, as those of GELU, are f32.
  test("in the gradient of every parameter", () => {
    expect(trained.toSorted()).toEqual(Object.keys(expected.gradients).toSorted());
    for (const [name, { l2, dot }] of Object.entries(expected.gradients)) {
      const { data, shape } = outputs.get(`d.${name}`)!;
      const direction = hashed(`dot:${name}`, shape).data as Float32Array;
      expect(Math.abs(Math.hypot(...data) - l2), name).toBeLessThan(1e-7);
      expect(Math.abs(data.reduce((sum, x, i) => sum + x * direction[i]!, 0) - dot), name).toBeLessThan(1e-7);
    }
  });
});
