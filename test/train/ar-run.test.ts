// The whole command `toklip train ar`: data of ids, resuming, evaluation, samples, the models that come out, bad input.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readTensor } from "../../src/files/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { initCheckpoint } from "../../src/node/init.ts";
import { enterFolder } from "../cli/harness.ts";
import { goldenPath } from "../goldens.ts";
import { madeUpSample } from "./ar-samples.ts";
import { arOver, TINY_TOKLIP_JSON } from "./ar-training.ts";
import { metricsOf, train } from "./workspace.ts";

const WORDS = ["red", "box", "blue", "ball", "green", "tree", "small", "house"];

/** The model of an entry, its text ids those of the golden tokenizer. */
const modelOf = (entry: "vq" | "toklip" | "semantic-codes") =>
  arOver(entry, { text_vocab_size: 512, context_length: 64, condition_dropout: 0.2 }).source;

const RUN = {
  model: modelOf("vq"),
  tokenizer: goldenPath("tiny/tokenizer.json"),
  toklip: { checkpoint: "toklip.safetensors" },
  data: { train: "ids.jsonl", eval: "ids.jsonl", captions: "random" },
  batch_size: 4,
  part_size: 2,
  steps: 6,
  log_every: 1,
  eval_every: 3,
  checkpoint_every: 2,
  samples_every: 6,
  ema: { decay: 0.5 },
  optimizer: { learning_rate: 5e-3 },
};

function lines(count: number, change: (i: number) => object = () => ({})): string {
  const model = arOver("vq");
  return Array.from({ length: count }, (_, i) => {
    const { ids } = madeUpSample(i, model);
    const captions = [`a ${WORDS[i % 8]} ${WORDS[(i * 3 + 1) % 8]}`, `one ${WORDS[(i * 5) % 8]}`];
    const variants = [[...ids.slice(0, 4)], [...ids.slice(4)]];
    return JSON.stringify({ file: `${i}.png`, ids: variants, captions, ...change(i) });
  }).join("\n");
}

let leave: () => Promise<void>;
beforeAll(async () => {
  leave = await enterFolder();
  await initCheckpoint({ config: TINY_TOKLIP_JSON, seed: 3, out: "toklip.safetensors" });
  writeFileSync("ids.jsonl", lines(20));
});
afterAll(() => leave());

async function tensorsIn(path: string): Promise<Map<string, string>> {
  const checkpoint = await openCheckpointFile(path);
  const tensors = new Map<string, string>();
  for (const [name, entry] of checkpoint.tensors) {
    const { data } = await readTensor(entry);
    tensors.set(name, Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64"));
  }
  await checkpoint.close();
  return tensors;
}

const withoutTimes = (text: string) => text.replace(/"(time|images_per_second|data_seconds)":[^,}]*/g, "");

describe.each(["vq", "toklip", "toklip trained", "semantic-codes"])("a run with the entry %s", (name) => {
  const entry = name.split(" ")[0] as "vq";
  const config = { ...RUN, model: modelOf(entry), token_encoder: name.endsWith("trained") ? "trained" : "frozen" };
  const run = name.replace(" ", "-");

  test("trains, evaluates both directions, and draws pictures beside those of the captions", async () => {
    const { status, stderr } = await train("ar", run, config);
    expect(stderr).not.toMatch(/\[[A-Z_]+\]/);
    expect(status).toBe(0);
    const records = await metricsOf(run);
    expect(records.map(({ step }) => step)).toEqual([1, 2, 3, 3, 4, 5, 6, 6]);
    const first = records[0]!;
    expect(first.loss).toBeCloseTo(Math.log(8 + 512 + 10), 3);
    expect(records.at(-1)!.evaluation!.text_to_image).toBeLessThan(first.parts!.text_to_image!);
    expect(records.at(-1)!.evaluation!.image_to_text).toBeLessThan(first.parts!.image_to_text!);
    const pictures = readdirSync(`${run}/samples/step-00000006`);
    expect(pictures).toHaveLength(8);
    expect(pictures[0]).toBe("0-a-red-box.png".replace("box", WORDS[1]!));
    const checkpoint = await openCheckpointFile(`${run}/model.safetensors`);
    const { tensors, metadata } = checkpoint;
    await checkpoint.close();
    expect(JSON.parse(metadata.toklip_config as string)).toEqual(config.model);
    expect(tensors.has("semantic_codebooks.0.weight")).toBe(entry === ("semantic-codes" as string));
    expect(existsSync(`${run}/toklip.safetensors`)).toBe(name.endsWith("trained"));
  });

  test.skipIf(name === "vq" || name === "toklip")("goes on where it stopped to the same end, bit for bit", async () => {
    const constant = ["--quiet", "--set", "optimizer.schedule=constant"];
    expect((await train("ar", `${run}-whole`, config, constant)).status).toBe(0);
    expect((await train("ar", `${run}-stopped`, config, [...constant, "--set", "steps=3"])).status).toBe(0);
    const resumed = await train("ar", `${run}-stopped`, config, [...constant, "--resume"]);
    expect([resumed.status, resumed.stderr]).toEqual([0, ""]);
    const metrics = (name: string) => withoutTimes(readFileSync(`${name}/metrics.jsonl`, "utf8"));
    expect(metrics(`${run}-stopped`)).toBe(metrics(`${run}-whole`));
    for (const file of ["model.safetensors", "checkpoints/step-00000006/optimizer.safetensors"]) {
      expect(await tensorsIn(`${run}-stopped/${file}`)).toEqual(await tensorsIn(`${run}-whole/${file}`));
    }
  });
});
