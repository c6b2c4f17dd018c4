// The other ways to call `toklip train`: dry runs, smoke runs, overrides, exports; and how texts reach a training.
import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeEngine } from "../../src/cli/engine.ts";
import { parameterShapes, parseConfig } from "../../src/models/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { createDecodePool } from "../../src/node/decode-pool.ts";
import { TokLIP } from "../../src/node/index.ts";
import { openRunBatches } from "../../src/node/train-data.ts";
import { openModelConfig } from "../../src/node/train-models.ts";
import { tokenizerOf } from "../../src/node/train-trainers.ts";
import { singleProcess } from "../../src/train/communicator.ts";
import { parseRunConfig } from "../../src/train/run-config.ts";
import { toklip } from "../cli/harness.ts";
import { take } from "../data/made-up-data.ts";
import { goldenPath, readAll } from "../goldens.ts";
import { enterWorkspace, metricsOf, RUNS, TEACHER_MODEL, TOKLIP_MODEL, train } from "./workspace.ts";

let leave: () => Promise<void>;
beforeAll(async () => {
  leave = await enterWorkspace();
});
afterAll(() => leave());

/** All tensors of a file as f32, by name. */
async function tensorsIn(path: string) {
  const checkpoint = await openCheckpointFile(path);
  const tensors = await readAll(checkpoint);
  await checkpoint.close();
  return tensors;
}

const names = (tensors: ReadonlyMap<string, unknown>): string[] => [...tensors.keys()].sort();

const DRY = {
  toklip: { trained: 32_993, frozen: 158_504, inputs: ["ids", "text_features", "concepts", "teacher_features"] },
  teacher: { trained: 77_281, frozen: 0, inputs: ["pixels", "text_ids", "concepts"] },
  vq: { trained: 233_160, frozen: 0, inputs: ["pixels"] },
};

