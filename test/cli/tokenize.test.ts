import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { memorySource, ToklipError } from "../../src/core/index.ts";
import { readTensor } from "../../src/files/checkpoint.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { fakeModel, idsOf, markOf } from "../pipelines/fake-model.ts";
import { enterFolder, Kept, make, toklip } from "./harness.ts";

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
});
afterEach(() => leave());

const M = ["--model", "m.pt"];
const parse = (text: string): { file: string; grid: number[]; ids: number[] }[] =>
  text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
const filesIn = (text: string): string[] => parse(text).map(({ file }) => file);

describe("toklip tokenize", () => {
  it("writes one line a picture to standard output, and nothing else there", async () => {
    await make("p/b.png", "p/a.jpg", "p/sub/c.PNG");
    const { status, stdout, stderr } = await toklip(["tokenize", "p", ...M, "--batch", "2"]);
    expect(status).toBe(0);
    expect(parse(stdout)).toEqual(
      ["p/a.jpg", "p/b.png", "p/sub/c.PNG"].map((file) => ({ file, grid: [4, 4], ids: idsOf(file) })),
    );
    expect(stderr).toMatchInlineSnapshot(`
      "toklip: 3 pictures tokenized (0 s)
      "
    `);
  });

  it("hands its options to the model", async () => {
    await make("a.png");
    const seen: unknown[] = [];
    const model = fakeModel();
    const preprocess = model.preprocess.bind(model);
    model.preprocess = (images, options) => {
      seen.push({ ...options, signal: undefined });
      return preprocess(images);
    };
    const flags = ["--device", "cuda", "--precision", "int8", "--threads", "3", "--config", "c.json", "--download"];
    const pictures = ["--resize", "squash", "--no-exif", "--background", "#0a0B0c", "--max-pixels", "99"];
    const { status, loaded } = await toklip(["tokenize", "a.png", ...M, ...flags, ...pictures, "--quiet"], { model });
    expect(status).toBe(0);
    expect(loaded).toEqual([
      {
        source: "m.pt",
        options: expect.objectContaining({
          device: "cuda",
          precision: "int8",
          threads: 3,
          config: "c.json",
          download: true,
        }),
      },
    ]);
    expect(seen).toEqual([
      { resize: "squash", exif: false, background: [10, 11, 12], maxPixels: 99, signal: undefined },
    ]);
  });

  it("skips a bad picture, says so, and succeeds", async () => {
    await make("p/a.png", "p/bad.png", "p/c.png");
    const { status, stdout, stderr, model } = await toklip(["tokenize", "p", ...M, "--out", "ids.jsonl"]);
    expect([status, stdout]).toEqual([0, ""]);
    expect(filesIn(readFileSync("ids.jsonl", "utf8"))).toEqual(["p/a.png", "p/c.png"]);
    expect(stderr).toMatchInlineSnapshot(`
      "toklip: skipped: p/bad.png: not a picture [IMAGE_UNREADABLE]; check that the file is a complete picture in a supported format
      toklip: 2 pictures tokenized, 1 skipped (0 s)
      "
    `);
    expect(model.disposed).toBe(true);
    expect(await readdir(".")).toEqual(["ids.jsonl", "p"]);
  });

  it("stops at a bad picture with --strict, keeping whole lines", async () => {
    await make("p/a.png", "p/bad.png", "p/c.png");
    const { status, stderr } = await toklip(["tokenize", "p", ...M, "--out", "ids.jsonl", "--strict", "--batch", "1"]);
    expect(status).toBe(1);
    expect(stderr).toMatchInlineSnapshot(`
      "toklip: p/bad.png: not a picture [IMAGE_UNREADABLE]; check that the file is a complete picture in a supported format
      "
    `);
    expect(filesIn(readFileSync("ids.jsonl", "utf8"))).toEqual(["p/a.png"]);
  });

  it("fails when every picture is bad, and leaves nothing", async () => {
    await make("p/bad1.png", "p/bad2.png");
    const flags = ["--out", "ids.jsonl", "--features", "f.safetensors"];
    const { status, stderr } = await toklip(["tokenize", "p", ...M, ...flags]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/0 pictures tokenized, 2 skipped/);
    expect(await readdir(".")).toEqual(["p"]);
  });

  it("refuses an empty folder and a missing name before a model is loaded", async () => {
    await make("p/notes.txt");
    const empty = await toklip(["tokenize", "p", ...M]);
    expect([empty.status, empty.loaded]).toEqual([1, []]);
    expect(empty.stderr).toMatchInlineSnapshot(`
      "toklip: no pictures found in p [NO_IMAGES]; name files, folders or globs that contain pictures
      "
    `);
    const missing = await toklip(["tokenize", "cat.png", ...M]);
    expect([missing.status, missing.loaded]).toEqual([1, []]);
    expect(missing.stderr).toMatchInlineSnapshot(`
      "toklip: cat.png: there is no such file or folder [FILE_NOT_FOUND]; check the path
      "
    `);
  });

  it("refuses an output path it cannot write before a model is loaded", async () => {
    await make("a.png");
    const { status, stderr, loaded } = await toklip(["tokenize", "a.png", ...M, "--out", "no/ids.jsonl"]);
    expect([status, loaded]).toEqual([1, []]);
    expect(stderr).toMatch(/^toklip: no\/ids.jsonl: ENOENT.*\[FILE_WRITE_FAILED\]; check that the folder exists/);
    expect((await toklip(["tokenize", "a.png", ...M, "--features", "f.bin"])).stderr).toMatchInlineSnapshot(`
      "toklip: f.bin: features are written as .safetensors [FILE_UNSUPPORTED]; convert the file to a supported format
      "
    `);
  });

  it("leaves no note of a run that stored nothing", async () => {
    await make("a.png", "f.safetensors.parts");
    const flags = ["--out", "ids.jsonl", "--features", "f.safetensors"];
    const { status, stderr } = await toklip(["tokenize", "a.png", ...M, ...flags]);
    expect([status, stderr]).toEqual([1, expect.stringMatching(/\[FILE_WRITE_FAILED\]/)]);
    expect(await readdir(".")).not.toContain("ids.jsonl.unfinished.json");
  });

  it("writes token and image features in the order of the lines", async () => {
    await make("p/a.png", "p/bad.png", "p/c.png");
    const { status } = await toklip(["tokenize", "p", ...M, "--out", "ids.jsonl", "--features", "f.safetensors"]);
    expect(status).toBe(0);
    const { tokens, images, metadata } = await readFeatures("f.safetensors");
    expect([tokens.shape, images.shape]).toEqual([
      [2, 16, 64],
      [2, 64],
    ]);
    expect([tokens.data[0], tokens.data[16 * 64]]).toEqual([markOf("a.png"), markOf("c.png")]);
    expect(metadata).toEqual({ config: "fake", files: '["p/a.png","p/c.png"]' });
    expect((await readdir(".")).sort()).toEqual(["f.safetensors", "ids.jsonl", "p"]);
  });

  it("ends quietly when the reader of standard output goes away", async () => {
    await make(...Array.from({ length: 30 }, (_, i) => `p/${i}.png`));
    let lines = 0;
    const stdout = new Writable({
      write(_chunk, _encoding, done) {
        done(++lines > 3 ? Object.assign(new Error("write EPIPE"), { code: "EPIPE" }) : null);
      },
    });
    const { status, stderr, model } = await toklip(["tokenize", "p", ...M, "--batch", "2"], { stdout });
    expect([status, stderr, lines, model.disposed]).toEqual([0, "", 4, true]);
  });

  it("fails when standard output cannot be written for another reason", async () => {
    await make("a.png");
    const stdout = new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error("no space left"), { code: "ENOSPC" })),
    });
    const { status, stderr } = await toklip(["tokenize", "a.png", ...M], { stdout });
    expect([status, stderr.includes("no space left [FILE_WRITE_FAILED]")]).toEqual([1, true]);
  });

  it("tells how far it is, in plain lines about every ten seconds", async () => {
    await make(...Array.from({ length: 40 }, (_, i) => `p/${String(i).padStart(2, "0")}.png`));
    let seconds = 0;
    const model = fakeModel({ runMs: 2 }); // the count, beside, gets its turn
    const encode = model.encodeIds.bind(model);
    model.encodeIds = (pixels) => {
      seconds += 4;
      return encode(pixels);
    };
    const { stderr } = await toklip(["tokenize", "p", ...M, "--batch", "4"], { model, now: () => seconds });
    expect(stderr).toMatchInlineSnapshot(`
      "toklip: tokenize 13 of 40 images, 1 images/s, 27 s left
      toklip: tokenize 25 of 40 images, 1 images/s, 15 s left
      toklip: tokenize 37 of 40 images, 1 images/s, 3 s left
      toklip: 40 pictures tokenized (40 s, 1 images/s)
      "
    `);
    const quiet = await toklip(["tokenize", "p", ...M, "--batch", "4", "--quiet"], { now: () => seconds++ });
    expect(quiet.stderr).toBe("");
  });

  it("draws a bar where a person watches, and clears it for messages and at the end", async () => {
    await make(...Array.from({ length: 6 }, (_, i) => `p/${i}.png`), "p/bad.png");
    const stderr = Object.assign(new Kept(), { isTTY: true, cursorTo() {}, clearLine() {}, moveCursor() {} });
    let seconds = 0;
    const model = fakeModel({ runMs: 120 });
    await toklip(["tokenize", "p", ...M, "--batch", "2"], { stderr, model, now: () => ++seconds });
    expect(stderr.text).toMatch(/tokenize \[=+ +\] \d of 7 images/);
    expect(stderr.text).toMatch(/\r\u001b\[Ktoklip: skipped: p\/bad.png/);
    expect(stderr.text.trimEnd()).toMatch(/6 pictures tokenized, 1 skipped \(.*\)$/);
  });
});

