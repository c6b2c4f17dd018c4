// `toklip tokenize --captions`: data sets of pictures to the lines that `train ar` reads.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeEngine } from "../../src/cli/engine.ts";
import type { IdsSample } from "../../src/data/index.ts";
import { openIdsSource } from "../../src/node/ids-data.ts";
import { makeShards } from "../train/killed-runs.ts";
import { enterWorkspace } from "../train/workspace.ts";
import { toklip } from "./harness.ts";

let leave: () => Promise<void>;
beforeAll(async () => {
  leave = await enterWorkspace();
  await makeShards();
  writeFileSync("flip.json", '{"crop": {"kind": "squash"}, "flip": 1}');
});
afterAll(() => leave());

const tokenize = (args: readonly string[], options = {}) =>
  toklip(["tokenize", ...args, "--model", "models/toklip.safetensors", "--resize", "squash"], {
    engine: nodeEngine,
    ...options,
  });

interface Line {
  readonly file: string;
  readonly grid: number[];
  readonly ids: number[] | number[][];
  readonly captions: string[];
}

const linesIn = (text: string): Line[] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);

describe("pictures of data sets", () => {
  test("have the ids that they have alone, and their captions, whatever the data set is", async () => {
    const shards = await tokenize(["shards/{0..2}.tar", "--captions", "--out", "ids.jsonl"]);
    expect([shards.status, shards.stderr]).toEqual([0, expect.stringContaining("8 pictures tokenized")]);
    const alone = new Map(
      linesIn((await tokenize(["pictures", "--quiet"])).stdout).map((line) => [line.file, line.ids]),
    );
    const lines = linesIn(readFileSync("ids.jsonl", "utf8"));
    for (const { file, grid, ids, captions } of lines) {
      const stem = file.replace(/^.*\//, "");
      expect(ids, file).toEqual(alone.get(`pictures/${stem}.png`));
      expect(grid).toEqual([8, 8]);
      expect(captions).toEqual([`a photo of ${stem}\nthe ${stem} in a picture`]);
    }
    const folder = await tokenize(["pictures", "--captions", "--quiet"]);
    expect(
      linesIn(folder.stdout)
        .map(({ ids }) => ids)
        .sort(),
    ).toEqual(lines.map(({ ids }) => ids).sort());
  });

  test("have variants, the first as it is, the others as they are augmented, the same for a seed", async () => {
    const made = ["pictures", "--captions", "--variants", "2", "--augmentation", "flip.json", "--quiet"];
    const [once, again] = [linesIn((await tokenize(made)).stdout), linesIn((await tokenize(made)).stdout)];
    expect(again).toEqual(once);
    const plain = linesIn((await tokenize(["pictures", "--captions", "--quiet"])).stdout);
    expect(once.map(({ ids }) => ids[0])).toEqual(plain.map(({ ids }) => ids));
    expect(once.filter(({ ids }) => JSON.stringify(ids[0]) === JSON.stringify(ids[1]))).toEqual([]);
    const twoFlips = linesIn((await tokenize(made.with(3, "3"))).stdout);
    expect(twoFlips.map(({ ids }) => ids[2])).toEqual(twoFlips.map(({ ids }) => ids[1])); // nothing is random in it
  });

  test("are what a training of the unified transformer reads", async () => {
    const samples: IdsSample[] = [];
    const dataset = await openIdsSource("ids.jsonl");
    for await (const { sample } of dataset.read({ seed: 0, shuffle: false, epochs: 1 })) samples.push(sample!);
    const lines = linesIn(readFileSync("ids.jsonl", "utf8"));
    expect(samples.map(({ ids }) => [...ids])).toEqual(lines.map(({ ids }) => ids));
    expect(samples.map(({ captions }) => captions)).toEqual(lines.map(({ captions }) => captions));
  });

  test("go on after an interruption, without what is done", async () => {
    const whole = readFileSync("ids.jsonl", "utf8");
    const part = whole.split("\n").slice(0, 3).join("\n");
    writeFileSync("part.jsonl", `${part}\n${whole.slice(part.length + 1, part.length + 30)}`);
    const { status, stderr } = await tokenize(["shards/{0..2}.tar", "--captions", "--out", "part.jsonl", "--resume"]);
    expect([status, stderr]).toEqual([0, expect.stringContaining("5 pictures tokenized")]);
    expect(readFileSync("part.jsonl", "utf8")).toBe(whole);
  });

  test("that cannot be read are skipped, told and counted", async () => {
    writeFileSync(
      "bad.jsonl",
      '{"image": "pictures/rocket.png", "caption": "a"}\n{"image": "gone.png"}\n{"caption": "b"}\n',
    );
    const { status, stdout, stderr } = await tokenize(["bad.jsonl", "--captions"]);
    expect(status).toBe(0);
    expect(linesIn(stdout)).toHaveLength(1);
    expect(stderr).toContain("1 picture tokenized, 2 skipped");
    const strict = await tokenize(["bad.jsonl", "--captions", "--strict"]);
    expect(strict.status).toBe(1);
    expect(strict.stderr).toContain("gone.png");
  });

  test.each([
    [["pictures", "--variants", "2"], "--variants, --augmentation and --seed need --captions"],
    [["pictures", "--captions", "--variants", "2"], "--variants needs --augmentation, what makes them"],
    [["pictures", "--captions", "--variants", "2", "--augmentation", "none.json"], "FILE_NOT_FOUND"],
    [["pictures", "--captions", "--features", "f.safetensors"], "cannot be used with option"],
    [["none.tar", "--captions"], "none.tar: does not exist"],
  ])("are refused: %j", async (args, message) => {
    const { status, stderr } = await tokenize([...args, "--out", "refused.jsonl"]);
    expect(status).toBeGreaterThan(0);
    expect(stderr).toContain(message);
    expect(existsSync("refused.jsonl")).toBe(false);
  });
});
