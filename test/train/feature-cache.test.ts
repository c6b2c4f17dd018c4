// The cache of frozen features: what it gives is what the encoders gave, to the bit, and they are asked once.
import { createHash } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { type NDArray, ndarray } from "../../src/core/index.ts";
import { FeatureCache } from "../../src/train/feature-cache.ts";
import type { FrozenIdentities } from "../../src/train/frozen-identity.ts";
import type { ImageTextBatch } from "../../src/train/image-text-batch.ts";
import { parseRunConfig } from "../../src/train/run-config.ts";
import type { FrozenEncoders, WantedFeatures } from "../../src/train/toklip-objective.ts";
import { goldenConfig } from "../goldens.ts";
import { MemoryStorage } from "./memory-storage.ts";

const MODEL = goldenConfig("ViT-tiny-16-SigLIP2-64-toklip"); // D 64, N 16
const ALL: WantedFeatures = { text: true, teacher: true, teacherTokens: true };

/** Features that tell their picture, among them what only bits tell apart. */
const featureOf = (pixel: number, i: number) => (i === 3 ? Number.NaN : i === 4 ? -0 : Math.fround(pixel / 3 + i));
const features = (pixels: NDArray<"f32">, size: number) => {
  const count = pixels.shape[0]!;
  const of = (row: number) => pixels.data[(row * pixels.data.length) / count]!;
  return Float32Array.from({ length: count * size }, (_, i) => featureOf(of(Math.floor(i / size)), i % size));
};

let asked: { pictures: number[]; texts: number[] };
const encoders: FrozenEncoders = {
  pictures: async ({ pixels }, wanted) => {
    const count = pixels.shape[0]!;
    asked.pictures.push(count);
    return {
      ids: ndarray(
        "i32",
        [count, 4, 4],
        Int32Array.from(features(pixels, 16), (x) => Math.round(x) || 0),
      ),
      ...(wanted.teacher && { teacherFeatures: ndarray("f32", [count, 64], features(pixels, 64)) }),
      ...(wanted.teacherTokens && { teacherTokens: ndarray("f32", [count, 16, 64], features(pixels, 16 * 64)) }),
    };
  },
  texts: async ({ shape, data }) => {
    asked.texts.push(shape[0]!);
    const first = Float32Array.from({ length: shape[0]! }, (_, i) => data[i * shape[1]!]!);
    return ndarray("f32", [shape[0]!, 64], features(ndarray("f32", [shape[0]!, 1], first), 64));
  },
  dispose: async () => {},
};
beforeEach(() => {
  asked = { pictures: [], texts: [] };
});

const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();

let sessions = 0;
async function open(storage: MemoryStorage, identity: FrozenIdentities = {}, warnings: string[] = []) {
  const identities = { ids: 1, teacherFeatures: 1, teacherTokens: 1, textFeatures: 1, ...identity };
  const session = `s${sessions++}`;
  const warn = (message: string) => void warnings.push(message);
  return FeatureCache.open({ storage, digest, session, model: MODEL, identities, warn });
}

/** Pictures that are a number each. */
const pixelsOf = (names: readonly number[]) =>
  ndarray("f32", [names.length, 2], Float32Array.from(names.flatMap((name) => [name, 0])));

/** A batch of pictures that are a number each, as a loader with the cache as its memory makes it. */
async function batchOf(cache: FeatureCache, names: readonly number[]): Promise<ImageTextBatch> {
  const recall = cache.recall("data");
  const recalled = await Promise.all(
    names.map(async (name) => {
      const known = await recall.find(`data\n${name}`);
      return { name: `data\n${name}`, ...(known && { known }) };
    }),
  );
  return {
    pixels: pixelsOf(names.map((name, i) => (recalled[i]!.known ? 0 : name))),
    textIds: ndarray("i32", [names.length, 2], Int32Array.from(names.flatMap((name) => [name, 9]))),
    concepts: ndarray("i32", [names.length], Int32Array.from(names)),
    keys: names.map(String),
    recalled,
  };
}

