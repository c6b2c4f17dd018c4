/** `toklip eval zeroshot` on the real engine and the tiny models of the tests. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nodeEngine } from "../../src/cli/engine.ts";
import { enterFolder, toklip } from "./harness.ts";
import { transpile } from "./transpile.ts";

const TESTS = fileURLToPath(new URL("..", import.meta.url));
const TINY = path.join(TESTS, "goldens/tiny/tiny.pt");
const MODEL = ["--model", TINY, "--threads", "1"];
const PICTURES = { cat: ["chelsea.jpg"], hot_dog: ["coffee.jpg", "china.jpg"], rocket: ["rocket.jpg"] };

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
  for (const [name, pictures] of Object.entries(PICTURES)) {
    mkdirSync(`data/${name}`, { recursive: true });
    for (const picture of pictures) copyFileSync(path.join(TESTS, "pictures", picture), `data/${name}/${picture}`);
  }
  writeFileSync("labels.txt", "cat\nrocket\nhot dog\n");
});
afterEach(() => leave());

const evaluate = (...args: string[]) => toklip(["eval", "zeroshot", ...args], { engine: nodeEngine });
const LABELS = ["--labels-file", "labels.txt"];
const RUN = ["data", ...LABELS, ...MODEL];

interface Told {
  readonly metrics: { readonly name: string; readonly value: number | null; readonly count: number }[];
  readonly data: { readonly used: number; readonly skipped: { readonly reason: string; readonly count: number }[] }[];
  readonly settings: Record<string, unknown>;
  readonly model: { readonly description: string };
  readonly picturesPerSecond: number;
}

/** What `--json` prints. */
const told = ({ stdout }: { readonly stdout: string }) => JSON.parse(stdout) as Told;

