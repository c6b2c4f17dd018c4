// `toklip eval reconstruction` on the tiny model, from files to files.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { nodeEngine } from "../../src/cli/engine.ts";
import type { Image } from "../../src/image/index.ts";
import { encodePng } from "../../src/node/image.ts";
import { writeOnnx } from "../../src/onnx/index.ts";
import { imageOf } from "../image/pictures.ts";
import { node } from "../onnx/small-models.ts";
import { enterFolder, type RunOptions, toklip } from "./harness.ts";

const TINY = new URL("../goldens/tiny/tiny.pt", import.meta.url).pathname;

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
  await mkdir("pictures");
});
afterEach(() => leave());

const picture = (seed: number): Image =>
  imageOf("RGB", 70, 66, (i) => Math.imul((i >> 4) + 1, 0x9e3779b1 * (2 * seed + 1)) >>> 24);

async function makePictures(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await writeFile(`pictures/${i}.png`, await encodePng(picture(i)));
}

const run = (args: readonly string[], options: RunOptions = {}) =>
  toklip(["eval", "reconstruction", "pictures", "--model", TINY, "--threads", "1", ...args], {
    engine: nodeEngine,
    ...options,
  });

/** Interrupts when the model has decoded so many batches. */
function stoppedAfterRuns(runs: number): RunOptions {
  const stop = new AbortController();
  const openEvaluation: typeof nodeEngine.openEvaluation = async (options) => {
    const session = await nodeEngine.openEvaluation(options);
    const decodeIds = session.model.decodeIds.bind(session.model);
    let left = runs;
    session.model.decodeIds = async (...args) => {
      if (left-- === 0) stop.abort();
      return decodeIds(...args);
    };
    return session;
  };
  return { signal: stop.signal, engine: { ...nodeEngine, openEvaluation } };
}

interface Figure {
  readonly name: string;
  readonly value: number | null;
  readonly count: number;
}
const parsed = (json: string) =>
  JSON.parse(json) as {
    metrics: Figure[];
    data: { used: number; skipped: { reason: string; count: number }[] }[];
    settings: Record<string, unknown>;
    picturesPerSecond: number;
  };
const figureOf = (json: string, name: string) => parsed(json).metrics.find((metric) => metric.name === name)?.value;

test("pictures, a transparent and a broken one among them, give figures, tables and a report", async () => {
  await makePictures(3);
  await writeFile("pictures/clear.png", await encodePng(imageOf("RGBA", 64, 64, (i) => (i % 4 === 3 ? 0 : 10))));
  await writeFile("pictures/zzz.png", "no picture");
  const { status, stdout, stderr } = await run(["--out", "report", "--quiet"]);
  expect([stderr, status]).toEqual(["", 0]);
  expect(stdout).toMatch(/psnr +\d+\.\d\d dB/);
  expect(stdout).toContain("1 undecodable");
  const json = await readFile("report/evaluation.json", "utf8");
  expect(parsed(json).data).toMatchObject([{ used: 4, skipped: [{ reason: "undecodable", count: 1 }] }]);
  expect(parsed(json).metrics.map(({ name }) => name)).toEqual([
    "psnr",
    "psnr_of_mean_error",
    "ssim",
    "ms_ssim",
    "l1",
    "codes_used",
    "code_entropy",
    "code_perplexity",
  ]);
  expect(parsed(json).settings).toMatchObject({ resize: "shortest", background: [255, 255, 255], ids_per_picture: 16 });
  expect(await readFile("report/report.html", "utf8")).toContain("<");
});

test("a transparent picture is measured over the background", async () => {
  const clear = imageOf("RGBA", 64, 64, (i) => (i % 4 === 3 ? 0 : 10));
  await writeFile("pictures/clear.png", await encodePng(clear));
  const { stdout: over } = await run(["--json", "--background", "#336699"]);
  await writeFile("pictures/clear.png", await encodePng(imageOf("RGB", 64, 64, (i) => [0x33, 0x66, 0x99][i % 3]!)));
  const { stdout: opaque } = await run(["--json"]);
  expect(figureOf(over, "psnr")).toBe(figureOf(opaque, "psnr"));
});

test("an interrupted evaluation goes on with --resume and gives the same figures", async () => {
  await makePictures(40); // which are loaded 32 at a time
  const whole = await run(["--json"]);
  const interrupted = await run(["--json", "--out", "report"], stoppedAfterRuns(4));
  expect([interrupted.status, interrupted.stdout]).toEqual([130, ""]);
  const resumed = await run(["--json", "--out", "report", "--resume"]);
  expect(parsed(resumed.stdout).metrics).toEqual(parsed(whole.stdout).metrics);
  const again = await run(["--json", "--out", "report", "--resume"]);
  expect(parsed(again.stdout)).toMatchObject({ picturesPerSecond: 0, metrics: parsed(whole.stdout).metrics });
  expect((await readdir("report")).sort()).toEqual(["evaluation.json", "features", "report.html"]);
});

describe("with a network", () => {
  const network = {
    name: "means",
    inputs: [{ name: "x", dtype: "f32" as const, shape: ["B", 3, 16, 16] }],
    outputs: [{ name: "mean", dtype: "f32" as const, shape: ["B", 3, 1, 1] }],
    metadata: {},
    initializers: [],
    nodes: [node("GlobalAveragePool", ["x"], ["mean"])],
  };

  test("a Fréchet distance is given, of whatever mean and deviation it is fed with", async () => {
    await makePictures(5);
    await writeFile("means.onnx", writeOnnx(network));
    const of = async (...args: string[]) => {
      const { stdout } = await run(["--json", "--network", "means.onnx", "--network-mean", "0,0,0", ...args]);
      return figureOf(stdout, "frechet_distance")!;
    };
    const plain = await of("--network-std", "1,1,1", "--out", "r");
    expect(plain).toBeGreaterThan(0);
    // Features ten times as large, and not those that were kept before.
    const larger = await of("--network-std", "0.1,0.1,0.1", "--out", "r", "--resume");
    expect(larger / plain).toBeCloseTo(100, 2);
  });

  test.each([
    [["--network-size", "32"], "--network"],
    [["--network", "means.onnx", "--network-std", "1,0,1"], "above 0"],
    [["--network", "means.onnx", "--network-mean", "1,,1"], "three numbers"],
    [["--network", "means.onnx", "--network-size", "0"], "whole number"],
  ])("%j is refused before any work", async (args, message) => {
    const { status, stderr } = await run(args);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });

  test("a file that is no network is refused", async () => {
    await writeFile("means.onnx", "no network");
    expect(await run(["--network", "means.onnx"])).toMatchObject({ status: 1, stdout: "" });
    expect((await run(["--network", "absent.onnx"])).stderr).toContain("absent.onnx");
  });
});

test("a folder without pictures is told", async () => {
  const { status, stderr } = await run([]);
  expect(status).toBe(1);
  expect(stderr).toMatch(/DATA_EMPTY/);
});
