// A batch taken in parts, or with blocks computed again, has the gradients of the batch; samples of one concept are
// positives of one another. All through the trainers.
import { afterAll, describe, expect, test } from "vitest";
import { type NDArray, ndarray, Random } from "../../src/core/index.ts";
import type { Checkpoint } from "../../src/files/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import type { ContrastiveTrainer } from "../../src/train/contrastive-trainer.ts";
import type { ImageTextBatch } from "../../src/train/image-text-batch.ts";
import {
  createTeacherTrainer,
  createToklipTrainer,
  type TowersTrainingOptions,
} from "../../src/train/towers-trainer.ts";
import { goldenConfig, goldenPath } from "../goldens.ts";

const BATCH = 6;

const backend = createOrtBackend({ threads: 2 });
const opened: Checkpoint[] = [];
afterAll(async () => {
  await backend.dispose();
  for (const checkpoint of opened) await checkpoint.close();
});

const student = goldenConfig("ViT-tiny-16-SigLIP2-64-toklip");
const pixelModel = goldenConfig("ViT-tiny-16-SigLIP2-64");
async function openGolden(name: string): Promise<Checkpoint> {
  const checkpoint = await openCheckpointFile(goldenPath(name));
  opened.push(checkpoint);
  return checkpoint;
}

interface Parts {
  readonly partSize?: number;
  readonly recompute?: boolean;
}

function common(parts: Parts): Omit<TowersTrainingOptions, "model" | "checkpoints"> {
  return {
    backend,
    seed: 0,
    optimizer: { betas: [0.9, 0.95], eps: 1e-6, weightDecay: 0 },
    logitScaleRange: null,
    schedule: () => 1e-3,
    batchSize: BATCH,
    ...parts,
  };
}

const CREATORS: Readonly<Record<string, (parts: Parts) => Promise<ContrastiveTrainer>>> = {
  "a teacher with the softmax loss": async (parts) => {
    const options = { ...common(parts), model: pixelModel, checkpoints: [await openGolden("train/teacher.pt")] };
    return (await createTeacherTrainer({ ...options, loss: "softmax" })).trainer;
  },
  "a teacher with the sigmoid loss": async (parts) => {
    const options = { ...common(parts), model: pixelModel, checkpoints: [await openGolden("train/teacher.pt")] };
    return (await createTeacherTrainer({ ...options, loss: "sigmoid" })).trainer;
  },
  "a TokLIP with distilled tokens": async (parts) => {
    const options = { ...common(parts), model: student, checkpoints: [await openGolden("tiny/tiny.pt")] };
    const weights = { contrastive: 1, distillation: 1000, tokenDistillation: 10 };
    const teacher = { config: pixelModel, checkpoint: await openGolden("train/teacher.pt") };
    return (await createToklipTrainer({ ...options, teacher, weights })).trainer;
  },
};

function batchOf(concepts: readonly number[]): ImageTextBatch {
  const random = new Random(5);
  const { imageSize } = pixelModel.trunk;
  const { contextLength, vocabSize } = pixelModel.text;
  const pixels = ndarray("f32", [BATCH, 3, imageSize, imageSize]);
  for (let i = 0; i < pixels.data.length; i++) pixels.data[i] = random.uniform() * 2 - 1;
  const textIds = ndarray("i32", [BATCH, contextLength]);
  for (let i = 0; i < textIds.data.length; i++) textIds.data[i] = random.integer(vocabSize);
  return {
    pixels,
    textIds,
    concepts: ndarray("i32", [BATCH], Int32Array.from(concepts)),
    keys: Array.from({ length: BATCH }, (_, i) => `${i}`),
  };
}

const DIFFERENT = [0, 1, 2, 3, 4, 5];
const SHARED = [7, 7, 3, 4, 7, 3];

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0));

