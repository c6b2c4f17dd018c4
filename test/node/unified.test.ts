// The unified transformer as a user has it: pictures to texts, texts to pictures, on the tiny TokLIP.
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ndarray } from "../../src/core/index.ts";
import { TokLIP } from "../../src/node/toklip.ts";
import { Unified } from "../../src/node/unified.ts";
import { arConfigMetadata } from "../../src/pipelines/index.ts";
import { TextTokenizer } from "../../src/text/index.ts";
import { normals } from "../ar-models.ts";
import { goldenPath, maxDifference } from "../goldens.ts";
import { TINY_TOKLIP, TINY_VOCABULARY, tinyUnified, writeTinyTokenizer, writeUnified } from "../tiny-unified.ts";

const toklip = TINY_TOKLIP;
const picture = new URL("../pictures/rocket.jpg", import.meta.url).pathname;
const folder = mkdtempSync(path.join(tmpdir(), "toklip-unified-"));
afterAll(() => rmSync(folder, { recursive: true }));

const configOf = tinyUnified;
const write = (
  name: string,
  ...parts: Parameters<typeof writeUnified> extends [string, ...infer Rest] ? Rest : never
) => writeUnified(path.join(folder, name), ...parts);

const tokenizer = TextTokenizer.fromJson(writeTinyTokenizer(folder), { vocabSize: TINY_VOCABULARY });

describe("a unified transformer", () => {
  let model: Unified;
  beforeAll(async () => {
    model = await Unified.load(await write("model.safetensors", configOf()), { toklip });
  });
  afterAll(() => model.dispose());

  test("is found with its configuration and its tokenizer", () => {
    expect(model.config).toEqual({ ...configOf(), name: "toklip" });
    expect(model.toklip.config.name).toBe("tiny");
  });

  test("describes pictures, with a question or without, at once and piece by piece", async () => {
    const captions = await model.describe([picture, picture], { maxTokens: 5 });
    expect(captions).toHaveLength(2);
    expect(captions[1]).toBe(captions[0]);
    const pieces: string[] = [];
    for await (const piece of model.streamText(picture, { maxTokens: 5 })) pieces.push(piece);
    expect(pieces.join("")).toBe(captions[0]);
    const [answer] = await model.describe(picture, { maxTokens: 5, question: "what is it?" });
    expect(answer).not.toBe(captions[0]);
    const searched = await model.describe([picture, picture], { maxTokens: 5, beams: 3 });
    expect(searched).toHaveLength(2);
    expect(searched[1]).toBe(searched[0]);
  });

  test("reads pixels as it reads files, and draws for picture i by seed + i, whatever was read with it", async () => {
    const pixels = await model.toklip.preprocess(Array<string>(10).fill(picture));
    const drawn = { maxTokens: 4, temperature: 2, seed: 5 };
    const all = await model.describe(pixels, drawn);
    const alone = async (seed: number) => (await model.describe(picture, { ...drawn, seed }))[0];
    expect([all[1], all[9]]).toEqual([await alone(6), await alone(14)]);
    expect(new Set(all).size).toBeGreaterThan(5);
  });

  test("scores labels, likeliest first, in the sentence of a template", async () => {
    const labels = ["red", "rocket", "a photo"];
    const [scores] = await model.scoreLabels(picture, { labels, template: "what is {}" });
    expect(scores!.map(({ label }) => label).sort()).toEqual([...labels].sort());
    const likelihoods = scores!.map(({ logProbability }) => logProbability);
    expect(likelihoods).toEqual(likelihoods.toSorted((a, b) => b - a));
    for (const { label, logProbability, perToken } of scores!) {
      expect(logProbability / perToken).toBeCloseTo(tokenizer.idsOf(`what is ${label}`).length + 1, 6);
    }
    const [asked] = await model.scoreLabels(picture, { labels, question: "what is it?" });
    expect(asked!.map(({ logProbability }) => logProbability)).not.toEqual(likelihoods);
  });

  test("generates pictures of texts, each drawn by its own seed", async () => {
    const pictures = await model.generate({ texts: ["a red rocket", "a photo"], count: 2, seed: 3, batch: 3 });
    expect(pictures.map(({ condition, seed }) => [condition, seed])).toEqual([
      [0, 3],
      [0, 4],
      [1, 5],
      [1, 6],
    ]);
    expect(pictures[0]!.image).toMatchObject({ width: 64, height: 64, mode: "RGB" });
    expect(pictures[0]!.ids.shape).toEqual([4, 4]);
    const [again] = await model.generate({ texts: ["a photo"], seed: 5 });
    expect(again!.ids).toEqual(pictures[2]!.ids);
    const [alone] = await model.generate({ texts: ["a photo"], seed: 5, decode: false, previewEvery: 4 });
    expect(alone).toEqual({ index: 0, condition: 0, seed: 5, ids: again!.ids });
  });

  test("refuses texts of which nothing is left, and a template without a place", async () => {
    for (const run of [
      () => model.generate({ texts: ["a", "..."] }),
      () => model.generate({ texts: [] }),
      () => model.describe(picture, { question: "?!" }),
      () => model.scoreLabels(picture, { labels: ["!"] }),
      () => model.scoreLabels(picture, { labels: ["a"], template: "a photo" }),
    ]) {
      await expect(run()).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
    }
  });
});

