import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { bytesOf } from "../../src/core/index.ts";
import { readTensor } from "../../src/files/index.ts";
import { openAtomicFile } from "../../src/node/atomic-file.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { convertFile } from "../../src/node/convert.ts";
import { openFileSource } from "../../src/node/file-source.ts";
import { makeFolder } from "../../src/node/make-folder.ts";
import { codeOf } from "../files/value-or-error.ts";

const goldens = new URL("../goldens/", import.meta.url).pathname;
let folder = "";
const at = (name: string): string => join(folder, name);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "toklip-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("openFileSource", () => {
  it("reads any part of a file", async () => {
    writeFileSync(at("a.bin"), "0123456789");
    const source = await openFileSource(at("a.bin"));
    expect([source.name, source.path, source.byteLength]).toEqual(["a.bin", at("a.bin"), 10]);
    expect(await source.read(3, 4)).toEqual(bytes("3456"));
    expect(await source.read(10, 0)).toEqual(bytes(""));
    expect(await codeOf(() => source.read(8, 3))).toBe("FILE_CORRUPT");
    expect(await codeOf(() => source.read(-1, 3))).toBe("FILE_CORRUPT");
    await source.close?.();
    expect(await codeOf(() => source.read(0, 1))).toBe("FILE_READ_FAILED");
  });

  it("notices a file that became shorter", async () => {
    writeFileSync(at("a.bin"), "0123456789");
    const source = await openFileSource(at("a.bin"));
    writeFileSync(at("a.bin"), "01");
    await expect(source.read(0, 10)).rejects.toThrow("became shorter");
    await source.close?.();
  });

  it("says what cannot be opened", async () => {
    execFileSync("mkfifo", [at("pipe")]);
    writeFileSync(at("file"), "");
    expect(await codeOf(() => openFileSource(at("none")))).toBe("FILE_NOT_FOUND");
    expect(await codeOf(() => openFileSource(at("file/none")))).toBe("FILE_NOT_FOUND");
    expect(await codeOf(() => openFileSource("a\0b"))).toBe("FILE_NOT_FOUND");
    expect(await codeOf(() => openFileSource(folder))).toBe("FILE_READ_FAILED");
    expect(await codeOf(() => openFileSource(at("pipe")))).toBe("FILE_READ_FAILED");
  });
});