/** All features of a batch, bit for bit. */
async function bitsOf(from: FrozenEncoders, batch: ImageTextBatch) {
  const pictures = await from.pictures(batch, ALL);
  const arrays = { ...pictures, texts: await from.texts(batch.textIds) } as Record<string, NDArray>;
  const bits = ({ dtype, shape, data }: NDArray) => ({
    dtype,
    shape,
    bits: Buffer.from(data.buffer.slice(0)).toString("hex"),
  });
  return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, bits(array)]));
}

/** What the encoders alone give. */
async function expected(names: readonly number[]) {
  const bare = await batchOf(await open(new MemoryStorage()), names);
  return bitsOf(encoders, bare);
}

describe("a cache of features", () => {
  test("gives what the encoders give, and asks them once for each picture and each text", async () => {
    const storage = new MemoryStorage();
    const cache = await open(storage);
    const cached = cache.over(encoders);
    for (const names of [
      [1, 2, 3],
      [3, 5, 1, 5, 6],
      [6, 5],
    ]) {
      const want = await expected(names);
      expect(await bitsOf(cached, await batchOf(cache, names))).toEqual(want);
    }
    expect(cache.size).toEqual({ ids: 5, teacherFeatures: 5, teacherTokens: 5, textFeatures: 5 });
    await cache.close();
    const later = await open(storage);
    const want = await expected([6, 1, 2, 3, 5]);
    asked = { pictures: [], texts: [] };
    expect(await bitsOf(later.over(encoders), await batchOf(later, [6, 1, 2, 3, 5]))).toEqual(want);
    expect(asked).toEqual({ pictures: [], texts: [] });
  });

  test("asks for what is missing only", async () => {
    const cache = await open(new MemoryStorage());
    const cached = cache.over(encoders);
    const counts: number[][] = [];
    for (const names of [
      [1, 2, 3],
      [3, 2, 1],
      [4, 1, 4, 5],
      [5, 6],
    ]) {
      asked = { pictures: [], texts: [] };
      await bitsOf(cached, await batchOf(cache, names));
      expect(asked.texts).toEqual(asked.pictures);
      counts.push(asked.pictures);
    }
    expect(counts).toEqual([[3], [], [2], [1]]);
  });

  test("finds a picture that was made after its batch was", async () => {
    const cache = await open(new MemoryStorage());
    const cached = cache.over(encoders);
    const [early, late] = [await batchOf(cache, [1, 2]), await batchOf(cache, [2, 1])];
    await bitsOf(cached, early);
    const want = await expected([2, 1]);
    asked = { pictures: [], texts: [] };
    expect(await bitsOf(cached, late)).toEqual(want);
    expect(asked.pictures).toEqual([]);
  });

  test("is another one for another teacher, which is said, and keeps the ids and the texts", async () => {
    const storage = new MemoryStorage();
    const warnings: string[] = [];
    const first = await open(storage, {}, warnings);
    await bitsOf(first.over(encoders), await batchOf(first, [1, 2]));
    const again = await open(storage, {}, warnings);
    expect(again.size).toEqual({ ids: 2, teacherFeatures: 2, teacherTokens: 2, textFeatures: 2 });
    expect(warnings).toEqual([]);
    const second = await open(storage, { teacherFeatures: 2, teacherTokens: 2 }, warnings);
    expect(second.size).toEqual({ ids: 2, teacherFeatures: 0, teacherTokens: 0, textFeatures: 2 });
    expect(warnings).toEqual([
      expect.stringMatching(/^cache: what is there of teacher was made by other weights .*run\/teacher-[0-9a-f]{16}\)/),
      expect.stringMatching(/^cache: what is there of teacher-tokens was made by .*run\/teacher-tokens-/),
    ]);
  });

  test("gives a run that wants less what one that wanted more left, and the other way round only what is there", async () => {
    const storage = new MemoryStorage();
    const digestOf = { storage, digest, model: MODEL, warn: () => {} };
    const more = await open(storage);
    await bitsOf(more.over(encoders), await batchOf(more, [1, 2]));
    asked = { pictures: [], texts: [] };
    const idsOnly = { text: false, teacher: false, teacherTokens: false };
    const less = await FeatureCache.open({ ...digestOf, session: "less", identities: { ids: 1 } });
    const batch = await batchOf(less, [2, 1, 3]);
    expect(batch.recalled!.map(({ known }) => known?.byteLength)).toEqual([64, 64, undefined]);
    const { ids } = await less.over(encoders).pictures(batch, idsOnly);
    expect(ids.data).toEqual((await encoders.pictures({ ...batch, pixels: pixelsOf([2, 1, 3]) }, idsOnly)).ids.data);
    expect(asked.pictures).toEqual([1, 3]);
    // The third picture's ids are there now, its teacher's features are not.
    const later = await open(storage);
    expect(later.size).toEqual({ ids: 3, teacherFeatures: 2, teacherTokens: 2, textFeatures: 2 });
    const want = await expected([3, 1]);
    asked = { pictures: [], texts: [] };
    expect(await bitsOf(later.over(encoders), await batchOf(later, [3, 1]))).toEqual(want);
    expect(asked).toEqual({ pictures: [1], texts: [1] });
    expect(later.size).toEqual({ ids: 3, teacherFeatures: 3, teacherTokens: 3, textFeatures: 3 });
  });

  test("passes by batches that do not say which pictures are theirs", async () => {
    const cache = await open(new MemoryStorage());
    const { recalled: _, ...batch } = await batchOf(cache, [1, 2]);
    await cache.over(encoders).pictures(batch, ALL);
    await cache.over(encoders).pictures(batch, ALL);
    expect(asked.pictures).toEqual([2, 2]);
    expect(cache.size.ids).toBe(0);
  });

  test("with damaged files gives the same, at worst made again", async () => {
    const storage = new MemoryStorage();
    const cache = await open(storage);
    await bitsOf(cache.over(encoders), await batchOf(cache, [1, 2, 3]));
    await cache.close();
    const want = await expected([3, 2, 1]);
    for (const [name, bytes] of [...storage.files].filter(([file]) => /\.(data|index)$/.test(file))) {
      for (let at = 0; at < bytes.length; at += Math.ceil(bytes.length / 40)) {
        storage.files.set(name, bytes.with(at, bytes[at]! ^ 16) as Uint8Array);
        const damaged = await open(storage);
        expect(await bitsOf(damaged.over(encoders), await batchOf(damaged, [3, 2, 1]))).toEqual(want);
        await damaged.close();
      }
      storage.files.set(name, bytes);
    }
  });
});

