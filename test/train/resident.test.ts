// Parameters that stay with the backend: the update as a graph against the one in JavaScript, and checkpoints of either.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type NDArray, ndarray, Random, sizeOf } from "../../src/core/index.ts";
import { Graph } from "../../src/graph/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import type { ContrastiveTrainer } from "../../src/train/contrastive-trainer.ts";
import type { ImageTextBatch } from "../../src/train/image-text-batch.ts";
import { ParameterUpdate, type ParameterUpdateOptions } from "../../src/train/parameter-update.ts";
import { ResidentLearner } from "../../src/train/resident-learner.ts";
import type { TensorMap, TrainerState } from "../../src/train/trainer.ts";
import { goldenBatch, relativeError, tinyTrainer } from "./tiny-training.ts";

const backend = createOrtBackend();
afterAll(() => backend.dispose());

const SHAPES = new Map<string, readonly number[]>([
  ["a.weight", [3, 5]],
  ["a.bias", [5]],
  ["logit_scale", []],
  ["b.weight", [2, 3, 4]],
]);

function optionsOf(changes: Partial<ParameterUpdateOptions>): ParameterUpdateOptions {
  const group = (weightDecay: number, names: readonly string[]) => ({
    weightDecay,
    shapes: new Map(names.map((name) => [name, SHAPES.get(name)!])),
  });
  return {
    groups: [group(0, ["a.bias", "logit_scale"]), group(0.1, ["a.weight"]), group(0.03, ["b.weight"])],
    betas: [0.9, 0.95],
    eps: 1e-6,
    ...changes,
  };
}

function randomArrays(random: Random): Map<string, NDArray<"f32">> {
  const entries = [...SHAPES].map(([name, shape]): [string, NDArray<"f32">] => [
    name,
    ndarray(
      "f32",
      shape,
      Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
    ),
  ]);
  return new Map(entries);
}

/** A "training" whose loss and gradients are fed. */
function fedGradients(): Graph {
  const graph = new Graph();
  for (const [name, shape] of SHAPES) {
    graph.parameter(name, shape);
    graph.output(`d.${name}`, graph.input(`fed.${name}`, "f32", shape));
  }
  graph.output("part.loss", graph.input("fed", "f32", []));
  return graph;
}

const scalar = (value: number) => ndarray("f32", [], Float32Array.of(value));

function createLearner(parameters: Map<string, NDArray<"f32">>, update: ParameterUpdateOptions) {
  const frozen = () => Promise.reject(new Error("nothing is frozen"));
  return ResidentLearner.create({ backend, parameters, graph: fedGradients, update, frozen });
}

function feedsOf(gradients: ReadonlyMap<string, NDArray>, loss = 1): Record<string, NDArray> {
  const fed = [...gradients].map(([name, gradient]) => [`fed.${name}`, gradient]);
  return { ...Object.fromEntries(fed), fed: scalar(loss) };
}

const elements = (arrays: TensorMap) => new Map([...arrays].map(([name, { data }]) => [name, data as Float32Array]));

function expectClose(actual: TensorMap, expected: TensorMap, tolerance: number): void {
  expect([...actual.keys()]).toEqual([...expected.keys()]);
  for (const [name, { shape, data }] of actual) {
    expect(shape, name).toEqual(expected.get(name)!.shape);
    const error = relativeError(data as Float32Array, expected.get(name)!.data as Float32Array);
    expect(error, name).toBeLessThanOrEqual(tolerance);
  }
}

describe("the update in the graph is the update in JavaScript", () => {
  test.each<[string, Partial<ParameterUpdateOptions>]>([
    ["plain", {}],
    ["gradients clipped", { clipNorm: 0.5 }],
    ["gradients under the limit", { clipNorm: 1000 }],
    ["averaged", { ema: { decay: 0.9 } }],
    ["averaged with a warm-up", { ema: { decay: 0.99, warmup: true } }],
    ["a parameter held in a range", { clamps: { logit_scale: [-0.01, 0.01] } }],
    [
      "all of it",
      { clipNorm: 2, ema: { decay: 0.5 }, clamps: { logit_scale: [0, 0.1] }, betas: [0.5, 0.999], eps: 1e-8 },
    ],
  ])("%s", async (_, changes) => {
    const random = new Random(7);
    const update = optionsOf(changes);
    const parameters = randomArrays(random);
    const learner = await createLearner(new Map(parameters), update);
    const host = new ParameterUpdate(parameters, update);
    for (let step = 0; step < 6; step++) {
      const gradients = randomArrays(random);
      const learningRate = 0.1 / (step + 1);
      const scale = parameters.get("logit_scale")!.data[0]!;
      const report = await learner.step(feedsOf(gradients), learningRate);
      const norm = host.step(parameters, elements(gradients), learningRate);
      expect(Math.abs(report.gradientNorm / norm - 1)).toBeLessThan(1e-6);
      expect(report.logitScale).toBeCloseTo(scale, 6);
      const { files, json } = await learner.state();
      const expected = host.state();
      expect(json).toEqual(expected.json);
      expectClose(files.model!, parameters, 1e-6);
      expectClose(files.optimizer!, expected.files.optimizer!, 1e-6);
      if (update.ema) expectClose(files.ema!, expected.files.ema!, 1e-6);
      expectClose(await learner.trained("ema"), files.ema ?? files.model!, 0);
    }
    await learner.dispose();
  });

  test.each([
    ["a loss", Number.NaN, undefined],
    ["a loss", Number.POSITIVE_INFINITY, undefined],
    ["a gradient", 1, Number.NaN],
    ["a gradient", 1, Number.NEGATIVE_INFINITY],
  ])("%s that is no number (%d, %d) changes nothing", async (_, loss, element) => {
    const random = new Random(3);
    const learner = await createLearner(randomArrays(random), optionsOf({ ema: { decay: 0.9 } }));
    await learner.step(feedsOf(randomArrays(random)), 0.1);
    const before = await learner.state();
    const gradients = randomArrays(random);
    if (element !== undefined) gradients.get("b.weight")!.data[5] = element;
    const { gradientNorm } = await learner.step(feedsOf(gradients, loss), 0.1);
    expect(Number.isFinite(gradientNorm)).toBe(false);
    expect(await learner.state()).toEqual(before);
    await learner.step(feedsOf(randomArrays(random)), 0.1);
    expect((await learner.state()).files).not.toEqual(before.files);
    await learner.dispose();
  });

  test("a state whose parameters have made different numbers of steps is refused, and changes nothing", async () => {
    const random = new Random(5);
    const learner = await createLearner(randomArrays(random), optionsOf({}));
    await learner.step(feedsOf(randomArrays(random)), 0.1);
    const { files, json } = await learner.state();
    const { steps } = (json as { optimizer: { steps: Record<string, number> } }).optimizer;
    const uneven = { optimizer: { steps: { ...steps, "a.bias": 2 } }, ema: null };
    await expect(learner.restore({ files, json: uneven })).rejects.toMatchObject({ code: "CHECKPOINT_MISMATCH" });
    expect(await learner.state()).toEqual({ files, json });
    await learner.dispose();
  });
});

