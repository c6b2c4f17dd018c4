// A perceptual distance on a network in an ONNX file: its value by hand, and the VQ trained with it.
import { afterAll, expect, test } from "vitest";
import { type NDArray, ndarray, Random, sizeOf } from "../../src/core/index.ts";
import { Graph, interpretGraph, relu } from "../../src/graph/index.ts";
import type { VqConfig } from "../../src/models/index.ts";
import { conv2d, Scope } from "../../src/nn/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { lowerGraph, readOnnx, writeOnnx } from "../../src/onnx/index.ts";
import { perceptualNetwork } from "../../src/train/perceptual-network.ts";
import { createSchedule } from "../../src/train/schedule.ts";
import { createVqTrainer } from "../../src/train/vq-assembly.ts";

const backend = createOrtBackend();
afterAll(() => backend.dispose());

const random = new Random(7);
const noise = (shape: readonly number[], scale: number): NDArray<"f32"> =>
  ndarray(
    "f32",
    shape,
    Float32Array.from({ length: sizeOf(shape) }, () => random.normal() * scale),
  );

/** A network of two convolutions, as someone's exporter would write it. */
function networkFile(): Uint8Array {
  const graph = new Graph();
  const scope = new Scope(graph, "net.");
  const pixels = graph.input("image", "f32", ["N", 3, 32, 32]);
  const first = relu(conv2d(scope.at("0"), pixels, 8, 3, { stride: [2, 2], pads: [1, 1, 1, 1] }));
  graph.output("shallow", first);
  graph.output("deep", relu(conv2d(scope.at("2"), first, 16, 3, { stride: [2, 2], pads: [1, 1, 1, 1] })));
  const values = new Map([...graph.parameters].map(([name, { shape }]) => [name, noise(shape as number[], 0.3)]));
  return writeOnnx(lowerGraph(graph, "features", (name) => ({ kind: "embedded", value: values.get(name)! })));
}

const model = readOnnx(networkFile());

test("equal pictures are at distance 0, others by the cosine of their features", () => {
  const { distance, weight } = perceptualNetwork(model, { features: ["shallow"] });
  const graph = new Graph();
  const [a, b] = ["a", "b"].map((name) => graph.input(name, "f32", [2, 3, 32, 32]));
  graph.output("distance", distance(new Scope(graph).at("perceptual"), a!, b!));
  const pictures = { a: noise([2, 3, 32, 32], 0.5), b: noise([2, 3, 32, 32], 0.5) };
  const run = (feeds: Record<"a" | "b", NDArray>) => interpretGraph(graph, feeds, weight).get("distance")!.data;
  expect(Math.max(...run({ a: pictures.a, b: pictures.a }))).toBeLessThan(1e-12);
  const found = run(pictures);
  // By hand: 2 - 2 cos of the feature vectors at each place, where both are not zero; the mean over places.
  const features = new Graph();
  const fed = features.input("x", "f32", [2, 3, 32, 32]);
  const conv = conv2d(new Scope(features, "perceptual.net.").at("0"), fed, 8, 3, {
    stride: [2, 2],
    pads: [1, 1, 1, 1],
  });
  features.output("y", relu(conv));
  const scaled = ({ shape, data }: NDArray<"f32">) => {
    const [mean, std] = [
      [0.485, 0.456, 0.406],
      [0.229, 0.224, 0.225],
    ];
    const channel = (i: number) => Math.floor(i / 1024) % 3;
    return ndarray(
      "f64",
      shape,
      Float64Array.from(data, (x, i) => (x / 2 + 0.5 - mean[channel(i)]!) / std[channel(i)]!),
    );
  };
  const [fa, fb] = [pictures.a, pictures.b].map(
    (x) => interpretGraph(features, { x: scaled(x) }, weight).get("y")!.data,
  );
  for (let n = 0; n < 2; n++) {
    let sum = 0;
    for (let place = 0; place < 256; place++) {
      const at = (data: Float64Array) => Array.from({ length: 8 }, (_, c) => data[(n * 8 + c) * 256 + place]!);
      const unit = (v: number[]) => v.map((x) => x / (Math.hypot(...v) + 1e-10));
      const [u, v] = [unit(at(fa!)), unit(at(fb!))];
      sum += u.reduce((total, x, c) => total + (x - v[c]!) ** 2, 0);
    }
    expect(found[n]).toBeCloseTo(sum / 256, 6);
  }
});

test("a VQ trains against it, and does not hold its weights", async () => {
  const { distance, weight } = perceptualNetwork(model);
  const config: VqConfig = {
    type: "llamagen",
    ch: 32,
    chMult: [1],
    numResBlocks: 1,
    zChannels: 8,
    codebookSize: 32,
    embedDim: 4,
    stem: 8,
  };
  const { trainer } = await createVqTrainer({
    backend,
    config,
    imageSize: 32,
    loss: {
      reconstruction: "l2",
      reconstructionWeight: 1,
      perceptualWeight: 1,
      perceptual: distance,
      beta: 0.25,
      entropyRatio: 0,
      entropyTemperature: 0.01,
    },
    checkpoints: [],
    perceptualWeights: weight,
    optimizer: { betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0, clipNorm: 1 },
    schedule: createSchedule("constant", { learningRate: 2e-3 }),
    codebook: { patience: 100, reviveEvery: 0 },
    seed: 1,
    batchSize: 4,
  });
  const pixels = noise([4, 3, 32, 32], 0.4);
  const perceptual: number[] = [];
  for (let step = 0; step < 25; step++) {
    perceptual.push((await trainer.step({ pixels }, { step, total: 25 })).parts.perceptual!);
  }
  expect(perceptual.at(-1)!).toBeLessThan(0.8 * perceptual[0]!);
  expect([...trainer.state().files.model!.keys()].some((name) => name.startsWith("perceptual."))).toBe(false);
  await trainer.dispose();
});
