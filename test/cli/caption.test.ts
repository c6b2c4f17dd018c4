// `toklip caption` on a tiny unified transformer of random weights.
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "../../src/cli/context.ts";
import { nodeEngine } from "../../src/cli/engine.ts";
import { Unified } from "../../src/node/unified.ts";
import { TINY_TOKLIP, writeTinyTokenizer, writeUnified } from "../tiny-unified.ts";
import { enterFolder, Kept, toklip } from "./harness.ts";

/** Loads as the real engine does, but only once: the verb's `dispose` is counted, and the model stays. */
let disposals = 0;
let model: Promise<Unified> | undefined;
const engine: Partial<Engine> = {
  async loadUnified(source, options) {
    if (source !== "ar.safetensors") return nodeEngine.loadUnified(source, options);
    model ??= Unified.load(source, options);
    const dispose = async () => void disposals++;
    return Object.create(await model, { dispose: { value: dispose } });
  },
};
const pictures = new URL("../pictures/", import.meta.url).pathname;

let leave: () => Promise<void>;
beforeAll(async () => {
  leave = await enterFolder();
  await writeUnified("ar.safetensors");
  writeTinyTokenizer(".");
  await mkdir("p");
  await copyFile(`${pictures}rocket.jpg`, "p/rocket.jpg");
  await copyFile(`${pictures}coffee.jpg`, "p/coffee.jpg");
  await writeFile("p/broken.png", "no picture");
});
afterAll(async () => {
  await (await model)?.dispose();
  await leave();
});

const MODEL = ["--model", "ar.safetensors", "--toklip", TINY_TOKLIP, "--max-tokens", "5"];
const SCORE = MODEL.slice(0, 4);
const run = (args: readonly string[], options: Parameters<typeof toklip>[1] = {}) =>
  toklip(["caption", ...args], { engine, ...options });

/** What the model itself says. */
async function described(file: string, options: Parameters<Unified["describe"]>[1] = {}): Promise<string> {
  const [text] = await (await model)!.describe(file, { maxTokens: 5, ...options });
  return text!;
}

const withoutControl = (text: string) => text.replace(/\p{Cc}+/gu, " ");

const textsOf = (stdout: string): string[] =>
  stdout
    .trimEnd()
    .split("\n")
    .map((line) => (JSON.parse(line) as { text: string }).text);

