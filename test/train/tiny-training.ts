/** The reference's training of the tiny TokLIP: its batch, and a trainer that begins where it began. */
import { type NDArray, ndarray } from "../../src/core/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import type { Backend } from "../../src/runtime/index.ts";
import type { ContrastiveTrainer } from "../../src/train/contrastive-trainer.ts";
import type { ImageTextBatch } from "../../src/train/image-text-batch.ts";
import { createSchedule } from "../../src/train/schedule.ts";
import { TOKLIP_LOSS_WEIGHTS } from "../../src/train/toklip-objective.ts";
import { createToklipTrainer, type ToklipTrainingOptions } from "../../src/train/towers-trainer.ts";
import { goldenConfig, goldenPath, goldenTensors } from "../goldens.ts";

/** The batch of every step of the golden training. */
export async function goldenBatch(): Promise<ImageTextBatch> {
  const tensor = await goldenTensors("train/golden_train.safetensors");
  return {
    pixels: (await tensor("images")) as NDArray<"f32">,
    textIds: (await tensor("texts")) as NDArray<"i32">,
    concepts: ndarray("i32", [5], Int32Array.of(0, 1, 2, 3, 4)),
    keys: ["a", "b", "c", "d", "e"],
  };
}

/** The reference's settings; `changes` replaces some. */
export async function tinyTrainer(
  backend: Backend,
  changes: Partial<ToklipTrainingOptions> = {},
): Promise<{ trainer: ContrastiveTrainer; fresh: readonly string[]; close(): Promise<void> }> {
  const tiny = await openCheckpointFile(goldenPath("tiny/tiny.pt"));
  const teacher = await openCheckpointFile(goldenPath("train/teacher.pt"));
  const built = await createToklipTrainer({
    backend,
    model: goldenConfig("ViT-tiny-16-SigLIP2-64-toklip"),
    checkpoints: [tiny],
    teacher: { config: goldenConfig("ViT-tiny-16-SigLIP2-64"), checkpoint: teacher },
    weights: TOKLIP_LOSS_WEIGHTS,
    seed: 0,
    optimizer: { betas: [0.9, 0.95], eps: 1e-6, weightDecay: 0.1 },
    logitScaleRange: [0, Math.log(100)],
    schedule: createSchedule("cosine", { learningRate: 1e-3, warmup: 2 }),
    batchSize: 5,
    ...changes,
  });
  const close = async () => {
    await built.trainer.dispose();
    await tiny.close();
    await teacher.close();
  };
  return { ...built, close };
}

/** |a - b| / |b|, Euclidean; 0 for equal arrays. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / size);
}
