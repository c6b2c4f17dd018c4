// `toklip eval retrieval`, `knn` and `linear-probe` on the tiny model, from files to files.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { nodeEngine } from "../../src/cli/engine.ts";
import type { Image } from "../../src/image/index.ts";
import { encodePng } from "../../src/node/image.ts";
import { imageOf } from "../image/pictures.ts";
import { enterFolder, toklip } from "./harness.ts";

const TINY = new URL("../goldens/tiny/tiny.pt", import.meta.url).pathname;
const TOKENIZER = new URL("../goldens/tiny/tokenizer.json", import.meta.url).pathname;

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
});
afterEach(() => leave());

const run = (task: string, ...args: readonly string[]) =>
  toklip(["eval", task, ...args, "--model", TINY, "--threads", "1"], { engine: nodeEngine });

interface Figures {
  readonly task: string;
  readonly metrics: readonly { name: string; value: number | null; count: number }[];
  readonly data: readonly { used: number; skipped: { reason: string; count: number }[] }[];
  readonly settings: Record<string, unknown>;
  readonly picturesPerSecond: number;
}
const parsed = (json: string) => JSON.parse(json) as Figures;
const valuesOf = ({ metrics }: Figures) => Object.fromEntries(metrics.map(({ name, value }) => [name, value]));

/** Pictures of one class are of one shade with a little noise. */
const picture = (shade: number, seed: number): Image =>
  imageOf("RGB", 70, 66, (i) => (shade + (Math.imul(i + 1, 0x9e3779b1 * (2 * seed + 1)) >>> 29)) % 256);

async function makeClasses(folder: string, each: number): Promise<void> {
  for (const [number, name] of ["dark", "grey", "light"].entries()) {
    await mkdir(`${folder}/${name}`, { recursive: true });
    for (let i = 0; i < each; i++) {
      await writeFile(`${folder}/${name}/${i}.png`, await encodePng(picture(20 + 100 * number, i)));
    }
  }
}

describe("toklip eval knn and linear-probe", () => {
  test("tell classes of plain shades apart, in table, JSON and files", async () => {
    await makeClasses("train", 4);
    await makeClasses("test", 2);
    await writeFile("test/dark/damaged.png", "no picture");
    const bad = ["--bad-limit", "0.5"];
    const knn = await run("knn", "train", "test", "--k", "1,3,20", "--out", "knn", "--features", "kept", ...bad);
    expect(knn.stderr).not.toContain("toklip:");
    expect(knn.status).toBe(0);
    expect(knn.stdout).toContain("top1_k3");
    expect((await readdir("knn")).sort()).toEqual(expect.arrayContaining(["evaluation.json", "report.html"]));
    const written = parsed(await readFile("knn/evaluation.json", "utf8"));
    expect(valuesOf(written)).toMatchObject({ top1_k1: 1, top1_k3: 1, top5_k3: null, top1_k20: null });
    expect(written.data[1]!.used).toBe(6);
    expect(written.data[1]!.skipped.map(({ count }) => count)).toEqual([1]);

    const probe = await run("linear-probe", "train", "test", "--json", "--features", "kept", ...bad);
    const figures = parsed(probe.stdout);
    expect(valuesOf(figures)).toEqual({ top1: 1, top5: null, class_mean: 1 });
    expect(figures.settings).toMatchObject({ seed: 0, train_rows: 12 });
    expect(figures.picturesPerSecond).toBe(0); // the features were there
  });

  test("bad values of options are wrong usage", async () => {
    expect((await run("knn", "a", "b", "--k", "1,x")).status).toBe(2);
    expect((await run("knn", "a", "b", "--temperature", "0")).status).toBe(2);
    expect((await run("linear-probe", "a", "b", "--seed", "-1")).status).toBe(2);
    expect((await run("linear-probe", "a")).status).toBe(2);
  });
});

describe("toklip eval retrieval", () => {
  const ENTRIES = [
    { image: "a.png", captions: ["a dog", "red"], groups: ["label", "tags"] },
    { image: "b.png", captions: ["a cat", "blue"], groups: ["label", "tags"] },
    { image: "gone.png", captions: ["nothing"], groups: ["label"] },
  ];
  const retrieval = (...args: string[]) =>
    run("retrieval", ...args, "--tokenizer", TOKENIZER, "--bad-limit", "0.5", "--json");

  beforeEach(async () => {
    await mkdir("pictures");
    for (const [i, name] of ["a", "b"].entries()) {
      await writeFile(`pictures/${name}.png`, await encodePng(picture(100 * i, 1)));
    }
  });

  test("reads our lines, and counts what is missing", async () => {
    await writeFile("captions.jsonl", ENTRIES.map((entry) => JSON.stringify(entry)).join("\n"));
    const { status, stdout, stderr } = await retrieval(
      "captions.jsonl",
      "--image-root",
      "pictures",
      "--reference-counting",
    );
    expect(stderr).not.toContain("toklip:");
    expect(status).toBe(0);
    const { metrics, data } = parsed(stdout);
    expect(metrics.map(({ name }) => name)).toContain("text_to_image@1_reference");
    expect(metrics.find(({ name }) => name === "text_to_image@1")).toMatchObject({ count: 4 });
    expect(metrics.find(({ name }) => name === "image_to_text@5")).toMatchObject({ value: null, count: 2 });
    expect(data.map(({ used }) => used)).toEqual([2, 4]);
    expect(data[1]!.skipped).toMatchObject([{ reason: "caption of a picture that was left out", count: 1 }]);
  });

  test("reads the layouts of COCO, to the same figures", async () => {
    const entries = ENTRIES.slice(0, 2);
    const images = entries.map(({ image, captions }) => ({
      split: "test",
      filepath: "pictures",
      filename: image,
      sentences: captions.map((raw) => ({ raw })),
    }));
    await writeFile("coco.json", JSON.stringify({ images, dataset: "coco" }));
    const flat = entries.map(({ image, captions }) => ({ image, caption: captions }));
    await writeFile("pictures/flat.json", JSON.stringify(flat));
    const [karpathy, albef] = [await retrieval("coco.json"), await retrieval("pictures/flat.json")];
    expect(karpathy.status).toBe(0);
    expect(valuesOf(parsed(albef.stdout))).toEqual(valuesOf(parsed(karpathy.stdout)));
  });

  test("a split that is not there is told before the model is loaded", async () => {
    await writeFile("coco.json", JSON.stringify({ images: [{ split: "train", filename: "a.png", sentences: [] }] }));
    const { status, stderr } = await retrieval("coco.json", "--split", "val");
    expect(status).toBe(1);
    expect(stderr).toContain('no picture is of the split "val"; there are "train" (1)');
  });
});
