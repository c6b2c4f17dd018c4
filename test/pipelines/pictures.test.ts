import { describe, expect, it } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { classifyImages, encodeLabels } from "../../src/pipelines/classify.ts";
import { embedImages, embedTexts } from "../../src/pipelines/embed.ts";
import { reconstructIds, reconstructImages, sideBySide } from "../../src/pipelines/reconstruct.ts";
import { tokenizeImages } from "../../src/pipelines/tokenize.ts";
import { FAKE_CONFIG, fakeModel, idsOf } from "./fake-model.ts";

async function gather<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe("tokenizeImages", () => {
  it("gives each picture its own ids, in order, over batch borders", async () => {
    const files = Array.from({ length: 11 }, (_, i) => `p/${i}.png`);
    const model = fakeModel();
    const results = await gather(tokenizeImages(model, files, { batch: 4 }));
    expect(results.map(({ file }) => file)).toEqual(files);
    for (const result of results) expect(Array.from(result.error ? [] : result.ids)).toEqual(idsOf(result.file));
    expect(model.batches).toEqual([4, 4, 3]);
  });

  it("tells of an unreadable picture at its place, and loses none of its batch-mates", async () => {
    const files = ["a.png", "bad1.png", "b.png", "bad2.png", "c.png"];
    const results = await gather(tokenizeImages(fakeModel(), files, { batch: 3 }));
    expect(results.map(({ file, error }) => [file, error?.code])).toEqual([
      ["a.png", undefined],
      ["bad1.png", "IMAGE_UNREADABLE"],
      ["b.png", undefined],
      ["bad2.png", "IMAGE_UNREADABLE"],
      ["c.png", undefined],
    ]);
    for (const result of results) if (!result.error) expect(Array.from(result.ids)).toEqual(idsOf(result.file));
  });

  it("does not run the model for a batch in which nothing can be read", async () => {
    const model = fakeModel();
    await gather(tokenizeImages(model, ["bad1", "bad2", "good"], { batch: 2 }));
    expect(model.batches).toEqual([1]);
  });

  it("gives token and image features on request", async () => {
    const [result] = await gather(tokenizeImages(fakeModel(), ["a.png"], { features: true }));
    if (!result || result.error) throw new Error("expected a result");
    expect(result.tokenFeatures?.length).toBe(16 * FAKE_CONFIG.embedDim);
    expect(result.imageFeatures?.length).toBe(FAKE_CONFIG.embedDim);
    expect(result.tokenFeatures?.[FAKE_CONFIG.embedDim]).toBe(idsOf("a.png")[1]);
  });

  it("holds no more than `prefetch` pictures of ten thousand", async () => {
    const model = fakeModel();
    let asked = 0;
    let taken = 0;
    let most = 0;
    function* names(): Generator<string> {
      for (; asked < 10_000; asked++) {
        most = Math.max(most, asked - taken);
        yield `${asked}.png`;
      }
    }
    for await (const _ of tokenizeImages(model, names(), { batch: 8, prefetch: 24, concurrency: 3 })) taken++;
    expect(taken).toBe(10_000);
    expect(model.mostRunning).toBeLessThanOrEqual(3);
    // What is prepared ahead, and the batch whose results are being given out.
    expect(most).toBeLessThanOrEqual(24 + 8);
  });

  it("prepares the next pictures while the model runs", async () => {
    const model = fakeModel({ runMs: 30 });
    const results = tokenizeImages(
      model,
      Array.from({ length: 12 }, (_, i) => `${i}`),
      { batch: 4, prefetch: 8 },
    );
    await results.next();
    expect(model.preprocessed).toBeGreaterThan(8);
    await results.return();
  });

  it("stops with ABORTED between batches, and nothing is left running", async () => {
    const controller = new AbortController();
    const model = fakeModel({ preprocessMs: 1 });
    const files = Array.from({ length: 100 }, (_, i) => `${i}`);
    const seen: string[] = [];
    const run = async (): Promise<void> => {
      for await (const { file } of tokenizeImages(model, files, { batch: 5, signal: controller.signal })) {
        seen.push(file);
        if (seen.length === 7) controller.abort();
      }
    };
    await expect(run()).rejects.toMatchObject({ code: "ABORTED" });
    expect(seen).toEqual(files.slice(0, 10));
    expect(model.running).toBe(0);
  });

  it("does not take an error of the model for one of a picture", async () => {
    const model = fakeModel();
    model.encodeIds = () => Promise.reject(new ToklipError("OUT_OF_MEMORY", "encode"));
    await expect(gather(tokenizeImages(model, ["a"]))).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
  });
});

