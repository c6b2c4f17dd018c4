// Patch dropout: which patches are left, what the towers make of them, and that evaluation and a dropout of 0 see all.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type NDArray, ndarray, Random, sizeOf } from "../../src/core/index.ts";
import type { Checkpoint } from "../../src/files/index.ts";
import { Graph, interpretGraph, multiplyAdds } from "../../src/graph/index.ts";
import { PREFIXES, pixelEncoder, tokenEncoder, traceGraph } from "../../src/models/index.ts";
import { Scope } from "../../src/nn/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { wholeBatchGraph } from "../../src/train/contrastive-step.ts";
import type { ImageTextBatch } from "../../src/train/image-text-batch.ts";
import { keptCount, keptPatches } from "../../src/train/patch-dropout.ts";
import { parseRunConfig } from "../../src/train/run-config.ts";
import { teacherObjective } from "../../src/train/teacher-objective.ts";
import { toklipObjective } from "../../src/train/toklip-objective.ts";
import { createTeacherTrainer, type TeacherTrainingOptions } from "../../src/train/towers-trainer.ts";
import { goldenConfig, goldenPath, maxDifference, readAll } from "../goldens.ts";
import { relativeError } from "./tiny-training.ts";

const MODEL = goldenConfig("ViT-tiny-16-SigLIP2-64"); // N 16, D 64
const KEYS = ["a", "b", "c", "d"];

describe("the patches that are left", () => {
  const draw = { seed: 3, step: 5, tokens: 16, count: 7 };
  const rowsOf = ({ shape, data }: NDArray<"i32">) =>
    Array.from({ length: shape[0]! }, (_, i) => [...data.subarray(i * shape[1]!, (i + 1) * shape[1]!)]);

  test("are different ones, as many of each picture, rising", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.double({ min: 0, max: 0.99, noNaN: true }), (tokens, share) => {
        const count = keptCount(tokens, share);
        expect(count).toBeGreaterThanOrEqual(1);
        expect(Math.abs(count - tokens * (1 - share))).toBeLessThanOrEqual(1);
        for (const row of rowsOf(keptPatches(KEYS, { ...draw, tokens, count }))) {
          expect(row).toHaveLength(count);
          expect(row).toEqual([...new Set(row)].sort((a, b) => a - b));
          expect(row.every((patch) => patch >= 0 && patch < tokens)).toBe(true);
        }
      }),
    );
    expect([0, 0.1, 0.5, 0.75, 0.99].map((share) => keptCount(16, share))).toEqual([16, 14, 8, 4, 1]);
  });

  test("depend on the seed, the step and the key, and on nothing else", () => {
    const [, b, c] = rowsOf(keptPatches(KEYS, draw));
    expect(rowsOf(keptPatches(["c", "b"], draw))).toEqual([c, b]);
    expect(b).not.toEqual(c);
    for (const other of [{ seed: 4 }, { step: 6 }]) {
      expect(rowsOf(keptPatches(["b"], { ...draw, ...other }))).not.toEqual([b]);
    }
  });

  test("are each of them as likely as another", () => {
    const times = new Array(16).fill(0);
    const keys = Array.from({ length: 4000 }, (_, i) => `key ${i}`);
    for (const patch of keptPatches(keys, { ...draw, count: 4 }).data) times[patch]++;
    // 1000 of each, with a standard deviation of 27.
    for (const count of times) expect(Math.abs(count - 1000)).toBeLessThan(140);
  });
});

/** Pixels of 4 pictures and texts; the same each time. */
function batchOf(): ImageTextBatch {
  const random = new Random(5);
  const { imageSize } = MODEL.trunk;
  const { contextLength, vocabSize } = MODEL.text;
  const fill = (length: number, next: () => number) => Array.from({ length }, next);
  return {
    pixels: ndarray(
      "f32",
      [4, 3, imageSize, imageSize],
      Float32Array.from(fill(4 * 3 * imageSize ** 2, () => random.uniform() * 2 - 1)),
    ),
    textIds: ndarray(
      "i32",
      [4, contextLength],
      Int32Array.from(fill(4 * contextLength, () => random.integer(vocabSize))),
    ),
    concepts: ndarray("i32", [4], Int32Array.of(0, 1, 2, 0)),
    keys: KEYS,
  };
}

