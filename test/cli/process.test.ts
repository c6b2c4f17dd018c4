import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { enterFolder, make } from "./harness.ts";
import { type Transpiled, transpile } from "./transpile.ts";

let built: Transpiled;
beforeAll(async () => {
  built = await transpile(["test/cli/fake-main.ts", "test/pipelines/fake-model.ts"]);
});
afterAll(() => built.remove());

let leave: () => Promise<void>;
const NAMES = Array.from({ length: 120 }, (_, i) => `p/${String(i).padStart(3, "0")}.png`);
beforeEach(async () => {
  leave = await enterFolder();
  await make(...NAMES);
});
afterEach(() => leave());

const RUN = ["tokenize", "p", "--model", "m.pt", "--batch", "3"];

function begin(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [path.join(built.folder, "test/cli/fake-main.js"), ...args], { stdio: "pipe" });
}

/** Waits for the end; gives status, signal and what was written. */
async function ended(child: ChildProcess) {
  let [stdout, stderr] = ["", ""];
  child.stdout!.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr!.on("data", (chunk) => {
    stderr += chunk;
  });
  const [status, signal] = (await once(child, "close")) as [number | null, string | null];
  return { status, signal, stdout, stderr };
}

/** Waits until the file of ids has grown to some lines. */
async function grown(lines: number): Promise<void> {
  while (!existsSync("ids.jsonl") || readFileSync("ids.jsonl", "utf8").split("\n").length <= lines) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const filesIn = (text: string): string[] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => (JSON.parse(line) as { file: string }).file);

describe("the toklip process", () => {
  it("loses and repeats no line, however often it is killed and resumed", async () => {
    const args = [...RUN, "--out", "ids.jsonl", "--features", "f.safetensors"];
    const kills = [5, 31, 32, 70];
    for (const [i, lines] of kills.entries()) {
      const child = begin(i === 0 ? args : [...args, "--resume"]);
      const end = ended(child);
      await grown(lines);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
      child.kill("SIGKILL");
      expect((await end).signal).toBe("SIGKILL");
    }
    const { status, stderr } = await ended(begin([...args, "--resume"]));
    expect(stderr).toMatch(/done before/);
    expect(status).toBe(0);
    expect(filesIn(readFileSync("ids.jsonl", "utf8"))).toEqual(NAMES);
    expect(readFileSync("f.safetensors").length).toBeGreaterThan(NAMES.length * 17 * 64 * 4);
    expect(existsSync("f.safetensors.parts")).toBe(false);
  });

  it("leaves whole lines and status 130 at SIGINT, and says how to go on", async () => {
    const child = begin([...RUN, "--out", "ids.jsonl"]);
    const end = ended(child);
    await grown(4);
    child.kill("SIGINT");
    const { status, stderr } = await end;
    expect([status, stderr]).toEqual([
      130,
      "toklip: tokenize: interrupted: the same command with --resume continues [ABORTED]; run it again\n",
    ]);
    const text = readFileSync("ids.jsonl", "utf8");
    expect(text.endsWith("\n")).toBe(true);
    const files = filesIn(text);
    expect(files).toEqual(NAMES.slice(0, files.length));
    expect((await ended(begin([...RUN, "--out", "ids.jsonl", "--resume"]))).status).toBe(0);
    expect(filesIn(readFileSync("ids.jsonl", "utf8"))).toEqual(NAMES);
  });

  it("is killed by a second SIGINT, even in the middle of something", async () => {
    const child = begin(["download", "hang"]);
    const end = ended(child);
    await once(child.stderr!, "data"); // it is at work
    child.kill("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(child.exitCode).toBe(null);
    child.kill("SIGINT");
    expect((await end).signal).toBe("SIGINT");
  });

  it("writes whole lines to a pipe at SIGINT", async () => {
    const child = begin(RUN);
    const end = ended(child);
    await once(child.stdout!, "data");
    child.kill("SIGINT");
    const { status, stdout } = await end;
    expect(status).toBe(130);
    expect(stdout.endsWith("}\n")).toBe(true);
  });

  it("ends quietly when the reader goes away", async () => {
    const child = begin(RUN);
    let stderr = "";
    child.stderr!.on("data", (chunk) => {
      stderr += chunk;
    });
    await once(child.stdout!, "data");
    child.stdout!.destroy();
    const [status] = await once(child, "exit");
    expect([status, stderr]).toEqual([0, ""]);
  });

  it("ends with the status of the program", async () => {
    expect((await ended(begin(["tokenize"]))).status).toBe(2);
    expect((await ended(begin(["tokenize", "none.png", "--model", "m"]))).status).toBe(1);
    const { status, stdout } = await ended(begin(["--version"]));
    expect([status, stdout]).toEqual([0, expect.stringMatching(/^\d/)]);
  });
});