test("a token encoder that was trained through is read from the transformer's checkpoint", async () => {
  const config = configOf();
  const more = [["visual.trunk.pos_embed", normals("positions", [1, 16, 64])] as const];
  const through = await Unified.load(await write("through.safetensors", config, arConfigMetadata(config), more), {
    toklip,
  });
  const frozen = await TokLIP.load(toklip);
  const ids = ndarray("i32", [1, 16]);
  const features = async (model: Pick<TokLIP, "encodeFeatures">) =>
    (await model.encodeFeatures(ids)).tokenFeatures.data;
  expect(maxDifference(await features(through.toklip), await features(frozen))).toBeGreaterThan(0.1);
  const stream = await through.toklip.startStream();
  const stepped = await stream.step(ndarray("i32", [1, 16]));
  expect(maxDifference(stepped.data, await features(through.toklip))).toBeLessThan(1e-4);
  await stream.dispose();
  await through.dispose();
  await frozen.dispose();
});

test("the TokLIP beside a transformer is its own where none is named", async () => {
  const file = await write("own.safetensors", configOf());
  copyFileSync(toklip, path.join(folder, "toklip.pt"));
  copyFileSync(goldenPath("tiny/tiny.json"), path.join(folder, "toklip.json"));
  const model = await Unified.load(file);
  expect(model.toklip.config.name).toBe("toklip");
  await model.dispose();
});

test("guidance that a model was not trained for is told of", async () => {
  const file = await write("plain.safetensors", configOf({ condition_dropout: 0 }));
  const model = await Unified.load(file, { toklip });
  const warnings: string[] = [];
  const warn = (message: string) => warnings.push(message);
  await model.generate({ texts: ["a"], warn });
  expect(warnings).toEqual([]);
  await model.generate({ texts: ["a"], guidanceScale: 2, warn });
  expect(warnings).toEqual([expect.stringMatching(/was trained without dropped texts, which guidance by 2 leans on/)]);
  await model.dispose();
  await expect(model.describe(picture)).rejects.toMatchObject({ code: "DISPOSED" });
});

test("a checkpoint without its configuration, its TokLIP or its tokenizer is not loaded", async () => {
  const bare = await write("bare.safetensors", configOf(), {});
  await expect(Unified.load(bare, { toklip })).rejects.toMatchObject({ code: "CONFIG_UNKNOWN" });
  const loaded = await Unified.load(bare, { toklip, config: configOf().source });
  await loaded.dispose();
  const other = await Unified.load(bare, { toklip, config: { ...configOf().source, depth: 3 } });
  await expect(other.describe(picture)).rejects.toMatchObject({ code: "CHECKPOINT_MISMATCH" });
  await other.dispose();
  await expect(Unified.load(bare, { toklip: "no-such.pt", config: configOf().source })).rejects.toMatchObject({
    code: "FILE_NOT_FOUND",
  });
  const tokenizer = path.join(folder, "none.json");
  await expect(Unified.load(bare, { toklip, config: configOf().source, tokenizer })).rejects.toMatchObject({
    code: "FILE_NOT_FOUND",
  });
  await expect(Unified.load(toklip, { toklip })).rejects.toThrow(/CONFIG/);
});