describe("the pixel encoder", async () => {
  const checkpoint = await openCheckpointFile(goldenPath("train/teacher.pt"));
  const weights = await readAll(checkpoint);
  await checkpoint.close();
  const pixels = ndarray("f32", [2, 3, 64, 64], batchOf().pixels.data.slice(0, 2 * 3 * 64 * 64));
  const featuresOf = (count: number, kept: readonly number[], of = pixels) => {
    const graph = new Graph();
    const scope = new Scope(graph).at(PREFIXES.trunk);
    const places = graph.input("patches", "i32", [2, count]);
    const { imageFeatures } = pixelEncoder(scope, graph.input("pixels", "f32", [2, 3, 64, 64]), MODEL.trunk, places);
    graph.output("features", imageFeatures);
    const feeds = { pixels: of, patches: ndarray("i32", [2, count], Int32Array.from(kept)) };
    return interpretGraph(graph, feeds, (name) => weights.get(name)).get("features")!.data;
  };
  /** The pictures with the patch in row 1, column 2 of each changed: number 6. */
  const changed = ndarray("f32", pixels.shape, pixels.data.slice());
  for (let i = 0; i < changed.data.length; i++) {
    const [row, column] = [Math.floor(i / 64) % 64, i % 64].map((place) => Math.floor(place / 16));
    if (row === 1 && column === 2) changed.data[i] = -changed.data[i]!;
  }

  test("with all patches is as without saying which", () => {
    const all = Array.from({ length: 32 }, (_, i) => i % 16);
    const whole = interpretGraph(traceGraph("pixel_encoder", MODEL), { pixels }, (name) => weights.get(name));
    expect(maxDifference(featuresOf(16, all), whole.get("image_features")!.data)).toBe(0);
  });

  test("sees of each picture the patches that are left of it, at their own positions", () => {
    const kept = [0, 6, 15, 3, 4, 5];
    const [before, after] = [featuresOf(3, kept), featuresOf(3, kept, changed)];
    const differences = [0, 1].map((i) =>
      maxDifference(before.subarray(i * 64, i * 64 + 64), after.subarray(i * 64, i * 64 + 64)),
    );
    expect(differences[0]).toBeGreaterThan(1e-3); // has patch 6
    expect(differences[1]).toBe(0);
    // The order in which they come is nothing to full attention.
    expect(maxDifference(featuresOf(3, [15, 0, 6, 5, 3, 4]), before)).toBeLessThan(1e-12);
    expect(maxDifference(featuresOf(3, [15, 0, 7, 5, 3, 4]), before)).toBeGreaterThan(1e-3);
  });

  test("refuses patches of a batch whose size is not known", () => {
    const graph = new Graph();
    const places = graph.input("patches", "i32", ["B", 3]);
    const input = graph.input("pixels", "f32", ["B", 3, 64, 64]);
    expect(() => pixelEncoder(new Scope(graph), input, MODEL.trunk, places)).toThrow("[GRAPH_INVALID]");
  });
});

