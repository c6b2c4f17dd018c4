// What the configuration may ask of the token encoder beside the paper's: full attention, a learned embedding of the ids.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type NDArray, ndarray, Random, sizeOf } from "../../src/core/index.ts";
import { Graph, interpretGraph } from "../../src/graph/index.ts";
import {
  checkCheckpoint,
  checkpointGraphs,
  initialPieces,
  PREFIXES,
  parameterShapes,
  parseConfig,
  type ToklipConfig,
  traceGraph,
  vqOf,
} from "../../src/models/index.ts";
import { mapIds } from "../../src/models/token-encoder.ts";
import { Scope } from "../../src/nn/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { exportOnnx, initCheckpoint, TokLIP } from "../../src/node/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { wholeBatchGraph } from "../../src/train/contrastive-step.ts";
import { toklipObjective } from "../../src/train/toklip-objective.ts";
import { isTrainedInToklip } from "../../src/train/towers-trainer.ts";
import { goldenJson, goldenPath, goldenTensors, maxDifference, readAll } from "../goldens.ts";
import { goldenBatch, tinyTrainer } from "../train/tiny-training.ts";

type Json = Record<string, unknown>;

const TABLE = "visual.trunk.id_embedding.weight";

/** A golden configuration with another trunk. */
function jsonOf(name: string, trunk: Json): Json {
  const json = goldenJson(`model_configs/${name}.json`) as { vision_cfg: { trunk: Json } };
  return { ...json, vision_cfg: { ...json.vision_cfg, trunk: { ...json.vision_cfg.trunk, ...trunk } } };
}
const configOf = (trunk: Json): ToklipConfig => parseConfig(jsonOf("ViT-tiny-16-SigLIP2-64-toklip", trunk), "tiny");
const pixelModel = (trunk: Json) => () => parseConfig(jsonOf("ViT-tiny-16-SigLIP2-64", trunk), "pixels");

const PAPER = configOf({});
const FULL = configOf({ causal: false });
const EMBEDDING = configOf({ mapping: "embedding" });

describe("a configuration", () => {
  test("is the paper's where it says nothing, and keeps in its source what it says", () => {
    expect(PAPER.trunk).not.toHaveProperty("mapping");
    const both = configOf({ mapping: "embedding", causal: false });
    expect(both.trunk).toMatchObject({ mapping: "embedding", causal: false });
    expect(parseConfig(JSON.parse(JSON.stringify(both.source)), "tiny")).toEqual(both);
  });

  test("is refused where it makes no sense", () => {
    expect(pixelModel({ causal: true })).toThrowErrorMatchingInlineSnapshot(
      "[ToklipError: pixels: trunk.causal is for models with vision_cfg.vq: a pixel model attends in full [CONFIG_INVALID]]",
    );
    expect(pixelModel({ mapping: "embedding" })).toThrowErrorMatchingInlineSnapshot(
      "[ToklipError: pixels: trunk.mapping is for models with vision_cfg.vq: a pixel model has no image ids [CONFIG_INVALID]]",
    );
    expect(() => configOf({ mapping: "table" })).toThrow("vision_cfg.trunk.mapping");
  });

  test("has a table in place of the mapping MLP, and the same parameters whatever the attention", () => {
    const paper = parameterShapes(PAPER);
    expect(parameterShapes(FULL)).toEqual(paper);
    expect(parameterShapes(configOf({ mapping: "mlp" }))).toEqual(paper);
    const embedding = parameterShapes(EMBEDDING);
    const added = [...embedding].filter(([name]) => !paper.has(name));
    expect(added).toEqual([[TABLE, [512, 64]]]);
    const gone = [...paper.keys()].filter((name) => !embedding.has(name));
    expect(gone.every((name) => /^visual\.trunk\.vq_(table|mapping)\.(weight|bias)$/.test(name))).toBe(true);
    expect(gone).toHaveLength(4);
  });
});