describe("the tiny TokLIP with its parameters kept by the backend", () => {
  const changes = {
    optimizer: { betas: [0.9, 0.95], eps: 1e-6, weightDecay: 0.1, clipNorm: 1 },
    ema: { decay: 0.9, warmup: true },
  } as const;
  let batch: ImageTextBatch;
  beforeAll(async () => {
    batch = await goldenBatch();
  });

  const stepped = async (trainer: ContrastiveTrainer, from: number, to: number) => {
    const reports = [];
    for (let step = from; step < to; step++) reports.push(await trainer.step(batch, { step, total: 10 }));
    return reports;
  };

  /** Gradients of K biases are zero but for rounding, which Adam turns into steps. */
  const withoutKeys = (tensors: TensorMap) => new Map([...tensors].filter(([name]) => !/kv\.bias/.test(name)));

  function expectAlike(actual: TrainerState, expected: TrainerState): void {
    expect(Object.keys(actual.files)).toEqual(Object.keys(expected.files));
    expect(JSON.stringify(actual.json)).toBe(JSON.stringify(expected.json));
    for (const file of ["model", "ema"]) {
      expectClose(withoutKeys(actual.files[file]!), withoutKeys(expected.files[file]!), 1e-6);
    }
    expect([...actual.files.optimizer!.keys()]).toEqual([...expected.files.optimizer!.keys()]);
  }

  async function* once(): AsyncGenerator<ImageTextBatch> {
    yield batch;
  }

  test("makes the steps of the trainer in JavaScript, and evaluates as it does", async () => {
    const host = await tinyTrainer(backend, changes);
    const resident = await tinyTrainer(backend, { ...changes, resident: true });
    expectAlike(await resident.trainer.state(), await host.trainer.state());
    const expected = await stepped(host.trainer, 0, 4);
    for (const [step, report] of (await stepped(resident.trainer, 0, 4)).entries()) {
      expect(Math.abs(report.loss / expected[step]!.loss - 1)).toBeLessThan(1e-6);
      expect(Math.abs(report.gradientNorm / expected[step]!.gradientNorm - 1)).toBeLessThan(2e-6);
      expect(report.learningRate).toBe(expected[step]!.learningRate);
      expect(Object.keys(report.parts)).toEqual(Object.keys(expected[step]!.parts));
    }
    expectAlike(await resident.trainer.state(), await host.trainer.state());
    await resident.trainer.restore(await host.trainer.state());
    expect(await resident.trainer.evaluate(once())).toEqual(await host.trainer.evaluate(once()));
    await host.close();
    await resident.close();
  });

  test.each([
    ["JavaScript to the backend", false, true],
    ["the backend to JavaScript", true, false],
    ["one backend to another", true, true],
  ])("a checkpoint goes from %s", async (_, before, after) => {
    const first = await tinyTrainer(backend, { ...changes, resident: before });
    await stepped(first.trainer, 0, 2);
    const { files, json } = await first.trainer.state();
    const copies = Object.entries(files).map(([file, tensors]) => [file, copyOf(tensors)]);
    const saved: TrainerState = { files: Object.fromEntries(copies), json: JSON.parse(JSON.stringify(json)) };
    const second = await tinyTrainer(backend, { ...changes, resident: after });
    await second.trainer.restore(saved);
    expect((await second.trainer.state()).files).toEqual(saved.files);
    await stepped(first.trainer, 2, 3);
    await stepped(second.trainer, 2, 3);
    const [went, came] = [await first.trainer.state(), await second.trainer.state()];
    if (before === after) expect(came).toEqual(went);
    else expectAlike(came, went);
    await first.close();
    await second.close();
  });

  test("takes no batch in parts", async () => {
    const trainer = tinyTrainer(backend, { resident: true, partSize: 1 });
    await expect(trainer).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
  });
});

function copyOf(tensors: TensorMap): TensorMap {
  return new Map([...tensors].map(([name, array]) => [name, { ...array, data: array.data.slice() } as NDArray]));
}
