// The contrastive losses: the reference's number, the formulas written out in plain loops, and their gradients.
import { describe, expect, test } from "vitest";
import { type NDArray, ndarray, Random } from "../../src/core/index.ts";
import { Graph, gradients, interpretGraph, l2Normalize, type Tensor } from "../../src/graph/index.ts";
import {
  LOGIT_SCALE_RANGE,
  SIGMOID_LOGIT_BIAS_INIT,
  SIGMOID_LOGIT_SCALE_INIT,
  sigmoidContrastiveLoss,
  softmaxContrastiveLoss,
} from "../../src/losses/index.ts";
import { goldenJson, goldenTensors } from "../goldens.ts";

const BATCH = 5;
const WIDTH = 7;

interface Inputs {
  readonly images: number[][];
  readonly texts: number[][];
  readonly logitScale: number;
  readonly logitBias: number;
  readonly concepts: number[];
}

/** Random unit features, and concepts of which some come twice or thrice. */
function randomInputs(seed: number): Inputs {
  const random = new Random(seed);
  const rows = () =>
    Array.from({ length: BATCH }, () => {
      const row = Array.from({ length: WIDTH }, () => random.uniform() - 0.5);
      const norm = Math.hypot(...row);
      return row.map((value) => value / norm);
    });
  const concepts = Array.from({ length: BATCH }, () => random.integer(3));
  return { images: rows(), texts: rows(), logitScale: 1.3, logitBias: -0.7, concepts };
}

function feedsOf({ images, texts, logitScale, logitBias, concepts }: Inputs): Record<string, NDArray> {
  const f64 = (shape: number[], values: number[]) => ndarray("f64", shape, Float64Array.from(values));
  return {
    images: f64([BATCH, WIDTH], images.flat()),
    texts: f64([BATCH, WIDTH], texts.flat()),
    scale: f64([], [logitScale]),
    bias: f64([], [logitBias]),
    concepts: ndarray("i32", [BATCH], Int32Array.from(concepts)),
  };
}

type Kind = "softmax" | "sigmoid";

/** A graph of one loss, fed with features, and the gradients of all that is fed. */
function trace(kind: Kind, { withConcepts = true, batch = BATCH, width = WIDTH } = {}): Graph {
  const graph = new Graph();
  const imageFeatures = graph.input("images", "f32", [batch, width]);
  const textFeatures = graph.input("texts", "f32", [batch, width]);
  const logitScale = graph.input("scale", "f32", []);
  const concepts = graph.input("concepts", "i32", [batch]);
  const bias = graph.input("bias", "f32", []);
  const pair = { imageFeatures, textFeatures, logitScale, ...(withConcepts && { concepts }) };
  const loss = kind === "softmax" ? softmaxContrastiveLoss(pair) : sigmoidContrastiveLoss(pair, bias);
  graph.output("loss", loss);
  const wrt: Record<string, Tensor> = { images: imageFeatures, texts: textFeatures, scale: logitScale };
  if (kind === "sigmoid") wrt.bias = bias;
  gradients(loss, Object.values(wrt)).forEach((gradient, i) => {
    graph.output(`grad.${Object.keys(wrt)[i]}`, gradient);
  });
  return graph;
}

const dot = (a: number[], b: number[]) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/** The losses again, in loops. */
const PLAIN: Record<Kind, (inputs: Inputs) => number> = {
  softmax: ({ images, texts, logitScale, concepts }) => {
    const oneWay = (from: number[][], to: number[][]) =>
      from.reduce((sum, row, i) => {
        const logits = to.map((other) => Math.exp(logitScale) * dot(row, other));
        const total = Math.log(logits.reduce((all, logit) => all + Math.exp(logit), 0));
        const same = logits.filter((_, j) => concepts[j] === concepts[i]);
        return sum + same.reduce((all, logit) => all + total - logit, 0) / same.length / BATCH;
      }, 0);
    return (oneWay(images, texts) + oneWay(texts, images)) / 2;
  },
  sigmoid: ({ images, texts, logitScale, logitBias, concepts }) => {
    let sum = 0;
    images.forEach((image, i) => {
      texts.forEach((text, j) => {
        const z = concepts[i] === concepts[j] ? 1 : -1;
        sum += Math.log(1 + Math.exp(-z * (Math.exp(logitScale) * dot(image, text) + logitBias)));
      });
    });
    return sum / BATCH;
  },
};