describe("toklip eval zeroshot", () => {
  it("prints a table, and writes the record and a page with pictures", async () => {
    copyFileSync("labels.txt", "data/cat/broken.jpg");
    const { status, stdout, stderr } = await evaluate(...RUN, "--out", "out");
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toContain("folder data: 4 used; left out: 1 undecodable");
    expect(stdout).toMatch(/^top1 +\d+\.\d\d % .* of 4 +the right one of 3 classes comes first$/m);
    expect(stdout).toMatch(/^top5 +- +of 4 +not given: there are only 3 classes$/m);
    const record = JSON.parse(readFileSync("out/evaluation.json", "utf8")) as Told;
    expect(record.data[0]).toMatchObject({ used: 4, skipped: [{ reason: "undecodable", count: 1 }] });
    expect(record.settings).toMatchObject({ image_size: 64, resize: "shortest", device: "cpu", labels: "labels.txt" });
    expect(record.model.description).toBe("TokLIP, 16 ids of 9 bits, width 64");
    const page = readFileSync("out/report.html", "utf8");
    expect(page.match(/src="data:image\/png;base64,iVBOR/g)).toHaveLength(4 + 1);
    expect(readdirSync("out").sort()).toEqual(["evaluation.json", "features", "report.html"]);
  });

  it("makes nothing twice: a second evaluation reads what the first kept, by whatever label file", async () => {
    const first = told(await evaluate(...RUN, "--features", "kept", "--json"));
    expect(first.picturesPerSecond).toBeGreaterThan(0);
    const second = told(await evaluate(...RUN, "--features", "kept", "--json"));
    expect(second.picturesPerSecond).toBe(0);
    expect(second.metrics).toEqual(first.metrics);
    writeFileSync("some.txt", "cat\nhot dog\n");
    const some = ["data", "--labels-file", "some.txt", "--ignore-unknown", ...MODEL, "--features", "kept", "--json"];
    const part = told(await evaluate(...some));
    expect([part.picturesPerSecond, part.data[0]!.used]).toEqual([0, 3]);
    expect(part.data[0]!.skipped).toMatchObject([{ reason: "of another class", count: 1 }]);
    const subset = told(await evaluate(...RUN, "--subset", "some.txt", "--features", "kept", "--json"));
    const named = (name: string) => subset.metrics.find((metric) => metric.name === name)!.value;
    expect(named("some/top1")).toBe(part.metrics[0]!.value);
  });

  it("goes the same way with a pixel model, a table, and features in no folder", async () => {
    const config = path.join(TESTS, "goldens/model_configs/ViT-tiny-16-SigLIP2-64.json");
    await nodeEngine.initCheckpoint({ config, seed: 1, out: "pixel.safetensors" });
    copyFileSync(path.join(TESTS, "goldens/tiny/tokenizer.json"), "tokenizer.json");
    writeFileSync("data.csv", "file,kind\ndata/cat/chelsea.jpg,n1\ndata/rocket/rocket.jpg,n2\nabsent.jpg,n1\n");
    writeFileSync("labels.json", '{"n1": ["cat", "tom"], "n2": "rocket"}');
    const model = ["--threads", "1", "--model", "pixel.safetensors", "--config", config];
    const table = ["data.csv", "--label-column", "kind", "--labels-file", "labels.json", "--templates", "none"];
    const result = await evaluate(...table, ...model, "--json");
    expect(result.stderr).toBe("");
    const { metrics, data, model: used } = told(result);
    expect(used.description).toBe("pixel model, 64 px, width 64");
    expect(data[0]).toMatchObject({ used: 2, skipped: [{ reason: "no image", count: 1 }] });
    expect(metrics[0]!.count).toBe(2);
    expect(readdirSync(".").filter((name) => name.includes("features"))).toEqual([]);
  });

  it("does not write over what is there, unless told to go on or to begin anew", async () => {
    mkdirSync("out");
    writeFileSync("out/notes.txt", "mine");
    const refused = await evaluate(...RUN, "--out", "out");
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain(
      "out: is not empty (--resume goes on there, --overwrite begins anew) [FILE_EXISTS]",
    );
    expect((await evaluate(...RUN, "--out", "out", "--resume")).status).toBe(0);
    expect(told(await evaluate(...RUN, "--out", "out", "--resume", "--json")).picturesPerSecond).toBe(0);
    expect(told(await evaluate(...RUN, "--out", "out", "--overwrite", "--json")).picturesPerSecond).toBeGreaterThan(0);
    expect(readFileSync("out/notes.txt", "utf8")).toBe("mine");
    expect((await evaluate(...RUN, "--resume")).stderr).toContain("[USAGE]");
  });

  it("tells what is wrong with labels before any work", async () => {
    const refused = async (...args: string[]) => {
      const { status, stderr } = await evaluate(...args);
      expect(stderr.trimEnd().split("\n")).toHaveLength(1);
      return `${status} ${stderr}`;
    };
    expect(await refused("data", ...MODEL)).toMatch(/^2 .*needs --labels or --labels-file/);
    expect(await refused("data", ...MODEL, "--labels", "cat,dog")).toMatch(/^1 .*2 classes are not in --labels: /);
    expect(await refused("data", ...MODEL, "--labels", "cat,cat")).toMatch(/^1 .*line 2: "cat" stands at/);
    writeFileSync("gap.txt", "cat\n\nrocket\n");
    expect(await refused("data", "--labels-file", "gap.txt", ...MODEL)).toMatch(/^1 .*gap.txt, line 2: is empty/);
    expect(await refused("data", "--labels-file", "absent.txt", ...MODEL)).toMatch(/^1 .*\[FILE_NOT_FOUND\]/);
    expect(await refused("absent", ...LABELS, ...MODEL)).toMatch(/^1 .*\[FILE_NOT_FOUND\]/);
    mkdirSync("empty");
    expect(await refused("empty", ...LABELS, ...MODEL)).toMatch(/^1 .*\[DATA_EMPTY\]/);
    expect(await refused(...RUN, "--bad-limit", "2")).toMatch(/^2 .*share from 0 to 1/);
    expect(existsSync("features")).toBe(false);
  });

  it("stops at the first bad picture with --strict", async () => {
    copyFileSync("labels.txt", "data/cat/broken.jpg");
    const { status, stderr } = await evaluate(...RUN, "--strict");
    expect(status).toBe(1);
    expect(stderr).toContain("[DATA_TOO_BAD]");
  });

  it("keeps what it made when it is killed, and goes on to the same figures", async () => {
    for (let i = 0; i < 120; i++) copyFileSync("data/cat/chelsea.jpg", `data/${["cat", "rocket"][i % 2]}/${i}.jpg`);
    const built = await transpile([]);
    try {
      const main = path.join(built.folder, "src/cli/main.js");
      const killed = spawn(process.execPath, [main, "eval", "zeroshot", ...RUN, "--out", "out"], { stdio: "ignore" });
      const closed = once(killed, "close");
      while (keptBytes("out") === 0 && killed.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 2));
      killed.kill("SIGKILL");
      expect(await closed).toEqual([null, "SIGKILL"]);
    } finally {
      await built.remove();
    }
    expect(readdirSync("out")).toEqual(["features"]);
    const kept = keptBytes("out");
    const resumed = told(await evaluate(...RUN, "--out", "out", "--resume", "--json"));
    const pictures = ["cat", "rocket"].reduce((sum, folder) => sum + readdirSync(`data/${folder}`).length, 0);
    expect(keptBytes("out") - kept).toBeLessThan(pictures * ROW_BYTES);
    const whole = told(await evaluate(...RUN, "--json"));
    expect(resumed.metrics).toEqual(whole.metrics);
    expect(resumed.data).toEqual(whole.data);
  });
});

/** A key, 64 floats, a checksum. */
const ROW_BYTES = 16 + 4 * 64 + 4;

/** Bytes of the kept features of pictures. */
function keptBytes(out: string): number {
  const folder = path.join(out, "features");
  if (!existsSync(folder)) return 0;
  const tables = readdirSync(folder).filter((name) => name.startsWith("pictures-"));
  const files = tables.flatMap((table) =>
    readdirSync(path.join(folder, table)).map((name) => path.join(folder, table, name)),
  );
  return files.filter((name) => name.endsWith(".data")).reduce((sum, name) => sum + statSync(name).size, 0);
}
