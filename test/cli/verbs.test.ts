import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ConvertRequest, ExportRequest, InitRequest } from "../../src/cli/context.ts";
import { memorySource, ToklipError } from "../../src/core/index.ts";
import { readTensor } from "../../src/files/checkpoint.ts";
import { readNpy } from "../../src/files/npy.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { parameterShapes } from "../../src/models/index.ts";
import { LABEL_SETS } from "../../src/pipelines/label-sets.ts";
import { FAKE_CONFIG, fakeModel, idsOf, markOf } from "../pipelines/fake-model.ts";
import { enterFolder, make, toklip } from "./harness.ts";

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
});
afterEach(() => leave());

const M = ["--model", "m.pt"];
const lines = (text: string): unknown[] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("toklip reconstruct", () => {
  it("mirrors folders below the inputs' common folder", async () => {
    await make("a/x.jpg", "b/x.jpg", "b/c/y.png");
    const { status, stdout, stderr } = await toklip(["reconstruct", "a/x.jpg", "b", ...M, "--out", "out"]);
    expect(status).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "a/x.jpg  out/a/x.png  equal
      b/c/y.png  out/b/c/y.png  equal
      b/x.jpg  out/b/x.png  equal
      "
    `);
    expect(stderr).toContain("3 pictures reconstructed");
    expect((await readFile("out/b/c/y.png"))[2]).toBe(markOf("y.png"));
  });

  it("gives pictures that differ in their extension alone different names", async () => {
    await make("p/x.jpg", "p/x.png", "p/x.webp");
    await toklip(["reconstruct", "p", ...M, "--out", "out"]);
    expect((await readdir("out")).sort()).toEqual(["x.png", "x.png.png", "x.webp.png"]);
  });

  it("decodes lines of ids, and skips those that are not the model's", async () => {
    const line = (file: string, ids: number[]) => `${JSON.stringify({ file, grid: [4, 4], ids })}\n`;
    const tooLarge = [...idsOf("b").slice(0, 15), 512];
    await writeFile(
      "ids.jsonl",
      `${line("p/a.jpg", idsOf("a"))}nonsense\n${line("p/b.jpg", tooLarge)}${line("p/q/c.jpg", idsOf("c"))}`,
    );
    const { status, stdout, stderr } = await toklip(["reconstruct", "ids.jsonl", ...M, "--out", "out", "--json"]);
    expect(status).toBe(0);
    expect(lines(stdout)).toEqual([
      { file: "p/a.jpg", out: "out/a.png" },
      { file: "p/q/c.jpg", out: "out/q/c.png" },
    ]);
    expect(stderr).toContain("skipped: ids.jsonl:2: not JSON");
    expect(stderr).toContain("skipped: p/b.jpg: id 512 is outside the codebook of 512 [IDS_OUT_OF_RANGE]");
  });

  it("never leaves the output folder, whatever a file of ids names", async () => {
    const line = (file: string) => `${JSON.stringify({ file, grid: [4, 4], ids: idsOf("a") })}\n`;
    await writeFile("ids.jsonl", ["../../../etc/a", "/etc/b", "p/../../c", "d"].map(line).join(""));
    const { stdout } = await toklip(["reconstruct", "ids.jsonl", ...M, "--out", "out", "--json"]);
    const outs = (lines(stdout) as { out: string }[]).map(({ out }) => out);
    expect(outs).toHaveLength(4);
    for (const out of outs) expect(out.startsWith("out/") && !out.includes("..") && existsSync(out)).toBe(true);
  });

  it("refuses to write among the pictures it reads", async () => {
    await make("p/a.png");
    const { status, stderr } = await toklip(["reconstruct", "p", ...M, "--out", "p"]);
    expect(status).toBe(1);
    expect(stderr).toMatchInlineSnapshot(`
      "toklip: p: is the pictures' own folder; choose another --out folder [ARGUMENT_INVALID]; check the argument against the documentation
      "
    `);
  });

  it("does not read what it wrote into a folder below", async () => {
    await make("p/a.png", "p/out/old.png");
    const { stdout } = await toklip(["reconstruct", "p", ...M, "--out", "p/out", "--json"]);
    expect(lines(stdout)).toEqual([{ file: "p/a.png", out: "p/out/a.png", psnr: null }]);
  });

  it("puts both pictures side by side", async () => {
    await make("a.png");
    await toklip(["reconstruct", "a.png", ...M, "--out", "out", "--side-by-side"]);
    expect(Array.from(await readFile("out/a.png"))).toEqual([128, 64, markOf("a.png")]);
  });
});

describe("toklip embed", () => {
  it("writes pictures' features as lines", async () => {
    await make("p/a.png", "p/bad.png");
    const { status, stdout } = await toklip(["embed", "p", ...M, "--normalize"]);
    const [first] = lines(stdout) as { file: string; features: number[] }[];
    expect([status, first!.file, first!.features.length]).toEqual([0, "p/a.png", 64]);
    expect(Math.hypot(...first!.features)).toBeCloseTo(1, 6);
  });

  it("writes .npy and .safetensors files with the same numbers", async () => {
    await make("p/a.png", "p/bad.png", "p/c.png");
    await toklip(["embed", "p", ...M, "--out", "f.npy"]);
    await toklip(["embed", "p", ...M, "--out", "f.safetensors"]);
    const npy = await readNpy(memorySource(await readFile("f.npy")));
    const checkpoint = await openSafetensors(memorySource(await readFile("f.safetensors")));
    const tensor = await readTensor(checkpoint.tensors.get("image_features")!);
    expect(npy.shape).toEqual([2, 64]);
    expect([tensor.shape, tensor.data]).toEqual([npy.shape, npy.data]);
    expect(checkpoint.metadata).toEqual({ config: "fake", files: '["p/a.png","p/c.png"]' });
    expect((await readdir(".")).sort()).toEqual(["f.npy", "f.safetensors", "p"]);
  });

  it("leaves no file when it fails", async () => {
    await make("p/a.png", "p/bad.png");
    const { status } = await toklip(["embed", "p", ...M, "--out", "f.npy", "--strict", "--batch", "1"]);
    expect([status, await readdir(".")]).toEqual([1, ["p"]]);
  });

  it("says that a file is no folder to write to", async () => {
    await make("a.png");
    const { status, stderr } = await toklip(["embed", "a.png", ...M, "--out", "a.png/f.npy"]);
    expect([status, stderr]).toEqual([1, expect.stringMatching(/a\.png is not a folder \[FILE_WRITE_FAILED\]/)]);
  });

  it("embeds texts, commas and all", async () => {
    const { status, stdout, model } = await toklip(["embed", "--text", "a cat, asleep", "--text", "a dog", ...M]);
    expect([status, model.texts]).toEqual([0, ["a cat, asleep", "a dog"]]);
    expect((lines(stdout) as { text: string }[]).map(({ text }) => text)).toEqual(["a cat, asleep", "a dog"]);
  });

  it("takes either pictures or texts", async () => {
    await make("a.png");
    expect((await toklip(["embed", ...M])).status).toBe(2);
    expect((await toklip(["embed", "a.png", "--text", "b", ...M])).stderr).toMatchInlineSnapshot(`
      "toklip: embed takes either pictures or --text [USAGE]; see toklip embed --help
      "
    `);
  });
});

describe("toklip classify", () => {
  const C = ["--templates", "none", "--top", "2"];

  it("prints the best labels below each picture", async () => {
    await make("p/dog", "p/cat.png");
    const { status, stdout } = await toklip(["classify", "p/dog", ...M, ...C, "--labels", "cat, dog,eel,cat"]);
    expect(status).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "p/dog
        100.0 %  dog
          0.0 %  eel
      "
    `);
  });

  it("prints JSON lines, and reads labels and templates from files", async () => {
    await make("p/dog.png");
    await writeFile("labels.txt", "cat\r\n\ndog\n");
    await writeFile("templates.txt", "a {}\nthe {}\n");
    const flags = ["--labels-file", "labels.txt", "--templates", "templates.txt", "--json"];
    const { stdout, model } = await toklip(["classify", "p", ...M, ...flags]);
    expect(model.texts).toEqual(["a cat", "the cat", "a dog", "the dog"]);
    const [{ file, labels }] = lines(stdout) as [{ file: string; labels: { label: string; score: number }[] }];
    expect([file, labels.map(({ label }) => label).sort()]).toEqual(["p/dog.png", ["cat", "dog"]]);
    expect(labels[0]!.score + labels[1]!.score).toBeCloseTo(1, 10);
  });

  it("uses the default model, and what its configuration says, where no flag says otherwise", async () => {
    await make("a.png");
    const model = fakeModel({
      config: { ...FAKE_CONFIG, preprocess: { resize: "squash", background: "drop" }, templates: ["an icon of {}"] },
    });
    const { loaded } = await toklip(["classify", "a.png", "--labels", "cat"], { model });
    expect(loaded.map(({ source }) => source)).toEqual(["toklip-mini"]);
    expect(model.texts).toEqual(["an icon of cat"]);
    await toklip(["classify", "a.png", "--labels", "cat", "--background", "#010203"], { model });
    expect(model.prepared).toMatchObject([
      { resize: "squash", background: "drop" },
      { resize: "squash", background: [1, 2, 3] },
    ]);
  });

  it("takes sets of labels among others", async () => {
    await make("a.png");
    const model = fakeModel();
    const { status } = await toklip(["classify", "a.png", ...M, ...C, "--labels", "@food, fox,@animals"], { model });
    expect(status).toBe(0);
    expect(model.texts).toEqual([...new Set([...LABEL_SETS.food, "fox", ...LABEL_SETS.animals])]);
    const wrong = await toklip(["classify", "a.png", ...M, "--labels", "cat,@pets"]);
    expect(wrong.status).toBe(2);
    expect(wrong.stderr).toMatchInlineSnapshot(`
      "toklip: --labels: no set "@pets": there are @animals, @food, @objects, @emoji [USAGE]; see toklip classify --help
      "
    `);
    await writeFile("labels.txt", "@food\n@home\n");
    const listed = fakeModel();
    await toklip(["classify", "a.png", ...M, ...C, "--labels-file", "labels.txt"], { model: listed });
    expect(listed.texts).toEqual(["@food", "@home"]);
  });

  it("asks the default model for names of emoji where nobody gives labels", async () => {
    await make("a.png");
    const { stdout, model } = await toklip(["classify", "a.png", "--templates", "none"]);
    expect(model.texts).toEqual(LABEL_SETS.emoji);
    expect(stdout.trimEnd().split("\n")).toHaveLength(1 + 5);
  });

  it("lists the sets in its help", async () => {
    const { stdout } = await toklip(["classify", "--help"]);
    for (const [name, labels] of Object.entries(LABEL_SETS)) {
      expect(stdout).toMatch(new RegExp(`@${name} +${labels.length}: .+`));
    }
  });

  it("needs labels, from one place", async () => {
    await make("a.png");
    expect((await toklip(["classify", "a.png", ...M])).stderr).toMatchInlineSnapshot(`
      "toklip: classify needs --labels or --labels-file [USAGE]; see toklip classify --help
      "
    `);
    expect((await toklip(["classify", "a.png", ...M, "--labels", " , "])).status).toBe(2);
    expect((await toklip(["classify", "a.png", ...M, "--labels", "a", "--labels-file", "b"])).status).toBe(2);
    expect((await toklip(["classify", "a.png", ...M, "--labels-file", "none.txt"])).stderr).toContain(
      "[FILE_NOT_FOUND]",
    );
  });
});

