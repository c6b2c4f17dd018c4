// Runs with a cache, through the whole command: the same numbers as without, from fewer pictures read.
import { cp, readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { concatRows, type NDArray, ndarray, Random, rows } from "../../src/core/index.ts";
import { fromPixels, resizeImage, toPixels } from "../../src/image/index.ts";
import { parseConfig } from "../../src/models/index.ts";
import { decodeImage } from "../../src/node/image.ts";
import { initCheckpoint } from "../../src/node/init.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { openCheckpoints, openGiven } from "../../src/node/train-models.ts";
import { createFrozenEncoders, evenPartSize } from "../../src/train/frozen-encoders.ts";
import { weightsOf } from "../../src/train/initial-weights.ts";
import { enterWorkspace, metricsOf, RUNS, TEACHER_MODEL, TOKLIP_MODEL, train } from "../train/workspace.ts";

const CONFIG = {
  ...RUNS.toklip,
  data: { ...RUNS.toklip.data, captions: "random", templates: "simple", eval_crop: "shortest" },
  loss: { token_distillation: 10 },
  batch_size: 6,
  steps: 6,
  log_every: 1,
  eval_every: 3,
  checkpoint_every: 2,
};

let leave: () => Promise<void>;
beforeAll(async () => {
  leave = await enterWorkspace();
});
afterAll(() => leave());

/** Trains; everything that it logs but times. */
async function run(name: string, config: object, args: readonly string[] = []) {
  const { status, stderr } = await train("toklip", name, { ...CONFIG, ...config }, args);
  expect(status, stderr).toBe(0);
  const lines = (await metricsOf(name)) as unknown as Record<string, unknown>[];
  const steps = lines.map(({ time: _, seconds: _1, images_per_second: _2, data_seconds: _3, ...line }) => line);
  return { steps, stderr };
}

/** The bytes of the files of a cache's tables, by their ending. */
async function cacheFiles(folder: string): Promise<{ readonly path: string; readonly bytes: number }[]> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => /\.(data|index)$/.test(name)).sort();
  return Promise.all(
    names.map(async (name) => ({ path: path.join(folder, name), bytes: (await stat(path.join(folder, name))).size })),
  );
}

