/** The command with the real engine: an interruption falls into a run of ONNX Runtime. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { enterFolder } from "./harness.ts";
import { type Transpiled, transpile } from "./transpile.ts";

const GOLDENS = fileURLToPath(new URL("../goldens/", import.meta.url));
const CONFIG = path.join(GOLDENS, "model_configs/ViT-tiny-16-SigLIP2-64-toklip.json");
const RUN = ["tokenize", "p", "--model", path.join(GOLDENS, "tiny/tiny.pt"), "--config", CONFIG, "--batch", "4"];

let built: Transpiled;
beforeAll(async () => {
  built = await transpile([]);
});
afterAll(() => built.remove());

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
  mkdirSync("p");
  for (let i = 100; i < 220; i++) copyFileSync(path.join(GOLDENS, "preprocess/inputs/hopper_420.jpg"), `p/${i}.jpg`);
});
afterEach(() => leave());

function begin(args: readonly string[], env: NodeJS.ProcessEnv = process.env): ChildProcess {
  return spawn(process.execPath, [path.join(built.folder, "src/cli/main.js"), ...args], { stdio: "pipe", env });
}

async function ended(child: ChildProcess) {
  let stderr = "";
  child.stderr!.on("data", (chunk) => {
    stderr += chunk;
  });
  const [status, signal] = (await once(child, "close")) as [number | null, string | null];
  return { status, signal, stderr };
}

const linesOf = (file: string): string[] =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];

describe("toklip with the real engine", () => {
  it("ends in order when it is interrupted while the model runs, and goes on to the same result", async () => {
    const args = [...RUN, "--out", "ids.jsonl", "--features", "f.safetensors"];
    for (const [i, lines] of [4, 40].entries()) {
      const child = begin(i === 0 ? args : [...args, "--resume"]);
      const end = ended(child);
      while (linesOf("ids.jsonl").length < lines) await new Promise((resolve) => setTimeout(resolve, 3));
      child.kill("SIGINT");
      const interruption =
        "toklip: tokenize: interrupted: the same command with --resume continues [ABORTED]; run it again\n";
      expect(await end).toEqual({ status: 130, signal: null, stderr: interruption });
    }
    expect((await ended(begin([...args, "--resume"]))).status).toBe(0);
    expect((await ended(begin([...RUN, "--out", "whole.jsonl", "--features", "whole.safetensors"]))).status).toBe(0);
    expect(linesOf("ids.jsonl")).toHaveLength(120);
    expect(readFileSync("ids.jsonl")).toEqual(readFileSync("whole.jsonl"));
  });

  it("leaves no file of the engine's in the folders for temporary and for the user's files", async () => {
    for (const name of ["tmp", "home"]) mkdirSync(name);
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      TMPDIR: path.resolve("tmp"),
      HOME: path.resolve("home"),
      XDG_CACHE_HOME: "",
    };
    delete env.ORT_DISABLE_TELEMETRY;
    const { status } = await ended(begin(["tokenize", "p/100.jpg", ...RUN.slice(2)], env));
    expect([status, readdirSync("tmp"), readdirSync("home")]).toEqual([0, [], []]);
  });

  it("prints what a picture's ids are, and one line about a file that is none", async () => {
    const pictures = path.join(GOLDENS, "preprocess/inputs");
    copyFileSync(CONFIG, "p/100.jpg");
    const child = begin(["tokenize", "p/100.jpg", "p/101.jpg", path.join(pictures, "gray.jpg"), ...RUN.slice(2)]);
    let stdout = "";
    child.stdout!.on("data", (chunk) => {
      stdout += chunk;
    });
    const { status, stderr } = await ended(child);
    expect(status).toBe(0);
    expect(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => Object.keys(JSON.parse(line) as object)),
    ).toEqual([
      ["file", "grid", "ids"],
      ["file", "grid", "ids"],
    ]);
    expect(stderr).toMatch(
      /^toklip: skipped: .*p\/100\.jpg.*\[IMAGE_UNREADABLE\].*\ntoklip: 2 pictures tokenized, 1 skipped.*\n$/,
    );
  });
});
