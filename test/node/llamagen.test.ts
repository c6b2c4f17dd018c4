// The public class of LlamaGen on the goldens: ids of the reference, pictures, and every misuse.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type NDArray, ndarray, type ProgressEvent, rows } from "../../src/core/index.ts";
import { type GenerationEvent, LlamaGen, type PictureRequest } from "../../src/node/index.ts";
import { goldenPath, goldenTensors } from "../goldens.ts";
import { writeTinyVq } from "../tiny-vq.ts";

const folder = mkdtempSync(join(tmpdir(), "toklip-llamagen-"));
afterAll(() => rmSync(folder, { recursive: true }));
const vq = join(folder, "vq.safetensors");
beforeAll(() => writeTinyVq(vq));

/** What the shapes of the goldens do not say. */
const known = { config: { n_head: 4 }, grid: 4 };
const pathOf = (name: string) => goldenPath(`ar/${name}.pt`);
const load = (name: string, options = {}) => LlamaGen.load(pathOf(name), { ...known, ...options });
const flat = (pictures: readonly { readonly ids: NDArray<"i32"> }[]) => pictures.map(({ ids }) => Array.from(ids.data));

async function collected(events: AsyncIterable<GenerationEvent>): Promise<GenerationEvent[]> {
  const all: GenerationEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** The classes, or the captions, that a golden was made with. */
async function requestOf(name: string): Promise<PictureRequest> {
  const golden = await goldenTensors(`ar/${name}.safetensors`);
  if (name !== "gpt_t2i") return { classes: Array.from((await golden("cond")).data as Int32Array) };
  const features = (await golden("t5.features")) as NDArray<"f32">;
  const mask = (await golden("t5.mask")) as NDArray<"i32">;
  const captions = Array.from({ length: features.shape[0]! }, (_, row) => {
    const length = rows(mask, row, row + 1).data.reduce((sum, bit) => sum + bit, 0);
    const [tokens, width] = features.shape.slice(1) as [number, number];
    return rows(ndarray("f32", [tokens, width], rows(features, row, row + 1).data), 0, length);
  });
  return { captions };
}

describe.each(["gpt_c2i", "gpt_c2i_gqa", "gpt_t2i"])("%s", async (name) => {
  const golden = await goldenTensors(`ar/${name}.safetensors`);
  const model = await load(name);
  afterAll(() => model.dispose());

  test.each([
    ["nocfg", { guidanceScale: 1 }],
    ["cfg3", { guidanceScale: 3 }],
    ["cfg3_interval4", { guidanceScale: 3, guidanceInterval: 4 }],
  ])("gives the reference's greedy ids: %s", async (set, how) => {
    const request = { ...(await requestOf(name)), greedy: true, ...how };
    const expected = (await golden(`gen.${set}.ids`)) as NDArray<"i32">;
    const [pictures, size] = expected.shape as [number, number];
    const ids = flat(await model.generate(request));
    expect(ids).toEqual(
      Array.from({ length: pictures }, (_, i) => Array.from(expected.data.slice(i * size, (i + 1) * size))),
    );
    expect(flat(await model.generate({ ...request, batch: 1 }))).toEqual(ids);
  });
});

describe("LlamaGen", async () => {
  let model: LlamaGen;
  beforeAll(async () => {
    model = await load("gpt_c2i", { vq });
  });
  afterAll(() => model.dispose());
  const request = { classes: [3, 7], count: 2, seed: 5, temperature: 1.2 };

  test("says what it continues, and on what grid", () => {
    expect([model.name, model.side, model.condition]).toEqual([
      "gpt_c2i",
      4,
      { kind: "class", classes: 10, tokens: 1, hasNull: true },
    ]);
  });

  test("gives pictures of each class in order, each drawn by its own seed whatever is beside it", async () => {
    const pictures = await model.generate(request);
    expect(pictures.map(({ index, condition, seed }) => [index, condition, seed])).toEqual([
      [0, 0, 5],
      [1, 0, 6],
      [2, 1, 7],
      [3, 1, 8],
    ]);
    const [first] = pictures;
    expect([first!.ids.shape, first!.image!.width, first!.image!.mode]).toEqual([[4, 4], 8, "RGB"]);
    const [third] = await model.generate({ ...request, classes: [7], count: 1, seed: 7 });
    expect(third!.ids).toEqual(pictures[2]!.ids);
    expect(third!.image).toEqual(pictures[2]!.image);
    expect(await model.generate({ ...request, batch: 3 })).toEqual(pictures);
    expect(new Set(flat(pictures).map(String)).size).toBe(4);
  });

  test("is guided, and chooses among the likeliest, as LlamaGen's demonstrations unless it is told otherwise", async () => {
    const usual = await model.generate(request);
    expect(await model.generate({ ...request, guidanceScale: 4, topK: 2000 })).toEqual(usual);
    expect(flat(await model.generate({ ...request, guidanceScale: 1 }))).not.toEqual(flat(usual));
  });

  test("tells of each step, with previews, and of each batch's pictures", async () => {
    const seen: ProgressEvent[] = [];
    const onProgress = (event: ProgressEvent) => seen.push(event);
    const events = await collected(model.stream({ ...request, batch: 3, previewEvery: 8, onProgress }));
    const steps = events.filter((event) => event.type === "ids");
    expect(steps.map(({ first, count }) => [first, count])).toEqual(
      [0, 3].flatMap((first) => Array.from({ length: 16 }, (_, i) => [first, i + 1])),
    );
    expect(steps.map(({ ids }) => ids.length)).toEqual([...Array(16).fill(3), ...Array(16).fill(1)]);
    expect(steps.flatMap(({ count, previews }) => (previews ? [[count, previews.length]] : []))).toEqual([
      [8, 3],
      [16, 3],
      [8, 1],
      [16, 1],
    ]);
    const pictures = events.flatMap((event) => (event.type === "pictures" ? event.pictures : []));
    expect(pictures).toEqual(await model.generate(request));
    expect(pictures[0]!.image).toBe(steps[15]!.previews![0]);
    const done = seen.filter(({ stage }) => stage === "generate").map(({ done, total }) => [done, total]);
    expect(done).toEqual(Array.from({ length: 32 }, (_, i) => [i + 1, 32]));
  });

  test("stops when it is aborted, and can begin again", async () => {
    const stop = new AbortController();
    const run = (async () => {
      for await (const event of model.stream({ classes: [1], signal: stop.signal })) {
        if (event.type === "ids" && event.count === 3) stop.abort();
      }
    })();
    await expect(run).rejects.toMatchObject({ code: "ABORTED" });
    await expect(model.generate({ classes: [1], signal: stop.signal })).rejects.toMatchObject({ code: "ABORTED" });
    expect(await model.generate({ classes: [1] })).toHaveLength(1);
  });

  test("is left early without harm", async () => {
    for await (const event of model.stream({ classes: [1] })) if (event.type === "ids" && event.count === 2) break;
    expect(await model.generate({ classes: [1] })).toHaveLength(1);
  });

  test.each<[string, PictureRequest, string]>([
    ["a class that there is not", { classes: [0, 10] }, "class 10 is not in [0, 10) [ARGUMENT_INVALID]"],
    ["half a class", { classes: [1.5] }, "class 1.5: expected a whole number [ARGUMENT_INVALID]"],
    ["no classes", { classes: [] }, "[SHAPE_MISMATCH]"],
    ["nothing to continue", {}, "expected either classes or features of captions [ARGUMENT_INVALID]"],
    ["a caption", { captions: [ndarray("f32", [2, 24])] }, "the condition is a class, not the features of a caption"],
    ["no pictures", { classes: [1], count: 0 }, "count 0: expected a whole number, 1 or more [ARGUMENT_INVALID]"],
    ["a batch of none", { classes: [1], batch: 0 }, "batch 0: expected"],
    ["previews after half an id", { classes: [1], previewEvery: 0.5 }, "preview every 0.5: expected"],
    ["a wrong guidance", { classes: [1], guidanceScale: Number.NaN }, "guidance scale NaN: expected a number"],
    ["a wrong temperature", { classes: [1], temperature: -1 }, "temperature -1: expected 0 or more"],
  ])("refuses %s", async (_, wrong, message) => {
    await expect(model.generate(wrong)).rejects.toThrow(message);
  });

  test("does not answer when it has been disposed of", async () => {
    const other = await load("gpt_c2i_gqa");
    expect((await other.generate({ classes: [1] }))[0]).not.toHaveProperty("image");
    await other.dispose();
    await other.dispose();
    await expect(other.generate({ classes: [1] })).rejects.toMatchObject({ code: "DISPOSED" });
  });
});

describe("guidance of a model that was trained without dropping its condition", () => {
  test("is left out for classes, with a warning, and not missed where nobody asks", async () => {
    const model = await load("gpt_c2i", { config: { n_head: 4, class_dropout_prob: 0 } });
    const warnings: string[] = [];
    const ask = (how: PictureRequest) => model.generate({ classes: [1], warn: (text) => warnings.push(text), ...how });
    const guided = await ask({ guidanceScale: 3 });
    expect(warnings).toEqual([
      "gpt_c2i was trained without dropped classes, which guidance by 3 leans on: it is generated without guidance",
    ]);
    expect(guided).toEqual(await ask({}));
    expect(guided).toEqual(await ask({ guidanceScale: 1 }));
    expect(warnings).toHaveLength(1);
    await model.dispose();
  });

  test("is followed for captions, with a warning", async () => {
    const model = await load("gpt_t2i", { config: { n_head: 4, class_dropout_prob: 0 } });
    const warnings: string[] = [];
    const { captions } = await requestOf("gpt_t2i");
    const warn = (text: string) => warnings.push(text);
    const guided = await model.generate({ captions, greedy: true, guidanceScale: 3, warn });
    expect(warnings).toEqual([expect.stringContaining("without dropped captions, which guidance by 3 leans on")]);
    const golden = await goldenTensors("ar/gpt_t2i.safetensors");
    expect(flat(guided).flat()).toEqual(Array.from((await golden("gen.cfg3.ids")).data as Int32Array));
    await model.dispose();
  });
});

describe("loading", () => {
  test("runs 8-bit weights", async () => {
    const model = await load("gpt_c2i", { precision: "int8" });
    expect(await model.generate({ classes: [1] })).toHaveLength(1);
    await model.dispose();
  });

  test("reads a configuration from a file", async () => {
    const config = join(folder, "gpt.json");
    writeFileSync(config, JSON.stringify({ n_head: 4, block_size: 16 }));
    const model = await LlamaGen.load(pathOf("gpt_c2i"), { config });
    expect([model.side, model.config.numHeads]).toEqual([4, 4]);
    await model.dispose();
  });

  test.each<[string, () => Promise<LlamaGen>, string | RegExp]>([
    ["a file that is not there", () => LlamaGen.load("nowhere.pt"), "FILE_NOT_FOUND"],
    ["a VQ that is not there", () => load("gpt_c2i", { vq: "nowhere.pt" }), "FILE_NOT_FOUND"],
    [
      "a VQ in the place of a GPT",
      () => LlamaGen.load(pathOf("vq8_small")),
      "it has no matrix tok_embeddings.weight [CHECKPOINT_MISMATCH]",
    ],
    [
      "a GPT in the place of a VQ",
      () => load("gpt_c2i", { vq: pathOf("gpt_c2i") }),
      "gpt_c2i.pt holds no VQ of LlamaGen's kind: it has no weight quantize.embedding.weight [CHECKPOINT_MISMATCH]",
    ],
    [
      "a VQ of another codebook",
      () => load("gpt_c2i", { vq: pathOf("vq8_small") }),
      "gpt_c2i.pt makes ids of 128 codes, but the codebook of vq8_small.pt has 256 [CHECKPOINT_MISMATCH]",
    ],
    [
      "a checkpoint of another size",
      () => LlamaGen.load(pathOf("gpt_c2i"), { config: "GPT-B" }),
      "gpt_c2i.pt is not a GPT-B: cls_embedding.embedding_table.weight expected [11,768], got [11,64] [CHECKPOINT_MISMATCH]",
    ],
    ["heads that nobody knows", () => LlamaGen.load(pathOf("gpt_c2i")), "CONFIG_INVALID"],
    ["a size that there is not", () => load("gpt_c2i", { config: { size: "GPT-C" } }), 'size "GPT-C" is none of GPT-B'],
    ["a configuration that is not there", () => load("gpt_c2i", { config: "gpt.json" }), "CONFIG_UNKNOWN"],
    ["a list for a configuration", () => load("gpt_c2i", { config: [1] }), "no JSON object [CONFIG_INVALID]"],
    ["half a grid", () => load("gpt_c2i", { grid: 2.5 }), "grid 2.5: expected a whole number, 1 or more"],
    ["a precision that there is not", () => load("gpt_c2i", { precision: "int3" }), 'precision "int3": expected'],
  ])("refuses %s", async (_, run, message) => {
    await expect(run()).rejects.toThrow(message);
  });
});