async function readFeatures(file: string) {
  const checkpoint = await openSafetensors(memorySource(await readFile(file)));
  const read = (name: string) => readTensor(checkpoint.tensors.get(name)!);
  return { tokens: await read("token_features"), images: await read("image_features"), metadata: checkpoint.metadata };
}

describe("toklip tokenize --resume", () => {
  const NAMES = Array.from({ length: 12 }, (_, i) => `p/${String(i).padStart(2, "0")}.png`);
  const RUN = ["tokenize", "p", ...M, "--out", "ids.jsonl", "--batch", "3"];

  /** Runs until `count` pictures were encoded, and is interrupted. */
  async function interrupted(count: number, args = RUN) {
    const controller = new AbortController();
    const model = fakeModel();
    const encode = model.encodeIds.bind(model);
    let seen = 0;
    model.encodeIds = async (pixels) => {
      seen += pixels.shape[0]!;
      if (seen > count) controller.abort();
      return encode(pixels);
    };
    return toklip(args, { model, signal: controller.signal });
  }

  it("is told of when a run is interrupted, which leaves whole lines and status 130", async () => {
    await make(...NAMES);
    const { status, stderr } = await interrupted(4);
    expect(status).toBe(130);
    expect(stderr).toMatchInlineSnapshot(`
      "toklip: tokenize: interrupted: the same command with --resume continues [ABORTED]; run it again
      "
    `);
    expect(filesIn(readFileSync("ids.jsonl", "utf8"))).toEqual(NAMES.slice(0, 6));
    expect(existsSync("ids.jsonl.unfinished.json")).toBe(true);
  });

  it("does each picture once, wherever the file was cut", async () => {
    await make(...NAMES);
    expect((await toklip(RUN)).status).toBe(0);
    const whole = await readFile("ids.jsonl");
    for (let cut = 0; cut <= whole.length; cut += 37) {
      await writeFile("ids.jsonl", whole.subarray(0, cut));
      expect((await toklip([...RUN, "--resume"])).status).toBe(0);
      expect(await readFile("ids.jsonl")).toEqual(whole);
    }
  });

  it("does only what is missing, and says so", async () => {
    await make(...NAMES);
    await interrupted(4);
    const { status, stderr, model } = await toklip([...RUN, "--resume"]);
    expect([status, model.preprocessed]).toEqual([0, 6]);
    expect(stderr).toContain("6 pictures tokenized, 6 done before");
    expect(filesIn(readFileSync("ids.jsonl", "utf8"))).toEqual(NAMES);
    expect(existsSync("ids.jsonl.unfinished.json")).toBe(false);
    const again = await toklip([...RUN, "--resume"]);
    expect([again.status, again.model.preprocessed]).toEqual([0, 0]);
  });

  it("tries pictures again that could not be read, and takes new ones", async () => {
    await make("p/a.png", "p/bad.png");
    await toklip(RUN);
    await rm("p/bad.png");
    await make("p/0.png");
    await toklip([...RUN, "--resume"]);
    expect(filesIn(readFileSync("ids.jsonl", "utf8"))).toEqual(["p/a.png", "p/0.png"]);
  });

  it("keeps features and lines in step through any number of interruptions", async () => {
    await make(...NAMES);
    const args = [...RUN, "--features", "f.safetensors"];
    await toklip(args);
    const [lines, features] = [await readFile("ids.jsonl"), await readFile("f.safetensors")];
    await rm("ids.jsonl");
    await rm("f.safetensors");

    expect((await interrupted(2, args)).status).toBe(130);
    await truncate("ids.jsonl", (await readFile("ids.jsonl")).length - 5); // killed within a line
    expect((await interrupted(5, [...args, "--resume"])).status).toBe(130);
    expect(existsSync("f.safetensors")).toBe(false);
    expect((await toklip([...args, "--resume"])).status).toBe(0);
    expect(await readFile("ids.jsonl")).toEqual(lines);
    expect(await readFile("f.safetensors")).toEqual(features);
    expect((await readdir(".")).sort()).toEqual(["f.safetensors", "ids.jsonl", "p"]);
    expect((await toklip([...args, "--resume"])).status).toBe(0);
  });

  it("puts features together that only lacked that", async () => {
    await make(...NAMES);
    const args = [...RUN, "--features", "f.safetensors"];
    await toklip(args);
    const features = await readFile("f.safetensors");
    await rm("ids.jsonl");
    await rm("f.safetensors");
    // Interrupted within the last batch, which is seen after it was written: every line is there, the end is not.
    expect((await interrupted(11, args)).status).toBe(130);
    expect(filesIn(readFileSync("ids.jsonl", "utf8"))).toEqual(NAMES);
    expect(existsSync("f.safetensors")).toBe(false);
    const last = await toklip([...args, "--resume"]);
    expect([last.status, last.model.preprocessed]).toEqual([0, 0]);
    expect(await readFile("f.safetensors")).toEqual(features);
  });

  it("refuses another model, other options, and another file", async () => {
    await make(...NAMES);
    await interrupted(4);
    const before = readFileSync("ids.jsonl", "utf8");
    const other = await toklip(["tokenize", "p", "--model", "other.pt", "--out", "ids.jsonl", "--resume"]);
    expect(other.status).toBe(1);
    expect(other.stderr).toMatchInlineSnapshot(`
      "toklip: ids.jsonl: was begun with model "m.pt", this run has "other.pt" [RESUME_MISMATCH]; use the model and options the run was begun with, or another output path
      "
    `);
    expect((await toklip([...RUN, "--resume", "--resize", "squash"])).stderr).toContain("[RESUME_MISMATCH]");
    expect(readFileSync("ids.jsonl", "utf8")).toBe(before);

    await rm("ids.jsonl.unfinished.json");
    writeFileSync("ids.jsonl", '{"file":"p/00.png","grid":[2,2],"ids":[1,2,3,4]}\n');
    expect((await toklip([...RUN, "--resume"])).stderr).toContain("[IDS_GRID_MISMATCH]");
    writeFileSync("ids.jsonl", "my notes");
    expect((await toklip([...RUN, "--resume"])).stderr).toContain("[FILE_CORRUPT]");
    expect(readFileSync("ids.jsonl", "utf8")).toBe("my notes");
  });

  it("is needed to write to an interrupted run's file", async () => {
    await make(...NAMES);
    await interrupted(4);
    const { status, stderr } = await toklip(RUN);
    expect(status).toBe(1);
    expect(stderr).toMatchInlineSnapshot(`
      "toklip: ids.jsonl: is from an interrupted run, which --resume continues [FILE_EXISTS]; choose another output path, or remove what is there
      "
    `);
  });

  it("is not needed to replace a file on purpose, and excludes that", async () => {
    await make("p/a.png");
    await toklip(RUN);
    await make("p/0.png");
    const refused = await toklip(RUN);
    expect(refused.stderr).toMatchInlineSnapshot(`
      "toklip: ids.jsonl: exists already (--overwrite replaces it) [FILE_EXISTS]; choose another output path, or remove what is there
      "
    `);
    expect((await toklip([...RUN, "--overwrite", "--resume"])).status).toBe(2);
    expect((await toklip([...RUN, "--overwrite"])).status).toBe(0);
    expect(filesIn(readFileSync("ids.jsonl", "utf8"))).toEqual(["p/0.png", "p/a.png"]);
  });

  it("needs --out", async () => {
    await make("a.png");
    const { status, stderr } = await toklip(["tokenize", "a.png", ...M, "--resume"]);
    expect(status).toBe(2);
    expect(stderr).toMatchInlineSnapshot(`
      "toklip: --resume needs --out, the file to continue [USAGE]; see toklip tokenize --help
      "
    `);
  });

  it("continues a run in which the model failed", async () => {
    await make(...NAMES);
    const model = fakeModel();
    const encode = model.encodeIds.bind(model);
    model.encodeIds = async (pixels) => {
      if (model.batches.length === 2) throw new ToklipError("OUT_OF_MEMORY", "encode");
      return encode(pixels);
    };
    const { status } = await toklip(RUN, { model });
    expect(status).toBe(1);
    expect(filesIn(readFileSync("ids.jsonl", "utf8"))).toEqual(NAMES.slice(0, 6));
    expect((await toklip([...RUN, "--resume"])).status).toBe(0);
    expect(filesIn(readFileSync("ids.jsonl", "utf8"))).toEqual(NAMES);
  });
});
