// Slow proofs at the size of the released models, on random weights: `npm run nightly`.
// Needs 11 GB of disk in the temporary folder and 8 GB of memory; about three minutes on two cores.
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ort from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type NDArray, ndarray, normalizeRows, Random } from "../src/core/index.ts";
import { traceGraph } from "../src/models/index.ts";
import { openCheckpointFile } from "../src/node/checkpoint.ts";
import { exportOnnx, initCheckpoint, TokLIP } from "../src/node/index.ts";
import { createOrtBackend } from "../src/node/ort-backend.ts";
import { checkpointWeights } from "../src/runtime/index.ts";
import { maxDifference } from "../test/goldens.ts";

const folder = mkdtempSync(join(tmpdir(), "toklip-nightly-"));
const checkpoint = join(folder, "model.safetensors");
const pictures = new URL("../test/pictures/", import.meta.url).pathname;
const minutes = (count: number) => count * 60_000;

describe("a model of the released size", () => {
  let model: TokLIP;
  beforeAll(async () => {
    await initCheckpoint({ config: "ViT-SO400M-16-SigLIP2-256-toklip", seed: 1, out: checkpoint });
    model = await TokLIP.load(checkpoint);
  }, minutes(5));
  afterAll(async () => {
    await model.dispose();
    rmSync(folder, { recursive: true });
  });

  test("gives the same ids with fast convolutions as with plain ones", { timeout: minutes(5) }, async () => {
    const file = await openCheckpointFile(checkpoint);
    const backend = createOrtBackend();
    const graph = traceGraph("vq_encoder", model.config);
    const plain = await backend.compile({ name: "plain", graph, weight: checkpointWeights(file) });
    for (const name of readdirSync(pictures).filter((file) => /\.(jpg|png)$/.test(file))) {
      const pixels = await model.preprocess(pictures + name);
      const { ids } = await plain.run({ pixels });
      expect(Array.from((await model.encodeIds(pixels)).data), name).toEqual(Array.from(ids!.data as Int32Array));
    }
    await backend.dispose();
    await file.close();
  });

  test("gives the same token features by steps as at once", { timeout: minutes(5) }, async () => {
    const random = new Random(3);
    const ids = ndarray(
      "i32",
      [1, 256],
      Int32Array.from({ length: 256 }, () => random.integer(16384)),
    );
    const whole = normalizeRows((await model.encodeFeatures(ids)).tokenFeatures);
    const stream = await model.startStream();
    for (const length of [1, 7, 1, 55, 64, 128]) {
      const from = stream.position;
      const features = normalizeRows(
        await stream.step(ndarray("i32", [1, length], ids.data.slice(from, from + length))),
      );
      expect(maxDifference(features.data, whole.data.subarray(from * 1152, (from + length) * 1152))).toBeLessThan(1e-5);
    }
    await stream.dispose();
  });

  test("exports weights beyond 2 GiB into files that a bare ONNX Runtime reads", { timeout: minutes(10) }, async () => {
    const out = join(folder, "onnx");
    await exportOnnx(checkpoint, { out });
    expect(statSync(join(out, "text_encoder.onnx.data")).size).toBeGreaterThan(2 ** 31);
    const random = new Random(4);
    const textIds = ndarray(
      "i32",
      [1, 64],
      Int32Array.from({ length: 64 }, () => random.integer(256000)),
    );
    const session = await ort.InferenceSession.create(join(out, "text_encoder.onnx"));
    const result = await session.run({ text_ids: new ort.Tensor("int32", textIds.data, [1, 64]) });
    await session.release();
    const bare: NDArray<"f32"> = ndarray("f32", [1, 1152], result.text_features!.data as Float32Array<ArrayBuffer>);
    const ours = normalizeRows(await model.encodeTextIds(textIds));
    expect(maxDifference(normalizeRows(bare).data, ours.data)).toBeLessThan(1e-5);
  });
});