describe("embed", () => {
  it("normalises features where asked", async () => {
    const length = (features: Float32Array): number => Math.hypot(...features);
    const [plain] = await gather(embedImages(fakeModel(), ["a"]));
    const [unit] = await gather(embedImages(fakeModel(), ["a"], { normalize: true }));
    if (!plain || plain.error || !unit || unit.error) throw new Error("expected results");
    expect(length(plain.features)).toBeGreaterThan(1.5);
    expect(length(unit.features)).toBeCloseTo(1, 6);
    expect(unit.features[3]! * length(plain.features)).toBeCloseTo(plain.features[3]!, 5);
  });

  it("encodes texts in batches, in order", async () => {
    const model = fakeModel();
    const texts = Array.from({ length: 10 }, (_, i) => `text ${i}`);
    const results = await gather(embedTexts(model, texts, { batch: 4 }));
    expect(results.map(({ text }) => text)).toEqual(texts);
    expect(model.texts).toEqual(texts);
  });
});

describe("classify", () => {
  it("puts the label whose features are the picture's first", async () => {
    const model = fakeModel();
    const labels = await encodeLabels(model, ["cat", "dog", "eel"], { templates: ["{}"] });
    const results = await gather(classifyImages(model, ["x/dog", "cat"], labels));
    expect(results.map((result) => !result.error && result.scores[0]!.label)).toEqual(["dog", "cat"]);
    const scores = results[0]!.error ? [] : results[0]!.scores;
    expect(scores.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(1, 10);
  });

  it("averages normalised features over templates, and normalises again", async () => {
    const model = fakeModel();
    const { features } = await encodeLabels(model, ["cat"], { templates: ["a {}", "{} and {}"] });
    expect(model.texts).toEqual(["a cat", "cat and cat"]);
    const unit = (v: Float32Array): number[] => Array.from(v, (x) => x / Math.hypot(...v));
    const [a, b] = [await model.encodeText("a cat"), await model.encodeText("cat and cat")].map(({ data }) =>
      unit(data),
    );
    const expected = unit(Float32Array.from(a!, (x, i) => (x + b![i]!) / 2));
    for (const [i, value] of features.data.entries()) expect(value).toBeCloseTo(expected[i]!, 6);
  });

  it("encodes many prompts in several runs of the text tower without mixing labels", async () => {
    const labels = Array.from({ length: 50 }, (_, i) => `label ${i}`);
    const many = await encodeLabels(fakeModel(), labels, { templates: ["a {}", "the {}", "{}"] });
    const one = await encodeLabels(fakeModel(), [labels[37]!], { templates: ["a {}", "the {}", "{}"] });
    const width = FAKE_CONFIG.embedDim;
    expect(many.features.data.slice(37 * width, 38 * width)).toEqual(one.features.data);
  });

  it("refuses no labels, no templates, and a template without a place for the label", async () => {
    const code = { code: "ARGUMENT_INVALID" };
    await expect(encodeLabels(fakeModel(), [], { templates: ["{}"] })).rejects.toMatchObject(code);
    await expect(encodeLabels(fakeModel(), ["a"], { templates: [] })).rejects.toMatchObject(code);
    await expect(encodeLabels(fakeModel(), ["a"], { templates: ["photo"] })).rejects.toMatchObject(code);
  });
});

describe("reconstruct", () => {
  it("decodes what it encoded, and measures the difference", async () => {
    const [result] = await gather(reconstructImages(fakeModel(), ["a"]));
    if (!result || result.error) throw new Error("expected a result");
    expect(result.psnr).toBe(Number.POSITIVE_INFINITY);
    expect(result.image.data).toEqual(result.original.data);
    const model = fakeModel();
    const decode = model.decodeIds.bind(model);
    model.decodeIds = async (ids) => decode({ ...ids, data: ids.data.map((id) => id + 1) });
    const [off] = await gather(reconstructImages(model, ["a"]));
    expect(off && !off.error && off.psnr).toBeCloseTo(20 * Math.log10(255), 9); // every sample is off by one
  });

  it("refuses ids of another grid or codebook one by one", async () => {
    const ids = Int32Array.from(idsOf("a"));
    const tooLarge = Int32Array.from(ids);
    tooLarge[3] = 1 << 20;
    async function* lines() {
      yield { file: "a", grid: [4, 4] as const, ids };
      yield { file: "b", grid: [2, 2] as const, ids: ids.slice(0, 4) };
      yield { file: "c", grid: [4, 4] as const, ids: tooLarge };
      yield { file: "d", error: new ToklipError("FILE_CORRUPT", "d") };
      yield { file: "e", grid: [4, 4] as const, ids };
    }
    const results = await gather(reconstructIds(fakeModel(), lines()));
    expect(results.map(({ file, error }) => [file, error?.code])).toEqual([
      ["a", undefined],
      ["b", "IDS_GRID_MISMATCH"],
      ["c", "IDS_OUT_OF_RANGE"],
      ["d", "FILE_CORRUPT"],
      ["e", undefined],
    ]);
  });

  it("puts two pictures beside each other, row by row", () => {
    const picture = (...values: number[]) => ({
      width: 1,
      height: 2,
      mode: "RGB" as const,
      data: Uint8Array.from(values),
    });
    const both = sideBySide(picture(1, 1, 1, 2, 2, 2), picture(3, 3, 3, 4, 4, 4));
    expect([both.width, both.height]).toEqual([2, 2]);
    expect(Array.from(both.data)).toEqual([1, 1, 1, 3, 3, 3, 2, 2, 2, 4, 4, 4]);
  });
});
