import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readIdsFile, readIdsSoFar, UnfinishedNote } from "../../src/node/ids-file.ts";
import { LineFile, readLines } from "../../src/node/text-lines.ts";
import { formatIdsLine } from "../../src/pipelines/ids-line.ts";

let root: string;
let file: string;

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), "toklip-ids-"));
  file = path.join(root, "ids.jsonl");
});
afterEach(() => rm(root, { recursive: true, force: true }));

const LINES = ["a.png", "b/ü.png", "c.png"].map((name) =>
  formatIdsLine({ file: name, grid: [1, 2], ids: Int32Array.of(1, 2) }),
);
const TEXT = `${LINES.join("\n")}\n`;

describe("readIdsSoFar", () => {
  it("finds the whole lines of a file cut at any byte, and where the next goes", async () => {
    const bytes = Buffer.from(TEXT);
    for (let length = 0; length <= bytes.length; length++) {
      await writeFile(file, bytes.subarray(0, length));
      const whole = bytes.subarray(0, length).lastIndexOf(10) + 1;
      const { done, bytes: kept } = await readIdsSoFar(file);
      expect(kept).toBe(whole);
      expect([...done]).toEqual(["a.png", "b/ü.png", "c.png"].slice(0, done.size));
      expect(done.size).toBe(bytes.subarray(0, whole).filter((byte) => byte === 10).length);
    }
  });

  it("finds nothing where there is no file", async () => {
    expect((await readIdsSoFar(file)).done.size).toBe(0);
  });

  it("refuses a file that is something else, without touching it", async () => {
    for (const text of ["my notes", "{}\n", `${LINES[0]}\nnonsense\n${LINES[1]}\n`, `${LINES[0]}\n${LINES[0]}\n`]) {
      await writeFile(file, text);
      await expect(readIdsSoFar(file)).rejects.toMatchObject({ code: "FILE_CORRUPT" });
      expect(await readFile(file, "utf8")).toBe(text);
    }
  });
});

describe("readIdsFile", () => {
  it("tells of a bad line by its number and goes on", async () => {
    await writeFile(file, `${LINES[0]}\nnonsense\n\n${LINES[1]}`);
    const results = [];
    for await (const { file: name, error } of readIdsFile(file)) results.push([name, error?.code]);
    expect(results).toEqual([
      ["a.png", undefined],
      [`${file}:2`, "FILE_CORRUPT"],
      ["b/ü.png", undefined],
    ]);
  });

  it("says FILE_NOT_FOUND where there is no file", async () => {
    await expect(readIdsFile(file).next()).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
  });
});

describe("LineFile", () => {
  it("makes the file with the first line, and cuts it to what is kept", async () => {
    const lines = new LineFile(file);
    await lines.close();
    await expect(readFile(file)).rejects.toThrow();
    await writeFile(file, "one\ntwo\nthr");
    const more = new LineFile(file, { keepBytes: 8 });
    await more.line("3");
    await more.close();
    expect(await readFile(file, "utf8")).toBe("one\ntwo\n3\n");
  });

  it("says FILE_WRITE_FAILED where it cannot write", async () => {
    const lines = new LineFile(path.join(root, "no/such/folder"));
    await expect(lines.line("x")).rejects.toMatchObject({ code: "FILE_WRITE_FAILED" });
  });
});

describe("readLines", () => {
  it("joins lines over the borders of what is read at once", async () => {
    const texts = Array.from({ length: 40 }, (_, i) => String(i).repeat(i * 400));
    await writeFile(file, texts.join("\n"));
    const read = [];
    for await (const { text } of readLines(file)) read.push(text);
    expect(read).toEqual(texts);
  });

  it("refuses a line that has no end, before it fills the memory", async () => {
    await writeFile(file, Buffer.alloc(65e6, "x"));
    const read = async (): Promise<void> => {
      for await (const _ of readLines(file));
    };
    await expect(read()).rejects.toMatchObject({ code: "FILE_CORRUPT" });
  });
});

describe("UnfinishedNote", () => {
  it("names the setting that differs", async () => {
    const note = new UnfinishedNote(file);
    await note.check({ model: "a" });
    await note.write({ model: "a", grid: 4 });
    expect(await note.exists()).toBe(true);
    await note.check({ model: "a", grid: 4 });
    await expect(note.check({ model: "a", grid: 8 })).rejects.toMatchObject({
      code: "RESUME_MISMATCH",
      message: expect.stringContaining("was begun with grid 4, this run has 8"),
    });
    await note.remove();
    await note.check({ model: "b" });
  });

  it("takes a note torn by a power cut for none", async () => {
    const note = new UnfinishedNote(file);
    await writeFile(note.path, '{"model": "a');
    await note.check({ model: "b" });
  });
});
