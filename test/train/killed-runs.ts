/**
 * Runs of the command line that are killed (SIGKILL) at random moments and resumed, beside one that never was: what is
 * left in the end is the same, byte for byte. The configurations have everything in them that is random or remembered.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import { fnv1a, Random } from "../../src/core/index.ts";
import { tar } from "../files/tar-writer.ts";
import { AR_MODEL, metricsOf, RUNS } from "./workspace.ts";

const AUGMENTATION = {
  crop: { kind: "resized-crop", scale: [0.5, 1] },
  flip: 0.5,
  color_jitter: { brightness: 0.3, hue: 0.1, probability: 0.8 },
  grayscale: 0.2,
};
const SHARDS = { type: "webdataset", shards: "shards/{0..2}.tar", buffer_size: 5, line_per_caption: true };
const IDS = { type: "webdataset", shards: "ids/{0..2}.tar", buffer_size: 5, line_per_caption: true };
const EVERY = { log_every: 1, eval_every: 5, checkpoint_every: 3, samples_every: 5, ema: { decay: 0.9 } };
const optimizer = { learning_rate: 1e-3, warmup: 3, clip_norm: 1 };

/** A run of each kind, and one of TokLIP with its cache. Eight pictures are no whole number of batches, so that these go over the ends of epochs. */
export const KILLED_RUNS: Readonly<Record<string, object>> = {
  toklip: {
    ...RUNS.toklip,
    ...EVERY,
    optimizer,
    data: { train: "pictures", eval: "pictures", captions: "random", augmentation: AUGMENTATION },
    loss: { token_distillation: 10 },
    batch_size: 6,
    part_size: 3,
    recompute: true,
  },
  "toklip-cached": {
    ...RUNS.toklip,
    ...EVERY,
    optimizer,
    // Another crop for the evaluation: its pictures are not those of the training to the cache.
    data: {
      ...RUNS.toklip.data,
      captions: "random",
      templates: "simple",
      eval_crop: "shortest",
      augmentation: { ...AUGMENTATION, variants: 2 },
    },
    loss: { token_distillation: 10 },
    batch_size: 6,
    cache: true,
  },
  teacher: {
    ...RUNS.teacher,
    ...EVERY,
    optimizer,
    data: { train: SHARDS, eval: "pictures", captions: "random", templates: "simple", augmentation: AUGMENTATION },
    loss: { type: "sigmoid" },
    patch_dropout: 0.5,
    batch_size: 3,
  },
  vq: {
    ...RUNS.vq,
    ...EVERY,
    optimizer,
    data: { train: "pictures", eval: "pictures", augmentation: { ...AUGMENTATION, crop: { kind: "random-crop" } } },
    loss: { reconstruction: "l1", entropy_ratio: 0.1, discriminator: { start: 7, ndf: 8, layers: 2, adaptive: true } },
    codebook: { patience: 3, revive_every: 4 },
    batch_size: 3,
  },
  ar: {
    ...EVERY,
    model: AR_MODEL,
    tokenizer: RUNS.toklip.tokenizer,
    toklip: { checkpoint: "models/toklip.safetensors" },
    token_encoder: "trained",
    optimizer,
    data: { train: IDS, eval: IDS, captions: "random", templates: "simple" },
    loss: { image_prior: 0.1 },
    batch_size: 2,
    part_size: 1,
    samples_every: 10,
  },
};

/**
 * Makes `shards/` of the workspace's pictures: three tar files of 3, 3 and 2 samples; and `ids/`, of made-up ids in two
 * variants in the place of each picture.
 */
export async function makeShards(): Promise<void> {
  for (const folder of ["shards", "ids"]) await mkdir(folder);
  const stems = (await readdir("pictures"))
    .filter((name) => name.endsWith(".png"))
    .map((name) => path.parse(name).name);
  for (const [i, group] of [stems.slice(0, 3), stems.slice(3, 6), stems.slice(6)].entries()) {
    const names = group.flatMap((stem) => [`${stem}.png`, `${stem}.txt`]);
    const parts = names.map(async (name) => ({ name, bytes: await readFile(path.join("pictures", name)) }));
    await writeFile(`shards/${i}.tar`, tar(await Promise.all(parts)));
    const inPlace = (await Promise.all(parts)).map(({ name, bytes }) =>
      name.endsWith(".png") ? { name: name.replace(".png", ".ids"), bytes: madeUpIds(name) } : { name, bytes },
    );
    await writeFile(`ids/${i}.tar`, tar(inPlace));
  }
}

/** Two variants of 64 ids below 64. */
function madeUpIds(name: string): Uint8Array {
  const random = new Random(fnv1a(name));
  return Buffer.from(JSON.stringify(Array.from({ length: 128 }, () => random.integer(64))));
}

/** What came of the kills. */
export interface KillReport {
  readonly kills: number;
  /** How many of them left a checkpoint to go on from. */
  readonly resumed: number;
  /** The folders of the runs that were killed and came to their end. */
  readonly runs: readonly string[];
}