test("the softmax loss is the reference's", async () => {
  const golden = await goldenTensors("train/golden_train.safetensors");
  const { first_step_losses_fp64: losses } = goldenJson("train/golden_train.json") as {
    first_step_losses_fp64: { contrastive_loss: number };
  };
  const [images, texts] = [await golden("loss_in.image_features"), await golden("loss_in.text_features")];
  const scale = (await golden("loss_in.logit_scale")).data[0] as number; // the reference stores e to the parameter
  const [batch, width] = images.shape as [number, number];
  const graph = trace("softmax", { withConcepts: false, batch, width });
  const outputs = interpretGraph(graph, {
    images,
    texts,
    scale: ndarray("f64", [], Float64Array.of(Math.log(scale))),
    bias: ndarray("f64", [], Float64Array.of(0)),
    concepts: ndarray("i32", [batch], new Int32Array(batch)),
  });
  const loss = outputs.get("loss")!.data[0]!;
  expect(Math.abs(loss / losses.contrastive_loss - 1)).toBeLessThan(1e-6);
});

describe.each<Kind>(["softmax", "sigmoid"])("the %s loss", (kind) => {
  const lossOf = (inputs: Inputs, options = {}) =>
    interpretGraph(trace(kind, options), feedsOf(inputs)).get("loss")!.data[0]!;

  test("is its formula, with pairs of one concept as positives", () => {
    for (let seed = 0; seed < 5; seed++) {
      const inputs = randomInputs(seed);
      expect(lossOf(inputs)).toBeCloseTo(PLAIN[kind](inputs), 12);
    }
  });

  test("without concepts is the loss of concepts that all differ", () => {
    const inputs = { ...randomInputs(7), concepts: [4, 0, 9, 2, 1] };
    expect(lossOf(inputs, { withConcepts: false })).toBe(lossOf(inputs));
  });

  test("depends on which concepts are equal and not on their numbers", () => {
    const inputs = randomInputs(8);
    expect(lossOf({ ...inputs, concepts: [0, 1, 0, 2, 1] })).toBe(
      lossOf({ ...inputs, concepts: [5, -3, 5, 70000, -3] }),
    );
    expect(lossOf({ ...inputs, concepts: [0, 1, 0, 2, 1] })).not.toBe(lossOf({ ...inputs, concepts: [0, 1, 2, 2, 1] }));
  });

  test("has the gradients that differences show", () => {
    const inputs = randomInputs(9);
    const feeds = feedsOf(inputs);
    const outputs = interpretGraph(trace(kind), feeds);
    for (const name of kind === "sigmoid" ? ["images", "texts", "scale", "bias"] : ["images", "texts", "scale"]) {
      const gradient = outputs.get(`grad.${name}`)!.data;
      gradient.forEach((slope, i) => {
        const at = (step: number) => {
          const { shape, data } = feeds[name]! as NDArray<"f64">;
          const moved = { ...feeds, [name]: ndarray("f64", shape, data.with(i, data[i]! + step)) };
          return interpretGraph(trace(kind), moved).get("loss")!.data[0]!;
        };
        // The graph's own constants, such as 1/B, are f32: 6e-8 of the value.
        expect((at(1e-5) - at(-1e-5)) / 2e-5, `${name}[${i}]`).toBeCloseTo(slope, 7);
      });
    }
  });

  test("keeps finite numbers where the features agree wholly and the scale is at its limit", () => {
    const row = Array.from({ length: WIDTH }, (_, i) => Number(i === 0));
    const same = Array.from({ length: BATCH }, () => row);
    const graph = trace(kind);
    const feeds = feedsOf({
      images: same,
      texts: same,
      logitScale: Math.log(100),
      logitBias: -10,
      concepts: [0, 1, 2, 3, 4],
    });
    for (const { data } of interpretGraph(graph, feeds).values()) expect(data.every(Number.isFinite)).toBe(true);
  });
});

test("the constants are those of the papers", () => {
  expect(LOGIT_SCALE_RANGE.map(Math.exp)).toEqual([1, expect.closeTo(100, 10)]);
  expect(Math.exp(SIGMOID_LOGIT_SCALE_INIT)).toBeCloseTo(10, 12);
  expect(SIGMOID_LOGIT_BIAS_INIT).toBe(-10);
});

test("features of any length may come in normalised inside the graph", () => {
  const graph = new Graph();
  const raw = graph.input("raw", "f32", [2, 3]);
  const imageFeatures = l2Normalize(raw);
  const logitScale = graph.input("scale", "f32", []);
  const loss = softmaxContrastiveLoss({ imageFeatures, textFeatures: imageFeatures, logitScale });
  graph.output("loss", loss);
  const lossOf = (factor: number) =>
    interpretGraph(graph, {
      raw: ndarray(
        "f64",
        [2, 3],
        Float64Array.of(1, 2, 3, -1, 0, 1).map((value) => value * factor),
      ),
      scale: ndarray("f64", [], Float64Array.of(1)),
    }).get("loss")!.data[0]!;
  expect(lossOf(5)).toBeCloseTo(lossOf(1), 12);
});