describe.each(Object.entries(CREATORS))("the step of %s", (_, create) => {
  test("is the same in parts and with blocks computed again, up to rounding", async () => {
    const batch = batchOf(SHARED);
    const whole = await create({});
    const expected = await whole.lossAndGradients(batch);
    await whole.dispose();
    const total = norm(Float32Array.from(expected.gradients.values(), norm));
    for (const parts of [{ partSize: 1 }, { partSize: 3 }, { recompute: true }, { partSize: 2, recompute: true }]) {
      const trainer = await create(parts);
      const got = await trainer.lossAndGradients(batch);
      await trainer.dispose();
      for (const [part, value] of Object.entries(expected.parts)) {
        expect(Math.abs(got.parts[part]! / value - 1), part).toBeLessThan(1e-6);
      }
      expect([...got.gradients.keys()].sort()).toEqual([...expected.gradients.keys()].sort());
      for (const [name, gradient] of expected.gradients) {
        const difference = norm(gradient.map((value, i) => value - got.gradients.get(name)![i]!));
        // Some gradients are zero but for rounding, such as those of K biases. The others differ by 1.5e-6 at most.
        const scale = Math.max(norm(gradient), 1e-5 * total);
        expect(difference / scale, `${name} ${JSON.stringify(parts)}`).toBeLessThan(1e-5);
      }
    }
  });
});

/** exp(t) x_i . y_j of rows of features, brought to unit length, in double precision. */
function logitsOf(images: NDArray, texts: NDArray, logScale: number): number[][] {
  const [x, y] = [images, texts].map(({ shape, data }) => {
    const width = shape[1]!;
    return Array.from({ length: shape[0]! }, (_, i) => {
      const row = Array.from(data.slice(i * width, (i + 1) * width) as Float32Array);
      const length = Math.sqrt(row.reduce((sum, value) => sum + value ** 2, 0));
      return row.map((value) => value / length);
    });
  });
  const product = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, k) => sum + value * b[k]!, 0);
  return x!.map((row) => y!.map((other) => Math.exp(logScale) * product(row, other)));
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** -log softmax(row)_i, meant over the places i that show the concept of the row. */
function rowLoss(row: readonly number[], positive: (j: number) => boolean): number {
  const logSum = Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
  return mean(row.filter((_, j) => positive(j)).map((value) => logSum - value));
}

function softmaxByHand(logits: readonly (readonly number[])[], concepts: readonly number[]): number {
  const side = (rows: readonly (readonly number[])[]) =>
    mean(rows.map((row, i) => rowLoss(row, (j) => concepts[i] === concepts[j])));
  return (side(logits) + side(logits.map((_, i) => logits.map((row) => row[i]!)))) / 2;
}

function sigmoidByHand(logits: readonly (readonly number[])[], concepts: readonly number[], bias: number): number {
  const pair = (value: number, same: boolean) => Math.log(1 + Math.exp(same ? -(value + bias) : value + bias));
  return mean(logits.map((row, i) => row.reduce((sum, value, j) => sum + pair(value, concepts[i] === concepts[j]), 0)));
}

describe("pictures of one concept are positives of one another", () => {
  test.each([
    ["softmax", "a teacher with the softmax loss", softmaxByHand],
    ["sigmoid", "a teacher with the sigmoid loss", sigmoidByHand],
  ] as const)("in the %s loss, as computed by hand", async (_, name, byHand) => {
    const trainer = await CREATORS[name]!({ partSize: 3 }); // so that the features are given too
    const trained = await trainer.trained();
    const scalar = (parameter: string) => Number(trained.get(parameter)?.data[0]);
    const losses: number[] = [];
    for (const concepts of [DIFFERENT, SHARED]) {
      const { parts, features } = await trainer.lossAndGradients(batchOf(concepts));
      const logits = logitsOf(features!["features.image"]!, features!["features.text"]!, scalar("logit_scale"));
      expect(Math.abs(parts.contrastive! / byHand(logits, concepts, scalar("logit_bias")) - 1)).toBeLessThan(1e-5);
      losses.push(parts.contrastive!);
    }
    expect(losses[0]).not.toBeCloseTo(losses[1]!, 2);
    await trainer.dispose();
  });
});