describe.each(["toklip", "teacher", "vq"] as const)("a run of %s", (kind) => {
  test("is only estimated with --dry-run: shapes, parameters, memory, work, time", async () => {
    const { status, stdout, stderr } = await train(kind, `${kind}-dry`, RUNS[kind], ["--dry-run"]);
    expect([status, stderr]).toEqual([0, ""]);
    for (const row of [
      /^trained parameters +[\d.]+ k$/m,
      /^memory, about +[\d.]+ MB \(/m,
      /^steps +4$/m,
      /^samples +8$/m,
    ]) {
      expect(stdout).toMatch(row);
    }
    const json = await train(kind, `${kind}-dry`, RUNS[kind], ["--dry-run", "--json", "--set", "batch_size=4"]);
    const estimate = JSON.parse(json.stdout);
    expect([estimate.trainedParameters, estimate.frozenParameters]).toEqual([DRY[kind].trained, DRY[kind].frozen]);
    expect(Object.keys(estimate.inputs)).toEqual(DRY[kind].inputs);
    expect(Object.values<string>(estimate.inputs).every((shape) => shape.includes("(4"))).toBe(true);
    expect(estimate.stepFlop).toBeGreaterThan(1e7);
    expect(existsSync(`${kind}-dry`)).toBe(false);
  });

  test("is small with --smoke, and changed by --set", async () => {
    const discriminator = { ndf: 8, layers: 2 };
    const config = { ...RUNS[kind], steps: 1000, ...(kind === "vq" && { loss: { discriminator } }) };
    const { status } = await train(kind, `${kind}-smoke`, config, ["--smoke", "--set", "optimizer.learning_rate=1e-4"]);
    expect(status).toBe(0);
    const lines = await metricsOf(`${kind}-smoke`);
    expect(lines.map(({ step, evaluation }) => [step, evaluation !== undefined])).toEqual([
      [1, false],
      [2, false],
      [2, true],
      [3, false],
      [4, false],
      [4, true],
    ]);
    const written = JSON.parse(readFileSync(`${kind}-smoke/config.json`, "utf8"));
    expect(written).toMatchObject({ kind, batch_size: 4, part_size: 2, optimizer: { learning_rate: 1e-4 } });
    const parts = Object.keys(lines.at(-2)!.parts!);
    if (kind === "vq") expect(parts).toEqual(expect.arrayContaining(["discriminator", "codes_revived"]));
    await expectLoads(kind, `${kind}-smoke/model.safetensors`);
  });
});

/** Expects an exported model to work. */
async function expectLoads(kind: keyof typeof RUNS, path: string): Promise<void> {
  const model = await TokLIP.load(
    path,
    kind === "vq" ? { config: TOKLIP_MODEL } : { tokenizer: goldenPath("tiny/tokenizer.json") },
  );
  const pixels = await model.preprocess("pictures/coffee.png", { resize: "squash" });
  if (kind === "teacher") expect((await model.encodePixels(pixels)).imageFeatures.shape).toEqual([1, 32]);
  else expect((await model.decodeIds(await model.encodeIds(pixels))).shape).toEqual([1, 3, 64, 64]);
  if (kind === "toklip") expect((await model.encodeImage(pixels)).tokenFeatures.shape).toEqual([1, 64, 32]);
  if (kind !== "vq") expect((await model.encodeText("a coffee")).shape).toEqual([1, 32]);
  await model.dispose();
}

describe("an export", () => {
  const every = { log_every: 0, eval_every: 2, checkpoint_every: 2, keep_last: 3, steps: 6 };
  const best = { metric: "image_to_text@1", mode: "max" };

  test("holds the checkpoint and the weights that are asked for, and all that was given", async () => {
    const config = { ...RUNS.toklip, ...every, best, ema: { decay: 0.5 } };
    expect((await train("toklip", "averaged", config)).status).toBe(0);
    const run = JSON.parse(readFileSync("averaged/checkpoints/step-00000006/run.json", "utf8"));
    const given = await tensorsIn("models/toklip.safetensors");
    const frozen = names(given).filter((name) => /^(visual\.trunk\.vq|text)\./.test(name));
    for (const [args, step, weights] of [
      [["--checkpoint", "last", "--weights", "last"], 6, "model"],
      [["--checkpoint", "last"], 6, "ema"],
      [["--checkpoint", "2", "--weights", "ema"], 2, "ema"],
      [["--checkpoint", "best", "--weights", "last"], run.best.step, "model"],
    ] as const) {
      const command = ["train", "export", "averaged", ...args, "--out", "export.safetensors", "--overwrite", "--json"];
      const { status, stdout } = await toklip(command, { engine: nodeEngine });
      expect([status, JSON.parse(stdout)]).toEqual([0, { out: "export.safetensors", step }]);
      const exported = await tensorsIn("export.safetensors");
      const trained = await tensorsIn(`averaged/checkpoints/step-0000000${step}/${weights}.safetensors`);
      expect(names(exported)).toEqual([...new Set([...names(trained), ...frozen])].sort());
      for (const [name, { data }] of trained) expect(exported.get(name)!.data, name).toEqual(data);
      for (const name of frozen) expect(exported.get(name)!.data, name).toEqual(given.get(name)!.data);
    }
    await expectLoads("toklip", "export.safetensors");
  });

  test.each([
    ["softmax", ["logit_scale"]],
    ["sigmoid", ["logit_bias", "logit_scale"]],
  ])("of a teacher with the %s loss has its model's parameters and the loss's", async (type, scalars) => {
    const config = { ...RUNS.teacher, ...every, steps: 2, loss: { type } };
    expect((await train("teacher", type, config)).status).toBe(0);
    const exported = await tensorsIn(`${type}/model.safetensors`);
    expect(names(exported)).toEqual([...parameterShapes(parseConfig(TEACHER_MODEL)).keys(), ...scalars].sort());
    await expectLoads("teacher", `${type}/model.safetensors`);
  });

  test("has the names and shapes of what the reference's own training writes", async () => {
    const model = goldenPath("model_configs/ViT-tiny-16-SigLIP2-64-toklip.json");
    const teacher = {
      checkpoint: goldenPath("train/teacher.pt"),
      model: goldenPath("model_configs/ViT-tiny-16-SigLIP2-64.json"),
    };
    const config = {
      ...RUNS.toklip,
      ...every,
      model,
      teacher,
      init: [goldenPath("tiny/tiny.pt")],
      steps: 2,
      batch_size: 2,
    };
    expect((await train("toklip", "golden", { ...config, eval_every: 0 })).status).toBe(0);
    const [exported, reference] = [
      await tensorsIn("golden/model.safetensors"),
      await tensorsIn(goldenPath("train/tiny_train_epoch_1.pt")),
    ];
    expect(names(exported)).toEqual(names(reference));
    for (const [name, { shape }] of reference) expect(exported.get(name)!.shape, name).toEqual(shape);
  });
});

describe("the data of a training", () => {
  /** What a run's configuration reads. */
  async function open(data: object, signal?: AbortSignal) {
    const config = parseRunConfig("teacher", { ...RUNS.teacher, data: { ...RUNS.teacher.data, ...data } }, "x");
    const model = await openModelConfig(config.model);
    const tokenizer = (await tokenizerOf(config, model))!;
    const pool = createDecodePool({ workers: 0 });
    const batches = await openRunBatches({
      data: config.data,
      seed: 0,
      batchSize: 8,
      evalBatches: 1,
      imageSize: 64,
      decode: pool.decode,
      text: { tokenizer, contextLength: 16 },
      communicator: singleProcess,
      signal,
    });
    return { ...batches, tokenizer };
  }

  /** The captions of four epochs, by picture. */
  async function captionsOf(data: object): Promise<Map<string, Set<string>>> {
    const { train: batches, tokenizer } = await open(data);
    const seen = new Map<string, Set<string>>();
    for (const { keys, captions, textIds } of await take(batches(undefined), 4)) {
      expect(textIds).toEqual(tokenizer.encode(captions, { contextLength: 16 }));
      for (const [i, key] of keys.entries()) seen.set(key, (seen.get(key) ?? new Set()).add(captions[i]!));
    }
    return seen;
  }

  test("ends with an interruption, that of an evaluation under way does not", async () => {
    const interruption = new AbortController();
    const { train: batches, evaluation } = await open({}, interruption.signal);
    interruption.abort();
    await expect(take(batches(undefined), 1)).rejects.toMatchObject({ code: "ABORTED" });
    expect((await take(evaluation!(), 1))[0]!.keys).toHaveLength(8);
  });

  test("has a picture's first captions, unless others are asked for", async () => {
    expect([...(await captionsOf({})).get("coffee.png")!]).toEqual(["a photo of coffee"]);
  });

  test("has any of its captions where these are random, and the same ones for a seed", async () => {
    const seen = await captionsOf({ captions: "random" });
    const all = [...seen.values()].flatMap((captions) => [...captions]);
    expect(seen.size).toBe(8);
    expect(all.length).toBeGreaterThan(12); // of 16
    expect(all.every((caption) => /^(a photo of \w+|the \w+ in a picture)$/.test(caption))).toBe(true);
    expect(await captionsOf({ captions: "random" })).toEqual(seen);
  });

  test("has captions in templates", async () => {
    const seen = await captionsOf({ captions: "random", templates: ["{}!", "look: {}"] });
    const all = [...seen.values()].flatMap((captions) => [...captions]);
    expect(new Set(all.map((caption) => caption.replace(/a photo of \w+|the \w+ in a picture/, "{}")))).toEqual(
      new Set(["{}!", "look: {}"]),
    );
  });
});