describe("toklip info", () => {
  /** A checkpoint of the fake's configuration whose tensors cannot be read: info must not try. */
  const openCheckpoint = async (path: string) => {
    const source = { ...memorySource(new Uint8Array(0), path), byteLength: 1234567 };
    const shapes = [...parameterShapes(FAKE_CONFIG)];
    const tensors = new Map(
      shapes.map(([name, shape]) => [name, { name, dtype: "f32" as const, shape, source, offset: 0 }]),
    );
    return {
      format: "torch" as const,
      name: path,
      tensors,
      metadata: { epoch: 3, note: "x".repeat(200) },
      async close() {},
    };
  };

  it("shows what a checkpoint holds, by part", async () => {
    const { status, stdout } = await toklip(["info", "m.pt"], { engine: { openCheckpoint } });
    expect(status).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "file            m.pt
      format          torch
      size            1.23 MB
      config          fake
      parameters      1.38 M in 441 tensors
        VQ encoder    417 k
        VQ codebook   4.10 k
        VQ decoder    570 k
        image tower   211 k
        text tower    181 k
      dtypes
        f32           1.38 M
      metadata epoch  3
      metadata note   xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx... (200 characters)
      "
    `);
  });

  it("prints one JSON object, with the tensors on request", async () => {
    const { stdout } = await toklip(["info", "m.pt", "--json", "--tensors"], { engine: { openCheckpoint } });
    const [description] = lines(stdout) as [{ parameters: number; parts: Record<string, number>; list: unknown[] }];
    expect(Object.values(description.parts).reduce((sum, count) => sum + count, 0)).toBe(description.parameters);
    expect(description.list[0]).toEqual({ name: expect.any(String), dtype: "f32", shape: expect.any(Array) });
  });

  it("lists tensors", async () => {
    const { stdout } = await toklip(["info", "m.pt", "--tensors"], { engine: { openCheckpoint } });
    expect(stdout).toMatch(/^visual\.trunk\.pos_embed +f32 +\[1, 16, 64\]$/m);
  });

  it("shows the file even where no configuration is found, unless one was asked for", async () => {
    const findConfig = () => Promise.reject(new ToklipError("CONFIG_UNKNOWN", "none fits"));
    const engine = { openCheckpoint, findConfig };
    const { status, stdout } = await toklip(["info", "m.pt", "--json"], { engine });
    expect([status, lines(stdout)]).toEqual([
      0,
      [expect.objectContaining({ config: null, problem: "none fits [CONFIG_UNKNOWN]" })],
    ]);
    expect((await toklip(["info", "m.pt", "--config", "x"], { engine })).status).toBe(1);
  });
});

describe("toklip convert, export, init and download", () => {
  it("converts with the options given", async () => {
    const asked: ConvertRequest[] = [];
    const convert = async (request: ConvertRequest) => {
      asked.push({ ...request, signal: undefined, onProgress: undefined });
      return { files: [request.out], overflowed: [] };
    };
    const flags = ["--precision", "fp16", "--only", "vq", "--shard-size", "1.5GB"];
    const { status, stdout } = await toklip(["convert", "m.pt", "m.safetensors", ...flags], { engine: { convert } });
    expect([status, stdout]).toEqual([0, "m.safetensors\n"]);
    expect(asked).toMatchObject([
      { source: "m.pt", out: "m.safetensors", precision: "fp16", only: "vq", shardBytes: 1.5e9 },
    ]);
    expect((await toklip(["convert", "m.pt", "m.bin"])).status).toBe(2);
    expect((await toklip(["convert", "m.pt", "m.safetensors", "--shard-size", "big"])).status).toBe(2);
  });

  it("exports into a folder and names the files", async () => {
    const asked: ExportRequest[] = [];
    const exportOnnx = async (request: ExportRequest) => {
      asked.push(request);
      return { files: ["onnx/a.onnx", "onnx/manifest.json"] };
    };
    const args = ["export", "m.pt", "--out", "onnx", "--config", "c.json"];
    const { status, stdout } = await toklip(args, { engine: { exportOnnx } });
    expect([status, stdout]).toEqual([0, "onnx/a.onnx\nonnx/manifest.json\n"]);
    expect(asked).toMatchObject([{ source: "m.pt", out: "onnx", config: "c.json", download: false }]);
  });

  it("makes random checkpoints", async () => {
    const initCheckpoint = async (_: InitRequest) => ({ parameters: 1_234_567, bytes: 4_938_268 });
    const args = ["init", "--config", "tiny", "--seed", "7", "--out", "m.safetensors"];
    const plain = await toklip(args, { engine: { initCheckpoint } });
    expect(plain.stdout).toBe("m.safetensors: 1.23 M parameters, 4.94 MB\n");
    const json = await toklip([...args, "--json"], { engine: { initCheckpoint } });
    expect(lines(json.stdout)).toEqual([{ out: "m.safetensors", parameters: 1_234_567, bytes: 4_938_268 }]);
    expect((await toklip(["init", "--config", "tiny", "--seed", "-1", "--out", "m"])).status).toBe(2);
    expect((await toklip([...args.slice(0, -1), "m.pt"], { engine: { initCheckpoint } })).status).toBe(2);
  });

  it("warns of values that the new precision cannot hold", async () => {
    const convert = async () => ({ files: ["m.safetensors"], overflowed: ["a.weight"] });
    const { status, stderr } = await toklip(["convert", "m.pt", "m.safetensors", "--precision", "fp16"], {
      engine: { convert },
    });
    expect([status, stderr]).toEqual([
      0,
      "toklip: warning: values beyond fp16's range became infinite in 1 of the tensors: a.weight\n",
    ]);
  });

  it("replaces no file unless told to", async () => {
    await make("a.png", "f.npy", "m.safetensors", "out/a.png");
    const initCheckpoint = async (_: InitRequest) => ({ parameters: 1, bytes: 4 });
    const engine = { initCheckpoint, convert: async () => ({ files: [], overflowed: [] }) };
    for (const args of [
      ["embed", "a.png", ...M, "--out", "f.npy"],
      ["reconstruct", "a.png", ...M, "--out", "out"],
      ["convert", "m.pt", "m.safetensors"],
      ["init", "--config", "x", "--seed", "1", "--out", "m.safetensors"],
    ]) {
      const refused = await toklip(args, { engine });
      expect([refused.status, refused.stderr.includes("[FILE_EXISTS]")]).toEqual([1, true]);
      expect((await toklip([...args, "--overwrite"], { engine })).status).toBe(0);
    }
  });

  it("downloads when told to, and only then", async () => {
    const allowed: boolean[] = [];
    const locate = async (name: string, { download }: { download: boolean }) => {
      allowed.push(download);
      return `/cache/${name}`;
    };
    const engine = { locate, convert: async () => ({ files: [], overflowed: [] }) };
    const { stdout } = await toklip(["download", "o/r/m.pt"], { engine });
    await toklip(["convert", "o/r/m.pt", "m.safetensors"], { engine });
    await toklip(["convert", "o/r/m.pt", "m.safetensors", "--download"], { engine });
    expect([stdout, allowed]).toEqual(["/cache/o/r/m.pt\n", [true, false, true]]);
  });
});