describe("the token encoder", () => {
  let weights: Map<string, NDArray<"f32">>;
  let codes: NDArray;
  beforeAll(async () => {
    const checkpoint = await openCheckpointFile(goldenPath("tiny/tiny.pt"));
    weights = await readAll(checkpoint);
    await checkpoint.close();
    codes = await (await goldenTensors("tiny/golden.safetensors"))("vq.codes");
  });
  const idsOf = (...ids: number[]) =>
    ndarray(
      "i32",
      [1, 4, 4],
      Int32Array.from({ length: 16 }, (_, i) => ids[i] ?? i),
    );
  const features = (config: ToklipConfig, ids: NDArray, given = weights) =>
    interpretGraph(traceGraph("token_encoder", config), { ids }, (name) => given.get(name)).get("token_features")!;

  test("sees later ids with full attention, and does not where it is causal", () => {
    const [ids, changed] = [idsOf(), idsOf()];
    changed.data[15] = 400;
    const first = (config: ToklipConfig, of: NDArray) => features(config, of).data.subarray(0, 15 * 64);
    expect(maxDifference(first(PAPER, ids), first(PAPER, changed))).toBe(0);
    expect(maxDifference(first(FULL, ids).subarray(0, 64), first(FULL, changed).subarray(0, 64))).toBeGreaterThan(1e-3);
  });

  test("with a table of what the MLP makes of each id has the features of the MLP", () => {
    const graph = new Graph();
    const all = graph.input("ids", "i32", [1, 512]);
    graph.output("rows", mapIds(new Scope(graph).at(PREFIXES.trunk), all, PAPER.trunk, vqOf(PAPER)));
    const ids = ndarray(
      "i32",
      [1, 512],
      Int32Array.from({ length: 512 }, (_, i) => i),
    );
    const rows = interpretGraph(graph, { ids }, (name) => weights.get(name)).get("rows")!;
    const table = ndarray("f32", [512, 64], Float32Array.from(rows.data));
    const given = new Map([...weights, [TABLE, table] as const]);
    const one = ndarray("i32", [1, 4, 4], (codes.data as Int32Array).slice(0, 16));
    expect(maxDifference(features(EMBEDDING, one, given).data, features(PAPER, one).data)).toBeLessThan(1e-5);
  });

  test.each([
    ["full attention", FULL],
    ["a learned embedding", EMBEDDING],
  ])("has with %s the gradients of finite differences in float64", (_, config) => {
    const objective = toklipObjective(config, undefined as never, {
      contrastive: 1,
      distillation: 10,
      tokenDistillation: 1,
    });
    const graph = wholeBatchGraph(objective, 2, isTrainedInToklip, false);
    const random = new Random(3);
    const numbers = (shape: readonly number[]) =>
      ndarray(
        "f64",
        shape,
        Float64Array.from({ length: sizeOf(shape) }, () => random.normal()),
      );
    const feeds = {
      ids: ndarray(
        "i32",
        [2, 4, 4],
        Int32Array.from({ length: 32 }, (_, i) => (i * 37) % 20),
      ),
      concepts: ndarray("i32", [2], Int32Array.of(0, 1)),
      text_features: numbers([2, 64]),
      teacher_features: numbers([2, 64]),
      teacher_tokens: numbers([2, 16, 64]),
    };
    const begin = new Map<string, NDArray>(
      [...graph.parameters].map(([name, { shape }]) => [name, startOf(name, shape as number[])]),
    );
    const watched = config === FULL ? ["visual.trunk.blocks.1.attn.qkv.weight", "visual.trunk.pos_embed"] : [TABLE];
    const results = interpretGraph(graph, feeds, (name) => begin.get(name));
    const lossAt = (moved: Map<string, NDArray>) => {
      const outputs = interpretGraph(graph, feeds, (name) => moved.get(name));
      return ["contrastive", "distill", "token_distill"].reduce(
        (sum, part) => sum + outputs.get(`part.${part}`)!.data[0]!,
        0,
      );
    };
    for (const name of watched) {
      const { shape, data } = begin.get(name)!;
      const direction = Float64Array.from({ length: data.length }, () => random.normal());
      const at = (h: number) =>
        lossAt(
          new Map([
            ...begin,
            [
              name,
              ndarray(
                "f64",
                shape,
                Float64Array.from(data as Float64Array, (x, i) => x + h * direction[i]!),
              ),
            ],
          ]),
        );
      const differences = (at(1e-5) - at(-1e-5)) / 2e-5;
      const along = results.get(`d.${name}`)!.data.reduce((sum, x, i) => sum + x * direction[i]!, 0);
      expect(Math.abs(along)).toBeGreaterThan(1e-3);
      expect(Math.abs(differences / along - 1), name).toBeLessThan(1e-5);
    }
    if (config === EMBEDDING) {
      const gradient = results.get(`d.${TABLE}`)!.data;
      const moves = (id: number) => gradient.subarray(id * 64, (id + 1) * 64).some((x) => x !== 0);
      expect([moves(0), moves(19), moves(20), moves(511)]).toEqual([true, true, false, false]);
    }
  });
});