describe("a run that asks for a cache", () => {
  const config = (augmentation: object) => ({
    model: "m",
    tokenizer: "t",
    steps: 1,
    batch_size: 1,
    cache: true,
    data: { train: "d", augmentation: { crop: { kind: "squash" }, ...augmentation } },
  });

  test.each([
    ["crop", { crop: { kind: "resized-crop" } }],
    ["crop", { crop: { kind: "random-crop" } }],
    ["flip", { flip: 0.5 }],
    ["color_jitter", { color_jitter: { hue: 0.1 } }],
    ["grayscale", { grayscale: 0.1 }],
    ["background", { background: "random" }],
  ])("is refused where %s is random, unless its variants are counted", (key, augmentation) => {
    const parse = () => parseRunConfig("toklip", config(augmentation), "run.json");
    expect(parse).toThrow(`run.json: cache: data.augmentation.${key} is random`);
    expect(parse).toThrow("[CONFIG_INVALID]");
    expect(() => parseRunConfig("toklip", config({ ...augmentation, variants: null }), "r")).toThrow(
      "[CONFIG_INVALID]",
    );
    expect(parseRunConfig("toklip", config({ ...augmentation, variants: 2 }), "r").cache).toBe(true);
  });

  test("is refused with the crop that is the default", () => {
    expect(() => parseRunConfig("toklip", { ...config({}), data: { train: "d" } }, "r")).toThrow("augmentation.crop");
  });

  test.each([[{}], [{ crop: { kind: "shortest" }, background: [1, 2, 3] }], [{ background: "drop" }]])(
    "is taken with %j",
    (augmentation) => {
      expect(parseRunConfig("toklip", config(augmentation), "r").cache).toBe(true);
      expect(parseRunConfig("toklip", { ...config(augmentation), cache: "x" }, "r").cache).toBe("x");
    },
  );
});
