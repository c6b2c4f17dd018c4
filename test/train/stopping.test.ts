// Runs that stop because what they compute is no number any more.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytesOf } from "../../src/core/index.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../../src/files/index.ts";
import { openAtomicFile } from "../../src/node/atomic-file.ts";
import { openFileSource } from "../../src/node/file-source.ts";
import { enterWorkspace, metricsOf, RUNS, train } from "./workspace.ts";

let leave: () => Promise<void>;
beforeAll(async () => {
  leave = await enterWorkspace();
});
afterAll(() => leave());

const EVERY = { log_every: 1, eval_every: 0, checkpoint_every: 2, steps: 6 };

/** Copies a file of tensors with an infinity in one of them. */
async function poison(from: string, to: string, name: string): Promise<void> {
  const source = await openFileSource(from);
  const { tensors, metadata } = await openSafetensors(source);
  const sink = await openAtomicFile(to, {});
  const specs = [...tensors].map(([each, { dtype, shape }]) => ({ name: each, dtype, shape }));
  async function* data(each: string) {
    const { data: values } = await readTensor(tensors.get(each)!);
    if (each === name) (values as Float32Array)[3] = Number.POSITIVE_INFINITY;
    yield bytesOf(values);
  }
  await writeSafetensors(sink, specs, data, metadata as Record<string, string>);
  await sink.commit();
  await source.close?.();
}

describe("numbers that are none stop a run, which names the step, the part and a good checkpoint", () => {
  // The second step is the first that sees what the rate did.
  test.each([
    ["teacher", RUNS.teacher, "contrastive"],
    ["toklip", RUNS.toklip, "contrastive"],
    ["vq", RUNS.vq, "reconstruction"],
  ] as const)("where the learning rate of a %s is far too high", async (kind, run, part) => {
    const good = await train(kind, `${kind}-good`, { ...run, ...EVERY, checkpoint_every: 3 });
    expect(good.status).toBe(0);
    const init = [`${kind}-good/checkpoints/step-00000006/model.safetensors`, ...(kind === "toklip" ? run.init : [])];
    const optimizer = { learning_rate: 1e30, schedule: "constant" };
    const { status, stderr } = await train(kind, `${kind}-high`, { ...run, ...EVERY, init, optimizer });
    expect(status).toBe(1);
    expect(stderr).toContain(
      `toklip: training: step 2: ${part} is NaN; there is no checkpoint yet [TRAINING_DIVERGED]; begin a run with`,
    );
    // It began where the checkpoint was.
    const [before, after] = [await metricsOf(`${kind}-good`), await metricsOf(`${kind}-high`)];
    expect(after).toHaveLength(1);
    expect(after[0]!.loss).toBeLessThan(before[0]!.loss!);
  });

  test("where the first checkpoint holds weights that are of no use, says so", async () => {
    const optimizer = { learning_rate: 1e30, schedule: "constant" };
    const { stderr } = await train("teacher", "each", { ...RUNS.teacher, ...EVERY, checkpoint_every: 1, optimizer });
    expect(stderr).toContain(
      "step 2: contrastive is NaN; each/checkpoints/step-00000001 holds the weights that failed, there is none before it [",
    );
  });

  test("where a checkpoint to begin from has an infinite weight", async () => {
    await poison("models/teacher.safetensors", "models/poisoned.safetensors", "visual.trunk.norm.weight");
    const config = { ...RUNS.teacher, ...EVERY, init: ["models/poisoned.safetensors"] };
    const { status, stderr } = await train("teacher", "poisoned", config);
    expect(status).toBe(1);
    expect(stderr).toContain("step 1: contrastive is NaN; there is no checkpoint yet [TRAINING_DIVERGED]");
  });
});
