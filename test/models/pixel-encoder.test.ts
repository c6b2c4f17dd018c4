// The pixel teacher against the reference's numbers: a bare state dict without a text tower.
import { expect, test } from "vitest";
import { type NDArray, normalizeRows } from "../../src/core/index.ts";
import { checkCheckpoint, checkpointGraphs, hasTextTower, traceGraph } from "../../src/models/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { checkpointWeights } from "../../src/runtime/index.ts";
import { goldenConfig, goldenPath, goldenTensors, maxDifference } from "../goldens.ts";

test("the pixel encoder gives the reference's teacher features", async () => {
  const config = goldenConfig("ViT-tiny-16-SigLIP2-64");
  const golden = await goldenTensors("train/golden_train.safetensors");
  const checkpoint = await openCheckpointFile(goldenPath("train/teacher.pt"));
  expect(hasTextTower(checkpoint)).toBe(false);
  checkCheckpoint(checkpoint, config, checkpointGraphs(checkpoint, config));
  const backend = createOrtBackend();
  const graph = traceGraph("pixel_encoder", config);
  const session = await backend.compile({ name: "teacher", graph, weight: checkpointWeights(checkpoint) });
  const { image_features } = await session.run({ pixels: await golden("images") });
  const features = normalizeRows(image_features as NDArray<"f32">);
  const expected = (await golden("loss_in.dist_image_features")).data as Float32Array;
  expect(maxDifference(features.data, expected)).toBeLessThan(1e-5);
  await backend.dispose();
  await checkpoint.close();
});
