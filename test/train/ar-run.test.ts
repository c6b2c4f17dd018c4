// The whole command `toklip train ar`: data of ids, resuming, evaluation, samples, the models that come out, bad input.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readTensor } from "../../src/files/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { initCheckpoint } from "../../src/node/init.ts";
import { enterFolder } from "../cli/harness.ts";
import { tar } from "../files/tar-writer.ts";
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
  writeFileSync("captions.jsonl", '{"caption": "a box"}');
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

test("a cache changes nothing but what is computed, and is used again", async () => {
  const config = { ...RUN, model: modelOf("toklip"), steps: 3, samples_every: 0 };
  expect((await train("ar", "cached", { ...config, cache: "features" })).status).toBe(0);
  expect((await train("ar", "cached-again", { ...config, cache: "features" })).status).toBe(0);
  expect((await train("ar", "uncached", config)).status).toBe(0);
  const of = (run: string) => withoutTimes(readFileSync(`${run}/metrics.jsonl`, "utf8"));
  expect(of("cached")).toBe(of("uncached"));
  expect(of("cached-again")).toBe(of("uncached"));
  const [folder, ...others] = readdirSync("features");
  expect(others).toEqual([]);
  // The second run had nothing to add.
  expect(readdirSync(`features/${folder}`).filter((name) => name.endsWith(".data"))).toHaveLength(1);
});

test("shards of ids train as lines of them do", async () => {
  const parts = lines(20)
    .split("\n")
    .map((line) => JSON.parse(line) as { ids: number[][]; captions: string[] })
    .flatMap(({ ids, captions }, i) => [
      { name: `${i}.ids`, bytes: Buffer.from(JSON.stringify(ids)) },
      { name: `${i}.json`, bytes: Buffer.from(JSON.stringify({ captions })) },
    ]);
  writeFileSync("ids.tar", tar(parts));
  const data = { ...RUN.data, train: "ids.tar", eval: "ids.tar" };
  expect((await train("ar", "shards", { ...RUN, data, steps: 3, samples_every: 0 })).status).toBe(0);
  const [last] = (await metricsOf("shards")).slice(-1);
  expect(last!.evaluation!.loss).toBeLessThan(Math.log(530));
});

test("a run is estimated with --dry-run, and small with --smoke", async () => {
  const config = { ...RUN, model: { ...modelOf("toklip"), depth: 5 } };
  const dry = JSON.parse((await train("ar", "dry", config, ["--dry-run", "--json"])).stdout);
  expect(dry).toMatchObject({ samples: 20, steps: 6 });
  expect(Object.keys(dry.inputs)).toEqual(
    expect.arrayContaining(["ids", "segments", "positions", "image", "targets", "weights.text_to_image"]),
  );
  const trained = JSON.parse(
    (await train("ar", "dry", { ...config, token_encoder: "trained" }, ["--dry-run", "--json"])).stdout,
  );
  expect(trained.trainedParameters).toBeGreaterThan(dry.trainedParameters);
  expect(existsSync("dry")).toBe(false);
  const { status, stderr } = await train("ar", "small", config, ["--smoke", "--quiet"]);
  expect([status, stderr]).toEqual([0, ""]);
  expect((await metricsOf("small")).at(-1)!.step).toBe(4);
  expect(JSON.parse(readFileSync("small/config.json", "utf8")).model.depth).toBe(2);
});

describe("what is wrong is told before anything is written", () => {
  const TOKLIP = modelOf("toklip");
  test.each<[string, object, string]>([
    ["an unknown key", { tasks: { text_to_picture: 1 } }, "unknown key tasks.text_to_picture"],
    ["no direction", { tasks: { text_to_image: 0, image_to_text: 0 } }, "tasks: one of them must be above 0"],
    ["epochs", { steps: null, epochs: 2 }, "epochs: packed rows are no known number of samples; give steps"],
    ["keys of pictures", { data: { train: "ids.jsonl", augmentation: {} } }, "unknown key data.augmentation"],
    ["a TokLIP's model", { model: TINY_TOKLIP_JSON }, "CONFIG_INVALID"],
    ["features without their TokLIP", { model: TOKLIP, toklip: null }, "the entry toklip reads token features"],
    ["an encoder that no gradient reaches", { token_encoder: "trained" }, "with the entry vq no gradient reaches it"],
    [
      "another codebook",
      { model: { ...RUN.model, codebook_size: 11 } },
      "toklip.safetensors: has 10 ids in all, the model reads 11",
    ],
    ["a small vocabulary", { model: { ...RUN.model, text_vocab_size: 40 } }, "TOKENIZER_MISMATCH"],
    ["data without ids", { data: { train: "captions.jsonl" } }, "no column of ids (ids, image_ids, codes)"],
    ["no data", { data: { train: "none.jsonl" } }, "FILE_NOT_FOUND"],
    ["pictures", { data: { train: "pictures" } }, "expected .tar shards, a .jsonl or .parquet file of ids"],
    ["an init of another model", { init: ["toklip.safetensors"] }, "has no parameter of"],
    ["a part that does not divide", { part_size: 3 }, "a part of 3 rows does not divide a batch of 4"],
  ])("%s", async (_, change, message) => {
    const { status, stderr } = await train("ar", "refused", { ...RUN, ...change });
    expect(stderr).toContain(message);
    expect(status).toBe(1);
    expect(existsSync("refused/checkpoints")).toBe(false);
  });

  test.each<[string, (i: number) => object, string]>([
    ["ids beyond the codebook", () => ({ ids: [0, 0, 0, 10] }), "ids of another codebook"],
    ["ids of another grid", () => ({ ids: [0, 0, 0] }), "ids of another grid"],
    ["missing ids", (i) => (i === 0 ? {} : { ids: undefined }), "malformed row"],
    ["empty captions", () => ({ captions: ["", " "] }), "no caption"],
    ["captions longer than the context", () => ({ captions: ["red ".repeat(80)] }), "caption too long"],
  ])("%s: where nearly all samples are so, the run ends and says why", async (name, change, message) => {
    const file = `${name.replaceAll(" ", "-")}.jsonl`;
    writeFileSync(file, lines(20, change));
    const { status, stderr } = await train("ar", file.replace(".jsonl", ""), { ...RUN, data: { train: file } });
    expect(stderr).toMatch(/\[(DATA_TOO_BAD|DATA_EMPTY)\]/);
    expect(stderr).toContain(message);
    expect(status).toBe(1);
  });

  test("and where some are, they are counted", async () => {
    writeFileSync(
      "some.jsonl",
      lines(40, (i) => (i === 7 ? { captions: [] } : {})),
    );
    const { status, stderr } = await train("ar", "some", { ...RUN, data: { train: "some.jsonl" } });
    expect(status).toBe(0);
    expect(stderr).toContain("samples could not be used");
    expect(stderr).toContain("no caption");
  });
});