/** A parameter at the beginning, in float64. */
function startOf(name: string, shape: readonly number[]): NDArray {
  const pieces = shape.length === 0 ? [Float32Array.of(1)] : [...initialPieces(name, shape, 1)];
  return ndarray("f64", shape, Float64Array.from(pieces.flatMap((piece) => [...piece])));
}

test("a learned embedding begins as the other embeddings do", () => {
  const [piece] = initialPieces(TABLE, [512, 64], 1);
  const deviation = Math.sqrt(piece!.reduce((sum, x) => sum + x * x, 0) / piece!.length);
  expect(deviation).toBeCloseTo(0.02, 3);
});

test("a learned embedding is trained, from its beginning at random", async () => {
  const backend = createOrtBackend({ threads: 2 });
  const { trainer, fresh, close } = await tinyTrainer(backend, {
    model: configOf({ mapping: "embedding", causal: false }),
  });
  expect(fresh).toContain(TABLE);
  const batch = await goldenBatch();
  const { gradients, parts } = await trainer.lossAndGradients(batch);
  expect(gradients.get(TABLE)!.some((x) => x !== 0)).toBe(true);
  expect([...gradients.keys()].some((name) => name.includes("vq"))).toBe(false);
  const before = parts.contrastive!;
  for (let step = 0; step < 10; step++) await trainer.step(batch, { step, total: 10 });
  expect((await trainer.lossAndGradients(batch)).parts.contrastive).toBeLessThan(before);
  await close();
  await backend.dispose();
});

describe("a model file with full attention and a learned embedding", () => {
  let folder: string;
  let file: string;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "toklip-"));
    file = path.join(folder, "model.safetensors");
    const config = configOf({ mapping: "embedding", causal: false }).source;
    await initCheckpoint({ config, seed: 1, out: file });
  });
  afterAll(() => rm(folder, { recursive: true }));

  test("is loaded as it was written, and refuses a stream", async () => {
    const model = await TokLIP.load(file);
    expect(model.config.trunk).toMatchObject({ mapping: "embedding", causal: false });
    const { imageFeatures } = await model.encodeFeatures(ndarray("i32", [1, 4, 4]));
    expect(imageFeatures.shape).toEqual([1, 64]);
    await expect(model.startStream()).rejects.toThrow(/^startStream: .* attends in full: .* \[ARGUMENT_INVALID\]$/);
    await model.dispose();
    expect(() => traceGraph("token_encoder_step", FULL)).toThrow("[CONFIG_INVALID]");
    expect(traceGraph("token_encoder_step", EMBEDDING).parameters.has(TABLE)).toBe(true);
  });

  test("is held against its configuration by name and shape", async () => {
    const checkpoint = await openCheckpointFile(file);
    const check = (config: ToklipConfig) => () =>
      checkCheckpoint(checkpoint, config, checkpointGraphs(checkpoint, config));
    expect(check(configOf({ mapping: "embedding" }))).not.toThrow();
    expect(check(FULL)).toThrow("missing visual.trunk.vq_table.weight");
    await checkpoint.close();
  });

  test("is exported, without the incremental encoder", async () => {
    const { files } = await exportOnnx(file, { out: path.join(folder, "onnx") });
    const graphs = ["text_encoder.onnx", "token_encoder.onnx", "vq_decoder.onnx", "vq_encoder.onnx"];
    expect(files.map((name) => path.basename(name)).sort()).toEqual(["manifest.json", ...graphs]);
    const step = exportOnnx(file, { out: path.join(folder, "step"), parts: ["token_encoder_step"] });
    await expect(step).rejects.toThrow("[CONFIG_INVALID]");
  });
});