describe("a run with a cache", () => {
  test("has the losses of one without, to the last bit, and so has a second run on the same cache", async () => {
    const { steps: bare } = await run("bare", {});
    expect(bare).toHaveLength(8);
    expect(await run("cached", { cache: true })).toMatchObject({ steps: bare });
    // Eight pictures in two crops; each text once.
    const sizes = [8 * 8 * 4, 32 * 4, 64 * 32 * 4]; // ids, teacher, teacher-tokens
    const files = await cacheFiles("cached/cache");
    expect(files.map(({ bytes }) => bytes).slice(0, 6)).toEqual(sizes.flatMap((size) => [16 * (size + 20), 16 * 20]));
    expect(await run("shared", { cache: "cached/cache" })).toMatchObject({ steps: bare });
    expect((await cacheFiles("cached/cache")).slice(0, 6)).toEqual(files.slice(0, 6)); // nothing was made again
    expect(await readFile("shared/model.safetensors")).toEqual(await readFile("bare/model.safetensors"));
    await expect(stat("shared/cache")).rejects.toThrow();
  });

  test("reads no picture again", async () => {
    await cp("pictures", "emptied", { recursive: true });
    const pictures = (await readdir("emptied")).filter((name) => name.endsWith(".png"));
    for (const name of pictures) await utimes(`emptied/${name}`, 1e9, 1e9);
    const config = { cache: "once", data: { ...CONFIG.data, train: "emptied", eval: "emptied" } };
    const { steps } = await run("reads", config);
    for (const name of pictures) {
      // The same size and time, but no picture any more.
      await writeFile(`emptied/${name}`, new Uint8Array((await stat(`emptied/${name}`)).size));
      await utimes(`emptied/${name}`, 1e9, 1e9);
    }
    expect(await run("reads-nothing", config)).toMatchObject({ steps });
  });

  test("sees that a picture was replaced, and that a damaged one is damaged in each epoch", async () => {
    await cp("pictures", "changing", { recursive: true });
    const data = { ...CONFIG.data, train: "changing", eval: null, bad_limit: { fraction: 1 } };
    const limits = { data, cache: "changes", steps: 4 };
    const { steps: before } = await run("before", limits);
    await cp("pictures/flower.png", "changing/rocket.png");
    const { steps: after } = await run("after", limits);
    expect(after).not.toEqual(before);
    await writeFile("changing/coffee.png", "no picture");
    const { steps: damaged } = await run("damaged", limits);
    expect(damaged).toEqual((await run("damaged-bare", { ...limits, cache: false })).steps);
    expect(damaged).not.toEqual(after);
  });

  test("is told when the teacher is another one, and begins a new cache", async () => {
    const { stderr } = await run("one", { cache: "teachers" });
    expect(stderr).not.toContain("cache:");
    await initCheckpoint({ config: TEACHER_MODEL, seed: 2, out: "models/other.safetensors" });
    const other = { teacher: { checkpoint: "models/other.safetensors", initialize: false } };
    const { steps, stderr: told } = await run("two", { ...other, cache: "teachers" });
    expect(told).toMatch(/cache: what is there of teacher was made by other weights or settings \(teachers\/teacher-/);
    expect(told).not.toMatch(/of (ids|texts)/);
    expect(steps).toEqual((await run("two-bare", other)).steps);
    // The first teacher's is still there.
    const size = (await cacheFiles("teachers")).length;
    expect((await run("three", { cache: "teachers" })).stderr).not.toContain("cache:");
    expect((await cacheFiles("teachers")).length).toBe(size);
  });

  test("with damaged files of the cache has the same losses", async () => {
    const { steps: whole } = await run("sound", { cache: "damaged-cache" });
    const random = new Random(5);
    for (const [i, how] of ["flip", "cut", "noise", "flip"].entries()) {
      for (const { path: file } of await cacheFiles("damaged-cache")) {
        const bytes = await readFile(file);
        for (let n = 0; n < 20; n++) bytes[random.integer(bytes.length)]! ^= 1 << random.integer(8);
        const damaged = {
          flip: bytes,
          cut: bytes.subarray(0, random.integer(bytes.length)),
          noise: Buffer.from(Array.from({ length: 999 }, () => random.integer(256))),
        };
        await writeFile(file, damaged[how as keyof typeof damaged]);
      }
      expect(await run(`damaged-${i}`, { cache: "damaged-cache" })).toMatchObject({ steps: whole });
    }
  });

  test("is refused a folder that cannot be", async () => {
    await writeFile("file", "");
    const { status, stderr } = await train("toklip", "blocked", { ...CONFIG, cache: "file/cache" });
    expect(status).toBe(1);
    expect(stderr).toContain("file/cache");
    expect(stderr).toContain("[FILE_NOT_FOUND]");
  });

  test("is refused where pictures are random, before anything is written", async () => {
    const data = { ...CONFIG.data, augmentation: { crop: { kind: "squash" }, flip: 0.5, variants: null } };
    const { status, stderr } = await train("toklip", "random", { ...CONFIG, data, cache: true });
    expect(status).toBe(1);
    expect(stderr).toContain("cache: data.augmentation.flip is random");
    await expect(stat("random")).rejects.toThrow();
  });
});

describe("a cache of random pictures whose variants are counted", () => {
  const augmentation = {
    crop: { kind: "resized-crop", scale: [0.3, 1] },
    flip: 0.5,
    color_jitter: { brightness: 0.4, hue: 0.2 },
    grayscale: 0.2,
    background: "random",
    variants: 2,
  };
  const data = { ...CONFIG.data, train: "varied", eval: "varied", augmentation };
  const four = { data, batch_size: 4, steps: 8 }; // four epochs
  const trunk = (changes: object) => {
    const { vision_cfg: vision, ...model } = TOKLIP_MODEL as { vision_cfg: { trunk: object } };
    return { model: { ...model, vision_cfg: { ...vision, trunk: { ...vision.trunk, ...changes } } } };
  };
  const ABLATIONS: Readonly<Record<string, object>> = {
    full: trunk({ causal: false }),
    embedding: trunk({ mapping: "embedding" }),
    "no-text": { loss: { contrastive: 0, token_distillation: 10 } },
    "no-teacher": { loss: { distillation: 0 } },
    slow: { optimizer: { learning_rate: 1e-4 }, recompute: true },
  };

  test("gives each run the losses that it has without, and reads no picture again in any", async () => {
    await cp("pictures", "varied", { recursive: true });
    const pictures = (await readdir("varied")).filter((name) => name.endsWith(".png"));
    for (const name of pictures) await utimes(`varied/${name}`, 1e9, 1e9);
    const { steps: bare } = await run("varied-bare", four);
    const endless = await run("endless", {
      ...four,
      data: { ...data, augmentation: { ...augmentation, variants: null } },
    });
    expect(endless.steps.slice(0, 4)).toEqual(bare.slice(0, 4)); // two epochs and an evaluation
    expect(endless.steps.slice(5)).not.toEqual(bare.slice(5));
    const bares = new Map<string, unknown>();
    for (const [name, changes] of Object.entries(ABLATIONS)) {
      bares.set(name, (await run(`bare-${name}`, { ...four, ...changes })).steps);
    }
    expect(new Set([bare, ...bares.values()].map((steps) => JSON.stringify(steps))).size).toBe(6);
    expect(await run("varied-cached", { ...four, cache: "variants" })).toMatchObject({ steps: bare });
    const files = (await cacheFiles("variants")).filter(({ path: file }) => !file.includes("texts"));
    // Eight pictures, each in two variants and as evaluation cuts it.
    expect(files.slice(0, 2).map(({ bytes }) => bytes)).toEqual([24 * (8 * 8 * 4 + 20), 24 * 20]);
    for (const name of pictures) {
      await writeFile(`varied/${name}`, new Uint8Array((await stat(`varied/${name}`)).size));
      await utimes(`varied/${name}`, 1e9, 1e9);
    }
    for (const [name, changes] of Object.entries(ABLATIONS)) {
      const { steps, stderr } = await run(`cached-${name}`, { ...four, ...changes, cache: "variants" });
      expect(steps, name).toEqual(bares.get(name));
      expect(stderr).not.toContain("cache:");
    }
    expect((await cacheFiles("variants")).filter(({ path: file }) => !file.includes("texts"))).toEqual(files);
  });
});

describe("frozen encoders", () => {
  test("resize pictures for a teacher that reads another size", async () => {
    const model = parseConfig(TOKLIP_MODEL);
    const backend = createOrtBackend({ threads: 2 });
    const [checkpoint] = await openCheckpoints(["models/toklip.safetensors"]);
    const teacher = await openGiven({ checkpoint: "models/teacher.safetensors", model: null });
    const taught = { config: teacher.config, weights: weightsOf([teacher.checkpoint], "teacher") };
    const weights = weightsOf([checkpoint!], "toklip");
    const wide = { ...model, trunk: { ...model.trunk, imageSize: 96 } };
    const picture = await decodeImage("pictures/coffee.png");
    const batchOf = (size: number) => ({
      pixels: toPixels([resizeImage(picture, { width: size, height: size })]),
      textIds: ndarray("i32", [1, 16]),
      concepts: ndarray("i32", [1]),
      keys: ["a"],
    });
    const featuresOf = async (config: typeof model, pixels: NDArray<"f32">) => {
      const encoders = createFrozenEncoders({ backend, config, weights, teacher: taught, partSize: 1 });
      const wanted = { text: false, teacher: true, teacherTokens: false };
      const { teacherFeatures } = await encoders.pictures({ ...batchOf(64), pixels }, wanted);
      await encoders.dispose();
      return [...teacherFeatures!.data];
    };
    const { pixels } = batchOf(96);
    const resized = toPixels([resizeImage(fromPixels(pixels), { width: 64, height: 64 })]);
    expect(await featuresOf(wide, pixels)).toEqual(await featuresOf(model, resized));
    const negative = ndarray(
      "f32",
      resized.shape,
      resized.data.map((value) => -value),
    );
    expect(await featuresOf(model, negative)).not.toEqual(await featuresOf(model, resized));
    await backend.dispose();
  });

  test("give a sample the same bits whatever comes with it", async () => {
    const model = parseConfig(TOKLIP_MODEL);
    const backend = createOrtBackend({ threads: 2 });
    const [checkpoint] = await openCheckpoints(["models/toklip.safetensors"]);
    const teacher = await openGiven({ checkpoint: "models/teacher.safetensors", model: null });
    const encoders = createFrozenEncoders({
      backend,
      config: model,
      weights: weightsOf([checkpoint!], "toklip"),
      teacher: { config: teacher.config, weights: weightsOf([teacher.checkpoint], "teacher") },
      partSize: 8,
    });
    const random = new Random(1);
    const pixels = ndarray(
      "f32",
      [8, 3, 64, 64],
      Float32Array.from({ length: 8 * 3 * 64 * 64 }, () => random.uniform() * 2 - 1),
    );
    const textIds = ndarray(
      "i32",
      [8, 16],
      Int32Array.from({ length: 8 * 16 }, () => random.integer(512)),
    );
    const wanted = { text: true, teacher: true, teacherTokens: true };
    const pick = <A extends NDArray>(array: A, order: readonly number[]) =>
      concatRows(order.map((i) => rows(array, i, i + 1))) as A;
    const bits = async (order: readonly number[]) => {
      const batch = {
        pixels: pick(pixels, order),
        textIds: pick(textIds, order),
        concepts: ndarray("i32", [order.length]),
        keys: order.map(String),
      };
      const pictures = await encoders.pictures(batch, wanted);
      const all = [
        pictures.ids,
        pictures.teacherFeatures!,
        pictures.teacherTokens!,
        await encoders.texts(batch.textIds),
      ];
      return order.map((_, i) =>
        all.map((array) => Buffer.from(rows<"f32" | "i32">(array, i, i + 1).data.slice().buffer).toString("hex")),
      );
    };
    const whole = await bits([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(new Set(whole.map((row) => row[1])).size).toBe(8);
    const orders = [
      [7, 6, 5, 4, 3, 2, 1, 0],
      [3],
      [5, 5, 2],
      [1, 0, 2, 4, 6, 7, 3, 5, 0, 1, 7],
      [0, 1, 2, 3, 4, 5, 6, 7, 2],
    ];
    for (const order of orders) expect(await bits(order)).toEqual(order.map((i) => whole[i]));
    await encoders.dispose();
    await backend.dispose();
    await checkpoint!.close();
    await teacher.checkpoint.close();
  });

  test("take parts that fit the batch", () => {
    expect([1, 4, 5, 8, 9, 12, 16, 20, 64, 100].map(evenPartSize)).toEqual([1, 4, 5, 8, 5, 6, 8, 7, 8, 8]);
  });
});
