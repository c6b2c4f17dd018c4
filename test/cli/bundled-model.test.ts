/** A model that comes with the package, in a package of its own: the sources made runnable, and a small model in them. */
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DEFAULT_MODEL } from "../../src/pipelines/bundled-files.ts";
import { enterFolder } from "./harness.ts";
import { type Transpiled, transpile } from "./transpile.ts";

const GOLDENS = fileURLToPath(new URL("../goldens/", import.meta.url));
const TINY = path.join(GOLDENS, "tiny/tiny.pt");
const PICTURE = fileURLToPath(new URL("../pictures/rocket.jpg", import.meta.url));

let built: Transpiled;
beforeAll(async () => {
  built = await transpile([]);
  const folder = path.join(built.folder, "models", DEFAULT_MODEL);
  mkdirSync(folder, { recursive: true });
  copyFileSync(path.join(GOLDENS, "tiny/tokenizer.json"), path.join(folder, "tokenizer.json"));
  await done("convert", TINY, path.join(folder, `${DEFAULT_MODEL}.safetensors`), "--precision", "fp16");
});
afterAll(() => built.remove());

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
});
afterEach(() => leave());

/** Runs a command in a process of its own. */
function run(...args: readonly string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [path.join(built.folder, "src/cli/main.js"), ...args], (error, stdout, stderr) =>
      resolve({ status: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

/** What a command that must succeed prints. */
async function done(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await run(...args);
  expect(status, `${args.join(" ")}: ${stderr}`).toBe(0);
  return stdout;
}

describe("the default model", () => {
  it("labels pictures from any folder, even one that has a folder of its name", async () => {
    mkdirSync(DEFAULT_MODEL);
    const labels = ["classify", PICTURE, "--labels", "cat,rocket", "--json", "--quiet"];
    const own = JSON.parse(await done(...labels)) as { labels: { label: string; score: number }[] };
    const reference = JSON.parse(await done(...labels, "--model", TINY)) as typeof own;
    expect(own.labels.map(({ label }) => label)).toEqual(reference.labels.map(({ label }) => label));
    // Half floats hold three digits, and cosines are multiplied by 100 before the softmax.
    expect(own.labels[0]!.score).toBeCloseTo(reference.labels[0]!.score, 1);
  });

  it("computes with half floats as with the same numbers in single precision", async () => {
    await done("convert", DEFAULT_MODEL, "whole.safetensors", "--precision", "fp32");
    const halves = await done("embed", PICTURE);
    expect(await done("embed", PICTURE, "--model", "whole.safetensors")).toBe(halves);
    expect((JSON.parse(halves) as { features: number[] }).features.some((value) => value !== 0)).toBe(true);
  });

  it("is known by its name to info and export, and as what a training begins with", async () => {
    const info = JSON.parse(await done("info", DEFAULT_MODEL, "--json"));
    expect([info.config, Object.keys(info.dtypes)]).toEqual(["tiny", ["f16"]]);
    await done("export", DEFAULT_MODEL, "--out", "onnx");
    expect(readdirSync("onnx")).toContain("vq_encoder.onnx");
    mkdirSync("p");
    copyFileSync(PICTURE, "p/a.jpg");
    writeFileSync("p/a.txt", "a rocket");
    const training = {
      model: JSON.parse(readFileSync(path.join(GOLDENS, "tiny/tiny.json"), "utf8")),
      tokenizer: `${DEFAULT_MODEL}/tokenizer.json`,
      init: [DEFAULT_MODEL],
      data: { train: "p" },
      loss: { distillation: 0 },
      batch_size: 1,
      steps: 1,
    };
    writeFileSync("run.json", JSON.stringify(training));
    const dry = ["train", "toklip", "--config", "run.json", "--dry-run"];
    expect(await done(...dry)).toContain("parameters");
    const other = await run(...dry, "--set", 'init=["toklip-maxi"]');
    expect(other.stderr).toContain("there is no model at toklip-maxi [FILE_NOT_FOUND]");
  });

  it("shows pictures on a page, with the names of emoji", async () => {
    await done("show", PICTURE, "--out", "page.html");
    const page = readFileSync("page.html", "utf8");
    expect(page).toContain("Pictures through toklip-mini");
    expect(page.match(/<li>/g)).toHaveLength(5);
  });

  it("is missed on one line where the package lacks it", async () => {
    rmSync(path.join(built.folder, "models"), { recursive: true });
    const { status, stderr } = await run("tokenize", PICTURE);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^toklip: toklip-mini: this copy of the package lacks .*\[FILE_NOT_FOUND\][^\n]*\n$/);
  });
});
