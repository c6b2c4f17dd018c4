import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openImageFolder } from "../../src/data/image-folder.ts";
import { openManifest } from "../../src/data/manifest.ts";
import { findDataFiles, nodeDataFiles } from "../../src/node/data-files.ts";
import { codeOf } from "../files/value-or-error.ts";
import { keyOf, MemoryDataFiles, stored, take } from "./memory-data-files.ts";

const inOrder = { seed: 0, shuffle: false, epochs: 1 };

describe("a folder of pictures", () => {
  const content = {
    "f/b.png": "B",
    "f/b.txt": "a cat\r\n\r\n  the same cat \n",
    "f/a.JPG": "A",
    "f/tabby_cat/c.png": "C",
    "f/tabby_cat/c.json": '{"captions": ["one", "two"], "concept": "cat"}',
    "f/tabby_cat/deep_er/d.jpg": "D",
    "f/lone.txt": "no picture",
  };

  test("has all its pictures, the plain order being that of their paths, and the captions beside them", async () => {
    const items = await take(await openImageFolder(new MemoryDataFiles(content), "f"), inOrder);
    expect(items.map(keyOf)).toEqual(["a.JPG", "b.png", "tabby_cat/c.png", "tabby_cat/deep_er/d.jpg"]);
    expect(items.map(({ sample }) => sample!.captions)).toEqual([[], ["a cat", "the same cat"], ["one", "two"], []]);
    expect(items.map(({ sample }) => sample!.concept)).toEqual([undefined, undefined, "cat", undefined]);
    expect(Buffer.from(await items[2]!.sample!.image()).toString()).toBe("C");
  });

  test("gives its folders' names as captions and concepts where that is wanted", async () => {
    const dataset = await openImageFolder(new MemoryDataFiles(content), "f", { labelsFromFolders: true });
    const items = await take(dataset, inOrder);
    expect(items.map(({ sample }) => sample!.captions)).toEqual([
      [],
      ["a cat", "the same cat"],
      ["one", "two"],
      ["deep er"],
    ]);
    expect(items.map(({ sample }) => sample!.concept)).toEqual([undefined, undefined, "cat", "deep er"]);
  });

  test.each([
    ["not JSON", "a.json", "{"],
    ["not UTF-8", "a.txt", Uint8Array.of(0xff, 0xfe)],
  ])("counts a caption that is %s as bad", async (_, name, bytes) => {
    const items = await take(
      await openImageFolder(new MemoryDataFiles({ "f/a.png": "A", "f/b.png": "B", [`f/${name}`]: bytes }), "f"),
      inOrder,
    );
    expect(items.map((item) => item.bad?.reason)).toEqual(["bad caption", undefined]);
    expect(items[0]!.bad!.message).toMatch(/^a\.png: /);
  });

  test("goes on where it was left", async () => {
    const files = new MemoryDataFiles(Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`f/${i}.png`, "x"])));
    const options = { seed: 3, epochs: 2 };
    const whole = await take(await openImageFolder(files, "f"), options);
    expect(new Set(whole.map(keyOf)).size).toBe(9);
    for (const cut of [1, 8, 9, 10]) {
      const from = stored(whole[cut - 1]!.position);
      const tail = await take(await openImageFolder(files, "f"), { ...options, from });
      expect(tail.map(keyOf)).toEqual(whole.slice(cut).map(keyOf));
    }
    files.set("f/new.png", "x");
    const from = stored(whole[2]!.position);
    const grown = await openImageFolder(files, "f");
    expect(await codeOf(() => take(grown, { ...options, from }))).toBe("RESUME_MISMATCH");
  });

  test("without pictures is an error when it is read", async () => {
    const dataset = await openImageFolder(new MemoryDataFiles({ "f/a.txt": "x" }), "f");
    expect(await codeOf(() => take(dataset, inOrder))).toBe("DATA_EMPTY");
  });
});

describe("data files on disk", () => {
  let root = "";
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "toklip-data-"));
    await mkdir(join(root, "b/deep"), { recursive: true });
    await mkdir(join(root, ".hidden"));
    for (const name of ["a-1.PNG", "b/x.png", "b/deep/y.jpg", "b/x.txt", ".hidden/h.png", ".h.png", "notes.pdf"]) {
      await writeFile(join(root, name), name);
    }
    await symlink(join(root, "b"), join(root, "linked"));
    await symlink(join(root, "b/x.png"), join(root, "linked.png"));
    await writeFile(join(root, "one.jsonl"), '{"file": "b/x.png"}\n');
    await writeFile(join(root, "two.jsonl"), '{"file": "a-1.PNG"}\n');
  });
  afterAll(() => rm(root, { recursive: true }));

  test("are listed at any depth in the order of their paths, without hidden ones and links", async () => {
    const names = await nodeDataFiles.list(root, new Set([".png", ".jpg", ".txt"]));
    expect(names).toEqual(["a-1.PNG", "b/deep/y.jpg", "b/x.png", "b/x.txt"]);
  });

  test("make a data set", async () => {
    const items = await take(await openImageFolder(nodeDataFiles, root), inOrder);
    expect(items.map(keyOf)).toEqual(["a-1.PNG", "b/deep/y.jpg", "b/x.png"]);
    expect(items[2]!.sample!.captions).toEqual(["b/x.txt"]);
    expect(Buffer.from(await items[2]!.sample!.image()).toString()).toBe("b/x.png");
  });

  test("are found by manifests beside them", async () => {
    const [item] = await take(await openManifest(nodeDataFiles, join(root, "one.jsonl")), inOrder);
    expect(Buffer.from(await item!.sample!.image()).toString()).toBe("b/x.png");
  });

  test("are found by patterns, each once", async () => {
    expect(await findDataFiles([join(root, "two.jsonl"), join(root, "*.jsonl")])).toEqual([
      join(root, "two.jsonl"),
      join(root, "one.jsonl"),
    ]);
    expect(await codeOf(() => findDataFiles([join(root, "*.parquet")]))).toBe("FILE_NOT_FOUND");
  });

  test("that are not there are an error", async () => {
    expect(await codeOf(() => nodeDataFiles.list(join(root, "none"), new Set([".png"])))).toBe("FILE_NOT_FOUND");
    expect(await codeOf(() => nodeDataFiles.read(join(root, "none.png")))).toBe("FILE_NOT_FOUND");
    expect(await codeOf(() => nodeDataFiles.read(root))).toBe("FILE_READ_FAILED");
  });

  test("behind an address are fetched, after one failure of the server again", async () => {
    const seen: string[] = [];
    const server = createServer((request, response) => {
      seen.push(request.url!);
      if (request.url === "/gone?secret") return void response.writeHead(404).end();
      if (seen.length === 1) return void response.writeHead(503).end();
      response.end("picture");
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    try {
      const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      expect(Buffer.from(await nodeDataFiles.fetch(`${base}/a.png`)).toString()).toBe("picture");
      expect(seen).toEqual(["/a.png", "/a.png"]);
      const failure = await nodeDataFiles.fetch(`${base}/gone?secret`).catch(String);
      expect(failure).toMatch(/\/gone: status 404 \[DOWNLOAD_FAILED\]$/);
      expect(seen).toHaveLength(3);
      const stopped = AbortSignal.abort();
      expect(await codeOf(() => nodeDataFiles.fetch(`${base}/a.png`, stopped))).toBe("ABORTED");
    } finally {
      server.closeAllConnections();
      server.close();
    }
    expect(await codeOf(() => nodeDataFiles.fetch("http://"))).toBe("DOWNLOAD_FAILED");
  });
});