describe("the token encoder", async () => {
  const config = goldenConfig("ViT-tiny-16-SigLIP2-64-toklip");
  const checkpoint = await openCheckpointFile(goldenPath("tiny/tiny.pt"));
  const weights = await readAll(checkpoint);
  await checkpoint.close();
  const ids = Int32Array.from({ length: 16 }, (_, i) => (i * 37) % config.vq!.codebookSize);
  const featuresOf = (kept: readonly number[] | undefined, of = ids) => {
    const graph = new Graph();
    const scope = new Scope(graph).at(PREFIXES.trunk);
    const places = kept && graph.input("patches", "i32", [1, kept.length]);
    graph.output("features", tokenEncoder(scope, graph.input("ids", "i32", [1, 16]), config.trunk, config.vq!, places));
    const feeds = {
      ids: ndarray("i32", [1, 16], of),
      ...(kept && { patches: ndarray("i32", [1, kept.length], Int32Array.from(kept)) }),
    };
    return interpretGraph(graph, feeds, (name) => weights.get(name)).get("features")!.data;
  };

  test("with all tokens is as without saying which", () => {
    const all = Array.from({ length: 16 }, (_, i) => i);
    expect(maxDifference(featuresOf(all), featuresOf(undefined))).toBe(0);
  });

  test("sees the tokens that are left, none after its own", () => {
    const changed = ids.slice();
    changed[6] = changed[6]! + 1;
    const [before, after] = [featuresOf([0, 3, 6, 9]), featuresOf([0, 3, 6, 9], changed)];
    expect(before).toHaveLength(4 * config.trunk.width);
    expect(maxDifference(before.subarray(0, 2 * config.trunk.width), after.subarray(0, 2 * config.trunk.width))).toBe(
      0,
    );
    expect(maxDifference(before.subarray(3 * config.trunk.width), after.subarray(3 * config.trunk.width))).not.toBe(0);
    expect(maxDifference(featuresOf([0, 3, 7, 9], changed), featuresOf([0, 3, 7, 9]))).toBe(0);
  });

  test("is trained on some tokens where a TokLIP's training says so, and not where their features are distilled", () => {
    const encoders = {
      pictures: async () => ({ ids: ndarray("i32", [4, 4, 4], new Int32Array(64)) }),
      texts: async () => ndarray("f32", [4, config.embedDim], new Float32Array(4 * config.embedDim)),
      dispose: async () => {},
    };
    const weightsOf = (tokenDistillation: number) => ({ contrastive: 1, distillation: 0, tokenDistillation });
    const objective = toklipObjective(config, encoders, weightsOf(0), { share: 0.75, seed: 0 });
    expect(objective.towerInputs.patches).toEqual({ dtype: "i32", shape: [4] });
    expect(toklipObjective(config, encoders, weightsOf(0), { share: 0, seed: 0 }).towerInputs).not.toHaveProperty(
      "patches",
    );
    expect(() => toklipObjective(config, encoders, weightsOf(1), { share: 0.5, seed: 0 })).toThrow("[CONFIG_INVALID]");
  });
});

