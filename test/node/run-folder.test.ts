import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import sharp from "sharp";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { pictureWriter, readRunFolder, withRunFolder } from "../../src/node/run-folder.ts";
import { readText, writeWhole } from "../../src/train/run-storage.ts";
import { codeOf } from "../files/value-or-error.ts";
import { runToy } from "../train/toy-run.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "toklip-run-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("the folder of a run", () => {
  it("is made with those above it, and its files appear whole", async () => {
    const run = path.join(folder, "a/b");
    await withRunFolder(run, async (storage) => {
      expect(await storage.list("checkpoints")).toEqual([]);
      await writeWhole(storage, "checkpoints/x/one.txt", "1");
      await writeWhole(storage, "checkpoints/x/one.txt", "2");
      const sink = await storage.create("two.txt");
      await sink.write(bytes("half"));
      expect(existsSync(path.join(run, "two.txt"))).toBe(false);
      await sink.abort();
      expect(await readText(storage, "checkpoints/x/one.txt")).toBe("2");
      await storage.sync("checkpoints");
      await storage.remove("checkpoints");
      await storage.remove("checkpoints");
    });
    expect(readdirSync(run)).toEqual([]);
  });

  it("has files that go on where they are told to", async () => {
    await withRunFolder(folder, async (storage) => {
      const file = await storage.append("log", 0);
      await file.write(bytes("one\ntwo\n"));
      await file.close();
      const again = await storage.append("log", 4);
      await again.write(bytes("three\n"));
      await again.sync();
      await again.close();
    });
    expect(readFileSync(path.join(folder, "log"), "utf8")).toBe("one\nthree\n");
  });

  it("is freed of the temporary files of a killed run, and of nothing else", async () => {
    const temporary = ".toklip-0123456789abcdef.tmp";
    const kept = [".toklip-x.tmp", "mine/.toklip-0123456789abcdef.tmp", "checkpoints/a.tmp"];
    const gone = [temporary, `samples/step-00000001/${temporary}`, `checkpoints/step-00000001/${temporary}`];
    for (const name of [...kept, ...gone]) {
      mkdirSync(path.join(folder, path.dirname(name)), { recursive: true });
      writeFileSync(path.join(folder, name), "");
    }
    await withRunFolder(folder, async () => {});
    expect(kept.map((name) => existsSync(path.join(folder, name)))).toEqual([true, true, true]);
    expect(gone.map((name) => existsSync(path.join(folder, name)))).toEqual([false, false, false]);
  });

  it("is lent to one run at a time", async () => {
    await withRunFolder(folder, async (storage) => {
      expect(await codeOf(() => withRunFolder(folder, async () => {}))).toBe("FOLDER_BUSY");
      expect(existsSync(path.join(folder, ".lock")), "the refused one left the lock").toBe(true);
      await storage.confirm();
      expect(await codeOf(() => withRunFolder(folder, async () => {}, { signal: AbortSignal.abort() }))).toBe(
        "ABORTED",
      );
      // Someone takes the lock away.
      writeFileSync(path.join(folder, ".lock"), "{}");
      await new Promise((resolve) => setTimeout(resolve, 1_100)); // it is looked at about once a second
      expect(await codeOf(() => storage.confirm())).toBe("FOLDER_BUSY");
    });
  });

  it("is taken over from a process that was killed", async () => {
    const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
    const holder = { pid: child.pid, host: (await import("node:os")).hostname(), id: "x" };
    writeFileSync(path.join(folder, ".lock"), JSON.stringify(holder));
    expect(await codeOf(() => withRunFolder(folder, async () => {}))).toBe("FOLDER_BUSY");
    child.kill("SIGKILL");
    await once(child, "close");
    expect(await withRunFolder(folder, async () => 7)).toBe(7);
  });

  it("that cannot be made or written is FILE_WRITE_FAILED", async () => {
    writeFileSync(path.join(folder, "file"), "");
    expect(await codeOf(() => withRunFolder(path.join(folder, "file"), async () => {}))).toBe("FILE_WRITE_FAILED");
    mkdirSync(path.join(folder, "metrics.jsonl"));
    expect(await codeOf(() => withRunFolder(folder, (storage) => storage.append("metrics.jsonl", 0)))).toBe(
      "FILE_WRITE_FAILED",
    );
  });

  it("holds a whole run, with pictures that can be looked at", async () => {
    await withRunFolder(folder, (storage) => runToy({ storage, pictures: pictureWriter }));
    const sample = await sharp(path.join(folder, "samples/step-00000020/a-b-1.png")).metadata();
    expect([sample.format, sample.width, sample.height]).toEqual(["png", 2, 2]);
    expect((await sharp(path.join(folder, "loss-curve.png")).metadata()).width).toBe(960);
    expect(readdirSync(folder)).toContain("loss-curve.svg");
    expect(await codeOf(() => runToy({ storage: readRunFolder(folder), totalSteps: 20 }))).toBe("FILE_EXISTS");
  });
});
