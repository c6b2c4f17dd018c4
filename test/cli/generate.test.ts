import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Engine } from "../../src/cli/context.ts";
import { nodeEngine } from "../../src/cli/engine.ts";
import { bytesOf, type NDArray, ndarray } from "../../src/core/index.ts";
import { readTensor, writeNpy, writeSafetensors } from "../../src/files/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { decodeImage } from "../../src/node/image.ts";
import { parseIdsLine } from "../../src/pipelines/ids-line.ts";
import { goldenPath, goldenTensors } from "../goldens.ts";
import { TINY_TOKLIP, tinyUnified, writeTinyTokenizer, writeUnified } from "../tiny-unified.ts";
import { writeTinyVq } from "../tiny-vq.ts";
import { enterFolder, toklip } from "./harness.ts";

const { loadGenerator, encodePng, encodeCaptions } = nodeEngine;
const engine: Partial<Engine> = { loadGenerator, encodePng, encodeCaptions };

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
  await writeFile("gpt.json", JSON.stringify({ n_head: 4, block_size: 16 }));
  await writeTinyVq("vq.safetensors");
});
afterEach(() => leave());

const own = ["gpt.json", "vq.safetensors"];
const made = async () => (await readdir(".", { recursive: true })).filter((name) => !own.includes(name)).sort();

const gpt = (name: string) => ["--model", goldenPath(`ar/${name}.pt`), "--config", "gpt.json"];
const C2I = gpt("gpt_c2i");
const T2I = gpt("gpt_t2i");
const VQ = ["--vq", "vq.safetensors"];
const run = (args: readonly string[], options: Parameters<typeof toklip>[1] = {}) =>
  toklip(["generate", ...args], { engine, ...options });