describe("a teacher's training", () => {
  const backend = createOrtBackend({ threads: 2 });
  let checkpoint: Checkpoint;
  beforeAll(async () => {
    checkpoint = await openCheckpointFile(goldenPath("train/teacher.pt"));
  });
  afterAll(async () => {
    await backend.dispose();
    await checkpoint.close();
  });
  const create = async (changes: Partial<TeacherTrainingOptions>) => {
    const { trainer } = await createTeacherTrainer({
      backend,
      model: MODEL,
      checkpoints: [checkpoint],
      seed: 0,
      optimizer: { betas: [0.9, 0.95], eps: 1e-6, weightDecay: 0 },
      logitScaleRange: null,
      schedule: () => 1e-3,
      batchSize: 4,
      loss: "softmax",
      ...changes,
    });
    return trainer;
  };
  const graphOf = (share: number) =>
    wholeBatchGraph(teacherObjective(MODEL, "softmax", { share, seed: 0 }), 4, () => true, false);

  test("with a dropout of 0 is that without one, to the bit", async () => {
    const results = [];
    for (const changes of [{}, { patchDropout: 0 }]) {
      const trainer = await create(changes);
      const { parts, gradients } = await trainer.lossAndGradients(batchOf());
      const bits = [...gradients].map(([name, { buffer }]) => [name, Buffer.from(buffer).toString("base64")]);
      results.push({ parts, bits });
      await trainer.dispose();
    }
    expect(results[1]).toEqual(results[0]);
    expect([...graphOf(0).inputs.keys()]).toEqual(["pixels", "text_ids", "concepts"]);
  });

  test("has the loss and the gradients of the float64 interpreter", async () => {
    const trainer = await create({ patchDropout: 0.5 });
    const begin = await trainer.trained();
    const { parts, gradients } = await trainer.lossAndGradients(batchOf());
    const objective = teacherObjective(MODEL, "softmax", { share: 0.5, seed: 0 });
    const feeds = (await objective.prepare(batchOf(), 0)) as Record<string, NDArray>;
    expect(feeds.patches!.shape).toEqual([4, 8]);
    const exact = interpretGraph(graphOf(0.5), feeds, (name) => begin.get(name));
    expect(parts.contrastive! / exact.get("part.contrastive")!.data[0]!).toBeCloseTo(1, 5);
    const total = Math.hypot(...[...gradients.values()].map((g) => Math.hypot(...g)));
    for (const [name, gradient] of gradients) {
      const expected = exact.get(`d.${name}`)!.data;
      expect(expected.length).toBe(sizeOf(begin.get(name)!.shape));
      // Those of K biases are zero but for rounding; of the others the text tower's first norm is the farthest, 1.3e-5.
      const negligible = Math.hypot(...expected) < 1e-6 * total;
      if (!negligible) expect(relativeError(gradient, expected), name).toBeLessThan(3e-5);
    }
    await trainer.dispose();
  });

  test("is the same in parts, up to rounding", async () => {
    const results = [];
    for (const changes of [{}, { partSize: 2, recompute: true }]) {
      const trainer = await create({ patchDropout: 0.5, ...changes });
      results.push(await trainer.lossAndGradients(batchOf()));
      await trainer.dispose();
    }
    const [whole, parts] = results as [(typeof results)[0], (typeof results)[0]];
    expect(parts.parts.contrastive! / whole.parts.contrastive!).toBeCloseTo(1, 5);
    for (const name of ["patch_embed.proj.weight", "pos_embed", "attn_pool.latent"]) {
      const [a, b] = [parts, whole].map(({ gradients }) => gradients.get(`visual.trunk.${name}`)!);
      expect(relativeError(a!, b!), name).toBeLessThan(1e-5);
    }
  });

  test("draws other patches in each step, the same ones for a seed, and evaluates with all", async () => {
    const lossesOf = async (changes: Partial<TeacherTrainingOptions>) => {
      const trainer = await create({ schedule: () => 0, ...changes });
      const losses: number[] = [];
      for (const step of [1, 2, 1]) losses.push((await trainer.step(batchOf(), { step, total: 9 })).loss);
      const evaluation = await trainer.evaluate(
        (async function* () {
          yield batchOf();
        })(),
      );
      await trainer.dispose();
      return { losses, evaluation };
    };
    const bare = await lossesOf({});
    const { losses, evaluation } = await lossesOf({ patchDropout: 0.5 });
    expect(evaluation).toEqual(bare.evaluation);
    expect(new Set(bare.losses).size).toBe(1);
    expect(losses[2]).toBe(losses[0]);
    expect(new Set([...losses, bare.losses[0]]).size).toBe(3);
    expect((await lossesOf({ patchDropout: 0.5 })).losses).toEqual(losses);
    expect((await lossesOf({ patchDropout: 0.5, seed: 1 })).losses).not.toEqual(losses);
  });

  test("is that much less work", () => {
    const text = multiplyAdds(traceGraph("text_encoder", MODEL), { B: 4 });
    const work = (share: number) => multiplyAdds(graphOf(share)) - 3 * text;
    const patches = 4 * 3 * 16 * 16 * 3 * 64 * 16; // the embedding sees all of them
    expect((work(0.75) - patches) / (work(0) - patches)).toBeLessThan(0.35);
  });

  test.each([
    [-0.1, false],
    [0, true],
    [0.5, true],
    [1, false],
  ])("has a share of %d patches dropped: %s", (patch_dropout, taken) => {
    const config = { model: "m", tokenizer: "t", steps: 1, batch_size: 1, data: { train: "d" }, patch_dropout };
    const parse = () => parseRunConfig("teacher", config, "run.json");
    if (taken) expect(parse().patch_dropout).toBe(patch_dropout);
    else expect(parse).toThrow(/^run\.json: patch_dropout: .* \[CONFIG_INVALID\]$/);
  });
});