/** Trains in the present folder with so many kills; when a run comes to its end before that, another is begun. */
export async function trainKilled(
  main: string,
  kind: string,
  { kills, steps, random }: { readonly kills: number; readonly steps: number; readonly random: Random },
): Promise<KillReport> {
  await writeFile(`${kind}.json`, JSON.stringify({ ...KILLED_RUNS[kind], steps }));
  await finish(begin(main, kind, `${kind}-whole`));
  const runs = [`${kind}-killed-0`];
  let [killed, resumed] = [0, 0];
  while (killed < kills) {
    const run = runs.at(-1)!;
    const before = (await linesOf(run)).length;
    const child = begin(main, kind, run);
    const ended = once(child, "exit") as Promise<[number | null]>;
    const wanted = random.integer(6); // lines written, evaluations among them
    while (child.exitCode === null && (await linesOf(run)).length < Math.min(before, steps) + wanted) await pause(5);
    await pause(80 * random.uniform());
    child.kill("SIGKILL");
    const [status] = await ended;
    if (status !== null) {
      if (status !== 0) throw new Error(`${run} ended with status ${status}`);
      runs.push(`${kind}-killed-${runs.length}`);
      continue;
    }
    killed++;
    const checkpoints = await readdir(path.join(run, "checkpoints")).catch(() => []);
    if (checkpoints.length > 0) resumed++;
  }
  await finish(begin(main, kind, runs.at(-1)!));
  return { kills: killed, resumed, runs };
}

/** Interrupts a run (SIGINT) after some lines. Gives how it ended and what it said. */
export async function interrupt(main: string, kind: string, run: string, lines: number) {
  const child = begin(main, kind, run, "pipe");
  let stderr = "";
  child.stderr!.on("data", (text) => {
    stderr += text;
  });
  const closed = once(child, "close") as Promise<[number | null]>;
  while (child.exitCode === null && (await linesOf(run)).length < lines) await pause(5);
  child.kill("SIGINT");
  return { status: (await closed)[0], stderr };
}

function begin(main: string, kind: string, run: string, stderr: "inherit" | "pipe" = "inherit"): ChildProcess {
  const args = [main, "train", kind.split("-")[0]!, "--config", `${kind}.json`, "--out", run, "--resume", "--quiet"];
  return spawn(process.execPath, args, { stdio: ["ignore", "ignore", stderr] });
}

/** Goes on with a run to its end. */
export async function resume(main: string, kind: string, run: string): Promise<void> {
  await finish(begin(main, kind, run));
}

async function finish(child: ChildProcess): Promise<void> {
  const [status] = (await once(child, "exit")) as [number | null];
  if (status !== 0) throw new Error(`a run that was not killed ended with status ${status}`);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

async function linesOf(run: string): Promise<readonly string[]> {
  const text = await readFile(path.join(run, "metrics.jsonl"), "utf8").catch(() => "");
  return text.split("\n").slice(0, -1);
}

/** Expects each run to have left what the whole one left, and this to have had in it what the test is about. */
export async function expectSame(kind: string, runs: readonly string[]): Promise<void> {
  const whole = await outcomeOf(`${kind}-whole`);
  expect([...whole.keys()]).toEqual(expect.arrayContaining(["model.safetensors", "metrics.jsonl", "config.json"]));
  expect(
    [...whole.keys()].filter((name) => /^checkpoints\/.*(model|optimizer|ema).safetensors$/.test(name)).length,
  ).toBeGreaterThan(2);
  if (kind === "vq") {
    const parts = (await metricsOf("vq-whole")).map((line) => line.parts);
    expect(
      parts.some((each) => (each?.codes_revived ?? 0) > 0),
      "dead codes were revived",
    ).toBe(true);
    expect(parts.at(-2)).toHaveProperty("discriminator");
  }
  for (const run of runs) {
    const killed = await outcomeOf(run);
    expect([...killed.keys()].sort()).toEqual([...whole.keys()].sort());
    for (const [name, content] of whole) expect(killed.get(name) === content, `${run}/${name} is the same`).toBe(true);
  }
}

const TIMES = ["time", "seconds", "images_per_second", "data_seconds"];

/**
 * What a run left, by file, without the times in it: configuration, metrics, samples, the model, and the last checkpoint
 * with all its tensors. The drawn curve names the folder; event files, checkpoints on the way and the files of the cache
 * are a session's own.
 */
async function outcomeOf(run: string): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  const last = (await readdir(path.join(run, "checkpoints"))).sort().at(-1)!;
  for (const entry of await readdir(run, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    const name = path.relative(run, file);
    if (!entry.isFile() || /^(events|loss-curve|cache|\.lock)/.test(name) || name.endsWith("manifest.json")) continue;
    if (name.startsWith("checkpoints/") && !name.startsWith(`checkpoints/${last}/`)) continue;
    const bytes = await readFile(file);
    files.set(name, /\.jsonl?$/.test(name) ? withoutTimes(bytes.toString()) : bytes.toString("base64"));
  }
  return files;
}

function withoutTimes(text: string): string {
  const documents = text.startsWith("{\n") ? [text] : text.trimEnd().split("\n");
  const stripped = documents.map((document) =>
    JSON.stringify(JSON.parse(document), (key, value: unknown) => (TIMES.includes(key) ? undefined : value)),
  );
  return stripped.join("\n");
}