const idsIn = async (file: string) =>
  (await readFile(file, "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => parseIdsLine(line, file));

async function npy(file: string, array: NDArray): Promise<string> {
  const pieces: Uint8Array[] = [];
  await writeNpy({ write: async (bytes) => void pieces.push(bytes.slice()) }, array);
  await writeFile(file, Buffer.concat(pieces));
  return file;
}

describe("toklip generate", () => {
  it("makes pictures of classes, named by class and seed, and tells of each", async () => {
    const { status, stdout, stderr } = await run([
      ...[...C2I, ...VQ, "--class", "3", "--class", "7"],
      ...["--guidance", "4", "--top-k", "2000", "--seed", "1", "--out", "out"],
    ]);
    expect(status).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "class 3  seed 1  out/class-3-seed-1.png
      class 7  seed 2  out/class-7-seed-2.png
      "
    `);
    expect(stderr).toMatchInlineSnapshot(`
      "toklip: 2 pictures generated (0 s)
      "
    `);
    const { width, height, mode } = await decodeImage("out/class-3-seed-1.png");
    expect([width, height, mode]).toEqual([8, 8, "RGB"]);
    expect(await made()).toEqual(["out", "out/class-3-seed-1.png", "out/class-7-seed-2.png"]);
  });

  it("writes the reference's greedy ids as lines, without a VQ", async () => {
    const golden = await goldenTensors("ar/gpt_c2i.safetensors");
    const classes = Array.from((await golden("cond")).data as Int32Array);
    const asked = [...C2I, ...classes.flatMap((label) => ["--class", String(label)]), "--greedy", "--ids", "ids.jsonl"];
    const { status, stdout } = await run([...asked, "--guidance", "3", "--guidance-interval", "4", "--json"]);
    expect(status).toBe(0);
    const lines = await idsIn("ids.jsonl");
    expect(lines.flatMap(({ ids }) => [...ids])).toEqual(
      Array.from((await golden("gen.cfg3_interval4.ids")).data as Int32Array),
    );
    expect(lines.map(({ file, grid }) => [file, grid])).toEqual(
      classes.map((label, i) => [`class-${label}-seed-${i}.png`, [4, 4]]),
    );
    expect(stdout).toBe(classes.map((label, seed) => `${JSON.stringify({ class: label, seed })}\n`).join(""));
    expect(await made()).toEqual(["ids.jsonl"]);
  });

  it("makes any picture again alone, by the seed in its name, whatever the batch was", async () => {
    await run([...C2I, ...VQ, "--class", "5", "--count", "3", "--batch", "2", "--out", "many", "--ids", "many.jsonl"]);
    await run([...C2I, ...VQ, "--class", "5", "--seed", "2", "--out", "one.png", "--ids", "one.jsonl"]);
    const [many, one] = [await idsIn("many.jsonl"), await idsIn("one.jsonl")];
    expect(many.map(({ file }) => file)).toEqual([0, 1, 2].map((seed) => `many/class-5-seed-${seed}.png`));
    expect(one).toEqual([{ ...many[2], file: "one.png" }]);
    expect(await readFile("one.png")).toEqual(await readFile("many/class-5-seed-2.png"));
  });

  it("writes previews of what there is", async () => {
    await run([...C2I, ...VQ, "--class", "5", "--out", "new/cat.png", "--previews", "4"]);
    const previews = [4, 8, 12].map((count) => `new/cat-ids-${count}.png`);
    expect(await made()).toEqual(["new", ...[...previews, "new/cat.png"].sort()]);
    const [four, eight] = await Promise.all(previews.map((file) => decodeImage(file)));
    // The first row of ids is there in both; the second is a repetition in one.
    expect(four!.width).toBe(8);
    expect(four).not.toEqual(eight);
  });

  it("reads features of captions, as many as there are", async () => {
    const golden = await goldenTensors("ar/gpt_t2i.safetensors");
    const features = (await golden("t5.features")) as NDArray<"f32">;
    const mask = (await golden("t5.mask")) as NDArray<"i32">;
    const [batch, tokens, width] = features.shape as [number, number, number];
    const args: string[] = [];
    for (let row = 0; row < batch; row++) {
      const length = mask.data.slice(row * tokens, (row + 1) * tokens).reduce((sum, bit) => sum + bit, 0);
      const start = row * tokens * width;
      const caption = ndarray("f32", [1, length, width], features.data.slice(start, start + length * width));
      args.push("--features", await npy(`Caption ${row}.npy`, caption));
    }
    const { stdout } = await run([...T2I, ...args, "--greedy", "--guidance", "1", "--ids", "ids.jsonl"]);
    const lines = await idsIn("ids.jsonl");
    expect(lines.flatMap(({ ids }) => [...ids])).toEqual(
      Array.from((await golden("gen.nocfg.ids")).data as Int32Array),
    );
    expect(lines[0]!.file).toBe("caption-0-seed-0.png");
    expect(stdout.split("\n")[1]).toBe("Caption 1  seed 1");
  });

  it("encodes a prompt by the encoder that is named", async () => {
    const asked: unknown[] = [];
    const caption = ndarray("f32", [3, 24]);
    const { status, stdout } = await run(
      [
        "A red fox!",
        ...T2I,
        "--text-encoder",
        "t5.onnx",
        "--tokenizer",
        "t.json",
        ...VQ,
        "--out",
        "o",
        "--threads",
        "1",
      ],
      {
        engine: {
          ...engine,
          encodeCaptions: async (texts, { signal: _, onProgress: __, ...options }) => {
            asked.push([texts, options]);
            return [caption];
          },
        },
      },
    );
    expect(status).toBe(0);
    const options = { encoder: "t5.onnx", tokenizer: "t.json", longest: 8, device: "cpu", threads: 1 };
    expect(asked).toEqual([[["A red fox!"], options]]);
    expect(stdout).toBe("A red fox!  seed 0  o/a-red-fox-seed-0.png\n");
  });

  it("warns of guidance that the model knows nothing of, and goes on without", async () => {
    await writeFile("gpt.json", JSON.stringify({ n_head: 4, block_size: 16, class_dropout_prob: 0 }));
    const { status, stderr } = await run([...C2I, "--class", "1", "--guidance", "2", "--ids", "ids.jsonl"]);
    expect(status).toBe(0);
    expect(stderr).toContain(
      "toklip: warning: gpt_c2i was trained without dropped classes, which guidance by 2 leans on: it is generated without guidance\n",
    );
  });
});

describe("toklip generate with a unified transformer", () => {
  const AR = ["--model", "ar/ar.safetensors", "--toklip", TINY_TOKLIP];
  const makeModel = async () => {
    await mkdir("ar");
    await writeUnified("ar/ar.safetensors");
    writeTinyTokenizer("ar");
  };
  const madeBeside = async () => (await made()).filter((name) => !name.startsWith("ar"));

  it("makes pictures of texts, which its TokLIP decodes, each drawn by the seed in its name", async () => {
    await makeModel();
    const many = await run(["A red rocket!", "a photo", ...AR, "--count", "2", "--seed", "1", "--out", "o"]);
    expect([many.status, many.stderr]).toEqual([0, "toklip: 4 pictures generated (0 s)\n"]);
    expect(many.stdout).toBe(
      ["A red rocket!  seed 1  o/a-red-rocket-seed-1.png", "A red rocket!  seed 2  o/a-red-rocket-seed-2.png"]
        .concat(["a photo  seed 3  o/a-photo-seed-3.png", "a photo  seed 4  o/a-photo-seed-4.png", ""])
        .join("\n"),
    );
    const one = ["a photo", ...AR, "--seed", "4", "--out", "g.png", "--ids", "i.jsonl", "--previews", "8", "--json"];
    expect(JSON.parse((await run(one)).stdout)).toEqual({ text: "a photo", seed: 4, out: "g.png" });
    expect(await readFile("g.png")).toEqual(await readFile("o/a-photo-seed-4.png"));
    const { width, height, mode } = await decodeImage("g.png");
    expect([width, height, mode]).toEqual([64, 64, "RGB"]);
    expect((await idsIn("i.jsonl")).map(({ grid, ids }) => [grid, ids.length])).toEqual([[[4, 4], 16]]);
    expect(await madeBeside()).toContain("g-ids-8.png");
  });

  it("is told by its tensors where its configuration is beside it", async () => {
    await mkdir("ar");
    const config = tinyUnified();
    await writeUnified("ar/ar.safetensors", config, {});
    await writeFile("ar/ar.json", JSON.stringify(config.source));
    writeTinyTokenizer("ar");
    const { status, stdout } = await run(["a photo", ...AR, "--greedy", "--guidance", "1", "--ids", "i.jsonl"]);
    expect([status, stdout]).toEqual([0, "a photo  seed 0\n"]);
  });

  it("refuses what goes with other models, in one line", async () => {
    await makeModel();
    for (const [args, message] of [
      [["--class", "1"], 'reads text and knows no classes by number: say what the pictures show, as "a red guitar"'],
      [[], 'reads text: say what the pictures show, as "a red guitar" [USAGE]; see toklip generate --help'],
      [["a", "--features", "f.npy"], "reads text itself, not features of it"],
      [["a", ...VQ], "is decoded by its own TokLIP: leave out --vq, or name another by --toklip"],
      [["a", "--grid", "4"], "says itself how many ids a picture has: leave out --grid"],
    ] as const) {
      const { status, stdout, stderr } = await run([...args, ...AR, "--out", "o"]);
      expect([status, stdout, stderr]).toEqual([2, "", expect.stringContaining(message)]);
      expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    }
    const gpt = await run([...C2I, "--class", "1", "--toklip", TINY_TOKLIP, "--ids", "i"]);
    expect([gpt.status, gpt.stderr]).toEqual([2, expect.stringContaining("leave out --toklip")]);
    const empty = await run(["?!", ...AR, "--out", "o"]);
    expect([empty.status, empty.stderr]).toEqual([1, expect.stringContaining("cleaning leaves nothing of it")]);
  });
});

describe("toklip generate refuses", () => {
  it.each<[string, string[], number, string]>([
    [
      "a prompt for classes",
      ["a red guitar", ...C2I, "--ids", "i"],
      2,
      'gpt_c2i continues classes and reads no text such as "a red guitar": name classes by number, as --class 207 (0 to 9) [USAGE]; see toklip generate --help',
    ],
    [
      "captions for classes",
      [...C2I, "--features", "f.npy", "--ids", "i"],
      2,
      "gpt_c2i continues classes, not captions",
    ],
    [
      "nothing to make",
      [...C2I, "--ids", "i"],
      2,
      "gpt_c2i continues classes: name classes by number, as --class 207 (0 to 9) [USAGE]",
    ],
    [
      "classes for captions",
      [...T2I, "--class", "1", "--ids", "i"],
      2,
      "gpt_t2i continues captions, not classes: give their features (--features)",
    ],
    [
      "a prompt without an encoder",
      ["a fox", ...T2I, "--ids", "i"],
      2,
      "gpt_t2i reads features of captions: give their features (--features), or a prompt with --text-encoder and --tokenizer",
    ],
    ["no caption", [...T2I, "--ids", "i"], 2, "gpt_t2i continues captions: give"],
    ["features that are not there", [...T2I, "--features", "f.npy", "--ids", "i"], 1, "f.npy"],
    ["to make nothing", [...C2I, "--class", "1"], 2, "say where results go: pictures by --out, ids by --ids"],
    ["pictures without a VQ", [...C2I, "--class", "1", "--out", "o"], 2, "--out needs --vq"],
    [
      "previews without pictures",
      [...C2I, "--class", "1", "--ids", "i", "--previews", "4"],
      2,
      "--previews needs --out",
    ],
    [
      "several pictures in one file",
      [...C2I, ...VQ, "--class", "1", "--count", "2", "--out", "o.png"],
      2,
      "o.png is one picture, and 2 are asked for: name a folder by --out",
    ],
    [
      "a class that there is not",
      [...C2I, ...VQ, "--class", "1", "--class", "10", "--out", "o.png", "--ids", "i", "--out", "o"],
      1,
      "class 10 is not in [0, 10) [ARGUMENT_INVALID]",
    ],
    ["a class by name", [...C2I, "--class", "cat", "--ids", "i"], 2, "Expected the number of a class, from 0."],
    [
      "a checkpoint of another size",
      ["--model", goldenPath("ar/gpt_c2i.pt"), "--config", "GPT-B", "--class", "1", "--ids", "i"],
      1,
      "gpt_c2i.pt is not a GPT-B: cls_embedding.embedding_table.weight expected [11,768], got [11,64] [CHECKPOINT_MISMATCH]",
    ],
    [
      "a VQ of other ids",
      [...C2I, "--vq", goldenPath("ar/vq8_small.pt"), "--class", "1", "--out", "o"],
      1,
      "makes ids of 128 codes, but the codebook of vq8_small.pt has 256 [CHECKPOINT_MISMATCH]",
    ],
    [
      "a wrong share",
      [...C2I, "--class", "1", "--top-p", "2", "--ids", "i"],
      1,
      "top-p 2: expected a number above 0 and up to 1 [ARGUMENT_INVALID]",
    ],
    [
      "a number that is none",
      [...C2I, "--class", "1", "--temperature", "hot", "--ids", "i"],
      2,
      "Expected a number, such as 1.5.",
    ],
    ["a grid of nothing", [...C2I, "--class", "1", "--grid", "0", "--ids", "i"], 2, "Expected a whole number from 1."],
    ["a folder that cannot be", [...C2I, ...VQ, "--class", "1", "--out", "gpt.json/o"], 1, "FILE_WRITE_FAILED"],
  ])("%s, in one line", async (_, args, status, message) => {
    const result = await run(args);
    expect(result.stderr).toContain(message);
    expect(result.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect([result.status, result.stdout]).toEqual([status, ""]);
    expect((await made()).filter((name) => name !== "o")).toEqual([]);
  });

  it("to replace what is there, before anything is computed", async () => {
    for (const [kept, args] of [
      ["out/class-1-seed-0.png", ["--out", "out"]],
      ["cat-ids-8.png", ["--out", "cat.png", "--previews", "8"]],
      ["ids.jsonl", ["--out", "new", "--ids", "ids.jsonl"]],
    ] as const) {
      if (kept.startsWith("out/")) await run([...C2I, ...VQ, "--class", "1", "--out", "out"]);
      await writeFile(kept, "mine");
      const { status, stderr } = await run([...C2I, ...VQ, "--class", "1", ...args]);
      expect([status, stderr]).toEqual([
        1,
        expect.stringContaining(`${kept}: exists already (--overwrite replaces it) [FILE_EXISTS]`),
      ]);
      expect(await readFile(kept, "utf8")).toBe("mine");
    }
    expect((await run([...C2I, ...VQ, "--class", "1", "--out", "out", "--overwrite"])).status).toBe(0);
    expect((await decodeImage("out/class-1-seed-0.png")).width).toBe(8);
  });
});

describe("toklip generate leaves nothing half done", () => {
  /** The real engine, whose model is interrupted after so many ids of a batch. */
  const interrupted = (stop: () => void, first: number, count: number): Partial<Engine> => ({
    ...engine,
    async loadGenerator(source, options) {
      const model = await loadGenerator(source, options);
      const stream = model.stream.bind(model);
      model.stream = async function* (request) {
        for await (const event of stream(request)) {
          yield event;
          if (event.type === "ids" && event.first === first && event.count === count) stop();
        }
      };
      return model;
    },
  });

  it("when it is interrupted: finished pictures stay, their previews too", async () => {
    const interrupt = new AbortController();
    const args = [...C2I, ...VQ, "--class", "1", "--class", "2", "--batch", "1", "--previews", "6", "--out", "o"];
    const { status, stderr } = await run([...args, "--ids", "ids.jsonl"], {
      engine: interrupted(() => interrupt.abort(new Error("interrupted")), 1, 9),
      signal: interrupt.signal,
    });
    expect([status, stderr]).toEqual([130, "toklip: generate: stopped on request [ABORTED]; run it again\n"]);
    expect(await made()).toEqual(["o", ...["", "-ids-12", "-ids-6"].map((end) => `o/class-1-seed-0${end}.png`)].sort());
  });

  it("when the weights give no numbers", async () => {
    const golden = await openCheckpointFile(goldenPath("ar/gpt_c2i.pt"));
    const arrays = new Map<string, NDArray>();
    for (const [name, entry] of golden.tensors) arrays.set(name, await readTensor(entry));
    await golden.close();
    (arrays.get("norm.weight")!.data as Float32Array)[3] = Number.NaN;
    const pieces: Uint8Array[] = [];
    const specs = [...arrays].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
    const sink = { write: async (bytes: Uint8Array) => void pieces.push(bytes.slice()) };
    await writeSafetensors(sink, specs, async (name) => bytesOf(arrays.get(name)!.data));
    await writeFile("nan.safetensors", Buffer.concat(pieces));
    const args = ["--model", "nan.safetensors", "--config", "gpt.json", "--class", "1", "--ids", "ids.jsonl"];
    const { status, stdout, stderr } = await run(args);
    expect([status, stdout, existsSync("ids.jsonl")]).toEqual([1, "", false]);
    expect(stderr).toMatch(
      /^toklip: the logit of id 0 is not a number \[LOGITS_INVALID\]; get a fresh copy of the .*\n$/,
    );
    expect(await made()).toEqual(["nan.safetensors"]);
  });
});