describe("toklip caption", () => {
  it("writes a line a picture, and skips what is none", async () => {
    const { status, stdout, stderr } = await run(["p", ...MODEL]);
    expect(status).toBe(0);
    const [coffee, rocket] = [await described("p/coffee.jpg"), await described("p/rocket.jpg")];
    expect(stdout).toBe(withoutControl(`p/coffee.jpg  ${coffee}|p/rocket.jpg  ${rocket}|`).replaceAll("|", "\n"));
    expect([coffee, disposals]).toEqual([expect.stringMatching(/./), 1]);
    expect(stderr).toMatch(/^toklip: skipped: p\/broken\.png.*\ntoklip: 2 pictures captioned, 1 skipped \(0 s\)\n$/);
    expect((await run(["p", ...MODEL, "--strict"])).status).toBe(1);
  });

  it("answers questions, searches by beams, and draws by a seed, as the model does", async () => {
    const ask = async (...args: string[]) => textsOf((await run(["p/r*.jpg", ...MODEL, "--json", ...args])).stdout)[0];
    const plain = await ask();
    expect(plain).toBe(await described("p/rocket.jpg"));
    const question = "what is it?";
    expect(await ask("--question", question)).toBe(await described("p/rocket.jpg", { question }));
    expect(await ask("--beams", "3")).toBe(await described("p/rocket.jpg", { beams: 3 }));
    const drawn = { temperature: 3, topK: 50, topP: 0.9, seed: 4 };
    const flags = ["--temperature", "3", "--top-k", "50", "--top-p", "0.9"];
    expect(await ask(...flags, "--seed", "4")).toBe(await described("p/rocket.jpg", drawn));
    expect(await ask("--seed", "4")).toBe(await described("p/rocket.jpg", { greedy: false, seed: 4 }));
  });

  it("draws for each picture by its own seed, whatever the batch is", async () => {
    await mkdir("q");
    for (const name of ["a", "c"]) await copyFile("p/rocket.jpg", `q/${name}.jpg`);
    await copyFile("p/broken.png", "q/b.png");
    const drawn = ["q", ...MODEL, "--json", "--temperature", "2"];
    const [together, alone, next] = await Promise.all(
      [
        ["--batch", "8"],
        ["--batch", "1"],
        ["--seed", "1"],
      ].map(async (args) => (await run([...drawn, ...args])).stdout),
    );
    expect(alone).toBe(together);
    expect(textsOf(next!)[0]).toBe(textsOf(together!)[1]);
    expect(textsOf(together!)[0]).not.toBe(textsOf(together!)[1]);
  });

  it("writes piece by piece where a person watches, and the same", async () => {
    const terminal = Object.assign(new Kept(), { isTTY: true });
    const writes: string[] = [];
    const write = terminal._write.bind(terminal);
    terminal._write = (chunk, encoding, done) => {
      writes.push(chunk.toString());
      write(chunk, encoding, done);
    };
    const shown = await run(["p", ...MODEL], { stdout: terminal });
    expect(shown.status).toBe(0);
    expect(shown.stdout).toBe((await run(["p", ...MODEL])).stdout);
    expect(writes.length).toBeGreaterThan(6);
    expect(writes[0]).toBe("p/coffee.jpg  ");
  });

  it("scores labels by their likelihood, best first, and their probabilities are one together", async () => {
    const asked = ["p/rocket.jpg", ...SCORE, "--labels", "red, rocket,a photo", "--template", "a {}"];
    const { status, stdout, stderr } = await run(asked);
    expect(status).toBe(0);
    expect(stdout.split("\n")).toEqual([
      "p/rocket.jpg",
      ...Array<unknown>(3).fill(expect.stringMatching(/^ {2,4}\d+\.\d % {2}(red|rocket|a photo)$/)),
      "",
    ]);
    expect(stderr).toBe("toklip: 1 picture scored (0 s)\n");
    const { file, labels } = JSON.parse((await run([...asked, "--json"])).stdout) as {
      file: string;
      labels: { label: string; score: number; logProbability: number }[];
    };
    expect(file).toBe("p/rocket.jpg");
    const scores = labels.map(({ score }) => score);
    expect(scores).toEqual(scores.toSorted((a, b) => b - a));
    expect(scores.reduce((sum, score) => sum + score, 0)).toBeCloseTo(1, 12);
    const [first, second] = labels;
    expect(Math.log(first!.score / second!.score)).toBeCloseTo(first!.logProbability - second!.logProbability, 9);
    expect(stdout.split("\n")[1]).toContain(first!.label);
    const top = await run([...asked, "--top", "1"]);
    expect(top.stdout.trimEnd().split("\n")).toHaveLength(2);
  });
});

describe("toklip caption refuses", () => {
  it.each<[string, string[], number, string]>([
    ["to go without a model", ["p"], 2, "required option '--model <model>' not specified"],
    ["pictures that are not there", ["none.png", ...MODEL], 1, "none.png"],
    ["to search and draw", ["p", ...MODEL, "--beams", "2", "--seed", "1"], 2, "--beams looks for the likeliest text"],
    ["to choose labels and write", ["p", ...MODEL, "--labels", "a"], 2, "with labels no text is written"],
    ["a template for nothing", ["p", ...MODEL, "--template", "a {}"], 2, "--template is for labels"],
    ["a template without a place", ["p", ...SCORE, "--labels", "a", "--template", "a"], 1, "has no {} for the label"],
    ["no label", ["p", ...SCORE, "--labels", " ,"], 2, "--labels: holds no label"],
    ["a label of nothing", ["p", ...SCORE, "--labels", "a,!"], 1, "[ARGUMENT_INVALID]"],
    ["a question of nothing", ["p/rocket.jpg", ...MODEL, "--question", "?!"], 1, "cleaning leaves nothing of it"],
    ["a share that is none", ["p/rocket.jpg", ...MODEL, "--top-p", "2"], 1, "top-p 2: expected a number above 0"],
    ["another kind of model", ["p", "--model", TINY_TOKLIP], 1, "tiny"],
  ])("%s, in one line", async (_, args, status, message) => {
    const result = await run([...args, "--quiet"]);
    expect(result.stderr).toContain(message);
    expect([result.status, result.stdout]).toEqual([status, ""]);
    const told = result.stderr.split("\n").filter((line) => line !== "" && !line.includes("skipped"));
    expect(told).toHaveLength(1);
  });
});
