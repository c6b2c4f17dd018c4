// Each trainer learns eight pictures by heart, through the whole command; each begins with what those before it made.
import { readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { NDArray } from "../../src/core/index.ts";
import { readTensor } from "../../src/files/index.ts";
import { fromPixels, psnr } from "../../src/image/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { TokLIP } from "../../src/node/index.ts";
import { enterWorkspace, metricsOf, RUNS, train } from "./workspace.ts";

let leave: () => Promise<void>;
beforeAll(async () => {
  leave = await enterWorkspace();
});
afterAll(() => leave());

/** Trains, and gives the losses of the first and of the last step and the evaluation after it. */
async function learn(kind: string, name: string, config: Readonly<Record<string, unknown>>) {
  const { steps } = config;
  const { status, stderr } = await train(kind, name, { ...config, log_every: 1, eval_every: steps });
  expect(stderr).not.toMatch(/\[[A-Z_]+\]/);
  expect(status).toBe(0);
  const lines = await metricsOf(name);
  expect(lines).toHaveLength((steps as number) + 1);
  return { first: lines[0]!, last: lines.at(-2)!, evaluation: lines.at(-1)!.evaluation! };
}

const bytesOf = ({ data }: NDArray) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

const FOUND = { "image_to_text@1": 1, "text_to_image@1": 1 };

describe("eight pictures are learnt by heart", () => {
  test("by a teacher with the softmax loss", async () => {
    const { first, last, evaluation } = await learn("teacher", "softmax", { ...RUNS.teacher, steps: 60 });
    expect(first.loss).toBeGreaterThan(2); // ln 8 is chance
    expect(last.loss).toBeLessThan(0.002);
    expect(evaluation).toMatchObject(FOUND);
    expect(evaluation.loss).toBeLessThan(0.002);
  });

  test("by a teacher with the sigmoid loss", async () => {
    const config = { ...RUNS.teacher, steps: 60, loss: { type: "sigmoid" } };
    const { first, last, evaluation } = await learn("teacher", "sigmoid", config);
    expect(first.loss).toBeGreaterThan(7); // the bias begins at -10
    expect(last.loss).toBeLessThan(1);
    expect(evaluation).toMatchObject(FOUND);
  });

  test("by a VQ", async () => {
    const config = { ...RUNS.vq, steps: 120, optimizer: { learning_rate: 3e-3 } };
    const { first, last, evaluation } = await learn("vq", "vq", config);
    expect(first.loss).toBeGreaterThan(0.7);
    expect(last.loss).toBeLessThan(0.08);
    expect(evaluation.psnr).toBeGreaterThan(19);
    expect(evaluation.codebook_usage).toBeGreaterThan(0.3);
  });

  test("by a VQ with a discriminator, which goes on from that VQ", async () => {
    const discriminator = { start: 5, ndf: 8, layers: 2, adaptive: true };
    const config = { ...RUNS.vq, steps: 30, init: ["vq/model.safetensors"], loss: { discriminator } };
    const { first, last, evaluation } = await learn("vq", "adversarial", config);
    const before = (await metricsOf("vq")).at(-1)!.evaluation!;
    expect(first.parts!.reconstruction).toBeCloseTo(before.loss!, 4);
    expect(first.parts).not.toHaveProperty("discriminator");
    expect(last.parts!.discriminator).toBeLessThan(0.49); // of two equal judgements it is 0.5
    expect(evaluation.loss).toBeLessThan(before.loss!);
    expect(evaluation.psnr).toBeGreaterThan(19.5);
  });

  test("by that VQ's decoder alone, while the ids stay", async () => {
    const given = { trained: "decoder", init: ["vq/model.safetensors"], ema: { decay: 0.5 } };
    const config = { ...RUNS.vq, ...given, steps: 30, optimizer: { learning_rate: 1e-3 } };
    const { first, evaluation } = await learn("vq", "decoder", config);
    const before = (await metricsOf("vq")).at(-1)!.evaluation!;
    expect(first.parts).not.toHaveProperty("commitment");
    expect(evaluation.loss).toBeLessThan(before.loss! * 0.9);
    expect(evaluation.codebook_usage).toBe(before.codebook_usage);
    const [old, made] = await Promise.all(
      ["vq", "decoder"].map((run) => openCheckpointFile(`${run}/model.safetensors`)),
    );
    const kept = [...old!.tensors.keys()].filter((name) => !/(^|\.)(decoder|post_quant_conv)\./.test(name));
    expect(kept.length).toBeGreaterThan(20);
    for (const name of kept) {
      const [a, b] = await Promise.all([old!, made!].map(({ tensors }) => readTensor(tensors.get(name)!)));
      expect(Buffer.compare(bytesOf(a!), bytesOf(b!)), name).toBe(0);
    }
    await Promise.all([old!.close(), made!.close()]);
  });

  test("but by no decoder whose encoder nobody gave", async () => {
    const { status, stderr } = await train("vq", "no-encoder", { ...RUNS.vq, steps: 1, trained: "decoder" });
    expect(status).toBe(1);
    expect(stderr).toMatch(/what makes the ids is not trained, so its weights must be given.*\[CHECKPOINT_MISMATCH\]/);
  });

  test("by a TokLIP with that VQ and that teacher", async () => {
    const given = { init: ["vq/model.safetensors"], teacher: { checkpoint: "softmax/model.safetensors" } };
    const { first, last, evaluation } = await learn("toklip", "toklip", { ...RUNS.toklip, ...given, steps: 60 });
    expect(first.parts!.distill).toBeGreaterThan(20);
    expect(last.parts!.distill).toBeLessThan(2);
    expect(last.parts!.contrastive).toBeLessThan(0.01);
    expect(evaluation).toMatchObject(FOUND);
    await expectKnown("toklip/model.safetensors");
  });
});

/** Expects the model that came out to choose each picture's caption, and to give the picture back. */
async function expectKnown(path: string): Promise<void> {
  const model = await TokLIP.load(path, { tokenizer: RUNS.toklip.tokenizer });
  const files = readdirSync("pictures").filter((name) => name.endsWith(".png"));
  const stems = files.map((name) => name.replace(".png", ""));
  const labels = stems.map((stem) => `a photo of ${stem}`);
  const options = { labels, templates: ["{}"], resize: "squash" } as const;
  const chosen = await model.classify(
    files.map((name) => `pictures/${name}`),
    options,
  );
  expect(chosen.map(([best]) => best!.label)).toEqual(labels);
  const pixels = await model.preprocess("pictures/rocket.png", { resize: "squash" });
  const made = await model.decodeIds(await model.encodeIds(pixels));
  expect(psnr(fromPixels(pixels), fromPixels(made))).toBeGreaterThan(18);
  await model.dispose();
}
