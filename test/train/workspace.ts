/** A folder with eight captioned pictures, and the configurations of runs of small models on them. */
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import sharp from "sharp";
import { nodeEngine } from "../../src/cli/engine.ts";
import { initCheckpoint } from "../../src/node/init.ts";
import { enterFolder, type RunOptions, type RunResult, toklip } from "../cli/harness.ts";
import { goldenPath } from "../goldens.ts";

type Json = Record<string, unknown>;

const TEXT = {
  context_length: 16,
  vocab_size: 512,
  width: 32,
  heads: 2,
  layers: 2,
  no_causal_mask: true,
  pool_type: "last",
};
const TRUNK = { width: 32, depth: 2, heads: 2, mlp_ratio: 2 };
const VQ = {
  ch: 32,
  ch_mult: [1],
  num_res_blocks: 1,
  z_channels: 32,
  codebook_size: 64,
  codebook_embed_dim: 8,
  stem: 8,
};

/** A model with a pixel tower, 64 px, 64 patches. */
export const TEACHER_MODEL: Json = {
  embed_dim: 32,
  vision_cfg: { image_size: 64, trunk: { ...TRUNK, patch_size: 8, causal: false } },
  text_cfg: TEXT,
};

/** A TokLIP of the same size. Its VQ takes patches of 8 px at a time. */
export const TOKLIP_MODEL: Json = {
  embed_dim: 32,
  vision_cfg: { image_size: 64, trunk: { ...TRUNK, patch_size: 8, causal: true }, vq: VQ },
  text_cfg: TEXT,
};

/** No augmentation: a picture is the same each time. */
export const PLAIN = { crop: { kind: "squash" } };

/** Configurations of runs, by name. Paths are relative to the workspace, where commands run. */
export const RUNS = {
  toklip: {
    model: TOKLIP_MODEL,
    tokenizer: goldenPath("tiny/tokenizer.json"),
    init: ["models/toklip.safetensors"],
    teacher: { checkpoint: "models/teacher.safetensors" },
    data: { train: "pictures", eval: "pictures", augmentation: PLAIN },
    batch_size: 8,
    steps: 4,
    optimizer: { learning_rate: 1e-3 },
  },
  teacher: {
    model: TEACHER_MODEL,
    tokenizer: goldenPath("tiny/tokenizer.json"),
    data: { train: "pictures", eval: "pictures", augmentation: PLAIN },
    batch_size: 8,
    steps: 4,
    optimizer: { learning_rate: 1e-3 },
  },
  vq: {
    model: TOKLIP_MODEL,
    data: { train: "pictures", eval: "pictures", augmentation: PLAIN },
    batch_size: 8,
    steps: 4,
    optimizer: { learning_rate: 1e-3 },
  },
} satisfies Record<string, Json>;

/** A unified transformer over the ids of that TokLIP, 64 of 64. */
export const AR_MODEL: Json = {
  model_type: "toklip-ar",
  width: 32,
  depth: 2,
  heads: 2,
  hidden: 48,
  context_length: 170,
  text_vocab_size: 512,
  codebook_size: 64,
  image_tokens: 64,
  entry: "toklip",
  feature_width: 32,
};

/** A line of `metrics.jsonl`: a step's, or an evaluation's. */
export interface MetricsLine {
  readonly step: number;
  readonly loss?: number;
  readonly parts?: Readonly<Record<string, number>>;
  readonly evaluation?: Readonly<Record<string, number>>;
}

/** The lines of a run. */
export async function metricsOf(run: string): Promise<readonly MetricsLine[]> {
  const lines = (await readFile(path.join(run, "metrics.jsonl"), "utf8")).trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as MetricsLine);
}

/** Runs `toklip train` on a configuration, with the real engine, in the present folder. */
export async function train(
  kind: string,
  name: string,
  config: unknown,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<RunResult> {
  await writeFile(`${name}.json`, JSON.stringify(config));
  const command = ["train", kind, "--config", `${name}.json`, "--out", name, ...args];
  return toklip(command, { engine: nodeEngine, ...options });
}

/** Makes a workspace and goes there; gives the way back, which removes it. */
export async function enterWorkspace(): Promise<() => Promise<void>> {
  const leave = await enterFolder();
  await fillWorkspace(".");
  return leave;
}

/** Makes `pictures/` with captions, two lines each, and `models/` with random weights. */
export async function fillWorkspace(folder: string): Promise<void> {
  for (const name of ["pictures", "models"]) await mkdir(path.join(folder, name));
  await makePictures(path.join(folder, "pictures"));
  for (const [name, config] of Object.entries({ toklip: TOKLIP_MODEL, teacher: TEACHER_MODEL })) {
    await initCheckpoint({ config, seed: 1, out: path.join(folder, `models/${name}.safetensors`) });
  }
}

/** The eight pictures of the project, small, each with two captions. */
async function makePictures(folder: string): Promise<void> {
  const pictures = new URL("../pictures/", import.meta.url).pathname;
  for (const name of (await readdir(pictures)).filter((file) => /\.(jpg|png)$/.test(file))) {
    const stem = path.parse(name).name;
    await sharp(path.join(pictures, name))
      .resize(96, 96, { fit: "fill" })
      .png()
      .toFile(path.join(folder, `${stem}.png`));
    await writeFile(path.join(folder, `${stem}.txt`), `a photo of ${stem}\nthe ${stem} in a picture\n`);
  }
}