describe("openAtomicFile", () => {
  it("shows the file at its commit and leaves nothing else", async () => {
    const sink = await openAtomicFile(at("out"));
    await sink.write(bytes("hello "));
    await sink.write(bytes("world"));
    await sink.finish();
    expect(existsSync(at("out"))).toBe(false);
    await sink.commit();
    expect([readdirSync(folder), readFileSync(at("out"), "utf8")]).toEqual([["out"], "hello world"]);
    await sink.abort();
    expect(readdirSync(folder)).toEqual(["out"]);
    expect(await codeOf(() => sink.write(bytes("more")))).toBe("DISPOSED");
  });

  it("leaves nothing after an abort or a fired signal", async () => {
    const sink = await openAtomicFile(at("out"));
    await sink.write(bytes("x"));
    await sink.abort();
    const controller = new AbortController();
    const signalled = await openAtomicFile(at("out"), { signal: controller.signal });
    await signalled.write(bytes("x"));
    controller.abort();
    expect(await codeOf(() => signalled.write(bytes("y")))).toBe("ABORTED");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("replaces a file only when told to", async () => {
    writeFileSync(at("out"), "old");
    expect(await codeOf(() => openAtomicFile(at("out")))).toBe("FILE_EXISTS");
    const late = await openAtomicFile(at("late"));
    writeFileSync(at("late"), "came first");
    expect(await codeOf(() => late.commit())).toBe("FILE_EXISTS");
    expect(readFileSync(at("late"), "utf8")).toBe("came first");
    const sink = await openAtomicFile(at("out"), { overwrite: true });
    await sink.write(bytes("new"));
    expect(readFileSync(at("out"), "utf8")).toBe("old");
    await sink.commit();
    expect(readFileSync(at("out"), "utf8")).toBe("new");
    expect(readdirSync(folder).sort()).toEqual(["late", "out"]);
  });

  it("says what cannot be written, and leaves nothing", async () => {
    expect(await codeOf(() => openAtomicFile(at("none/out")))).toBe("FILE_WRITE_FAILED");
    mkdirSync(at("taken"));
    const sink = await openAtomicFile(at("taken"), { overwrite: true });
    expect(await codeOf(() => sink.commit())).toBe("FILE_WRITE_FAILED");
    expect(readdirSync(folder)).toEqual(["taken"]);
    await expect(openAtomicFile("/proc/out")).rejects.toThrow("[FILE_WRITE_FAILED]");
  });

  it("says that a disk is full", async () => {
    const full = await openAtomicFile(at("out"));
    // Stands in for a full disk, which a test cannot have.
    const handle = (full as unknown as { handle: { write: unknown } }).handle;
    handle.write = () => Promise.reject(Object.assign(new Error("no space left"), { code: "ENOSPC" }));
    await expect(full.write(bytes("x"))).rejects.toThrow(`${at("out")}: could not be written (ENOSPC)`);
    expect(readdirSync(folder)).toEqual([]);
  });

  it.skipIf(process.getuid?.() === 0)("says that a folder may not be written", async () => {
    chmodSync(folder, 0o500);
    expect(await codeOf(() => openAtomicFile(at("out")))).toBe("FILE_WRITE_FAILED");
    chmodSync(folder, 0o700);
  });
});

describe("makeFolder", () => {
  it("makes a folder and those above it, once or twice", async () => {
    await makeFolder(at("a/b/c"));
    await makeFolder(at("a/b/c"));
    await Promise.all([makeFolder(at("d/e")), makeFolder(at("d/e"))]);
    expect([existsSync(at("a/b/c")), existsSync(at("d/e"))]).toEqual([true, true]);
  });

  it("fails at a file in the way", async () => {
    writeFileSync(at("file"), "");
    await expect(makeFolder(at("file/below"))).rejects.toThrow(/file: is not a folder \[FILE_WRITE_FAILED\]/);
  });

  it.runIf(existsSync("/proc"))("ends where a file system makes no folders", async () => {
    expect(await codeOf(() => makeFolder("/proc/toklip/below"))).toBe("FILE_WRITE_FAILED");
  });
});

describe("openCheckpointFile and convertFile", () => {
  const tiny = join(goldens, "tiny/tiny.pt");

  it("converts a PyTorch file to one file and to shards that hold the same bits", async () => {
    const original = await openCheckpointFile(tiny);
    mkdirSync(at("sharded"));
    const one = await convertFile(tiny, at("tiny.safetensors"));
    const many = await convertFile(tiny, at("sharded"), { shardBytes: 2e6 });
    expect(one.files).toEqual([at("tiny.safetensors")]);
    expect(many.files.length).toBeGreaterThan(3);
    for (const path of [at("tiny.safetensors"), at("sharded"), many.files.at(-1)!]) {
      const converted = await openCheckpointFile(path);
      expect(converted.tensors.size).toBe(444);
      for (const [name, entry] of original.tensors) {
        const [ours, theirs] = [await readTensor(converted.tensors.get(name)!), await readTensor(entry)];
        expect([ours.dtype, ours.shape]).toEqual([theirs.dtype, theirs.shape]);
        expect(Buffer.compare(bytesOf(ours.data), bytesOf(theirs.data))).toBe(0);
      }
      await converted.close();
    }
    await original.close();
  });

  it("does not replace files unless told to, and says so before it works", async () => {
    writeFileSync(at("model.safetensors.index.json"), "mine");
    let worked = false;
    const onProgress = (): void => {
      worked = true;
    };
    expect(await codeOf(() => convertFile(tiny, folder, { shardBytes: 2e6, onProgress }))).toBe("FILE_EXISTS");
    expect([worked, readdirSync(folder)]).toEqual([false, ["model.safetensors.index.json"]]);
    await convertFile(tiny, folder, { shardBytes: 2e6, overwrite: true });
    expect(readdirSync(folder)).toHaveLength(4);
  });

  it("carries the configuration that fits the checkpoint, and only that", async () => {
    const configOf = async (file: string): Promise<unknown> => {
      const checkpoint = await openCheckpointFile(file);
      await checkpoint.close();
      return checkpoint.metadata.toklip_config_name;
    };
    await convertFile(tiny, at("whole.safetensors"));
    await convertFile(tiny, at("vq.safetensors"), { filter: ({ name }) => name.startsWith("visual.trunk.vq.") });
    await convertFile(at("vq.safetensors"), at("again.safetensors"));
    for (const name of ["whole", "vq", "again"]) expect(await configOf(at(`${name}.safetensors`))).toBe("tiny");
    copyFileSync(tiny, at("other.pt"));
    const config = JSON.parse(readFileSync(join(goldens, "tiny/tiny.json"), "utf8"));
    writeFileSync(at("other.json"), JSON.stringify({ ...config, embed_dim: 128 }));
    await convertFile(at("other.pt"), at("other.safetensors"));
    expect(await configOf(at("other.safetensors"))).toBeUndefined();
  });

  it("gives all files of a conversion their names, or none, when it is stopped at its end", async () => {
    const controller = new AbortController();
    const sinks = [];
    for (const name of ["a", "b"]) sinks.push(await openAtomicFile(at(name), { signal: controller.signal }));
    for (const sink of sinks) await sink.finish();
    await sinks[0]!.commit();
    controller.abort();
    await sinks[1]!.commit();
    expect(readdirSync(folder)).toEqual(["a", "b"]);
  });

  it("leaves nothing when it is stopped", async () => {
    const controller = new AbortController();
    const options = { signal: controller.signal, onProgress: () => controller.abort() };
    expect(await codeOf(() => convertFile(tiny, at("out.safetensors"), options))).toBe("ABORTED");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("says what a folder lacks, or has too much of", async () => {
    expect(await codeOf(() => openCheckpointFile(folder))).toBe("FILE_NOT_FOUND");
    expect(await codeOf(() => openCheckpointFile(at("none")))).toBe("FILE_NOT_FOUND");
    expect(await codeOf(() => convertFile(tiny, at("out.pt")))).toBe("ARGUMENT_INVALID");
    writeFileSync(at("a.safetensors"), "");
    expect(await codeOf(() => openCheckpointFile(folder))).toBe("FILE_UNSUPPORTED");
    writeFileSync(at("b.safetensors"), "");
    await expect(openCheckpointFile(folder)).rejects.toThrow("several checkpoints (a.safetensors, b.safetensors)");
  });

  it("says which shard is missing", async () => {
    writeFileSync(at("model.safetensors.index.json"), '{"weight_map":{"a":"gone.safetensors"}}');
    await expect(openCheckpointFile(folder)).rejects.toThrow(
      "gone.safetensors: does not exist (ENOENT) [FILE_NOT_FOUND]",
    );
  });
});
