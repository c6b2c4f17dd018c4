// Zero-shot labels against the reference: ensemble weights, logits, probabilities.
import { expect, test } from "vitest";
import { type NDArray, ndarray } from "../../src/core/index.ts";
import { traceGraph } from "../../src/models/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { encodeLabels, fillTemplate, scoreLabels } from "../../src/pipelines/classify.ts";
import { checkpointWeights } from "../../src/runtime/index.ts";
import { goldenConfig, goldenJson, goldenPath, goldenTensors, maxDifference } from "../goldens.ts";

test("labels and scores equal the reference's", async () => {
  const config = goldenConfig("ViT-tiny-16-SigLIP2-64-toklip");
  const golden = await goldenTensors("metrics/golden_zeroshot.safetensors");
  const { classes, templates } = goldenJson("metrics/golden_zeroshot.json") as {
    classes: string[];
    templates: string[];
  };
  const checkpoint = await openCheckpointFile(goldenPath("tiny/tiny.pt"));
  const backend = createOrtBackend();
  const graph = traceGraph("text_encoder", config);
  const session = await backend.compile({ name: "text", graph, weight: checkpointWeights(checkpoint) });
  const textIds = (await golden("token_ids")) as NDArray<"i32">;
  // The reference's own tokenizer is not here: its ids stand for the prompts they were made of.
  const prompts = classes.flatMap((label) => templates.map((template) => fillTemplate(template, label)));
  const model = {
    async encodeText(texts: string | readonly string[]) {
      const rows = [texts].flat().map((text) => prompts.indexOf(text));
      const ids = ndarray(
        "i32",
        [rows.length, 16],
        Int32Array.from(rows.flatMap((row) => [...textIds.data.subarray(row * 16, row * 16 + 16)])),
      );
      return (await session.run({ text_ids: ids })).text_features as NDArray<"f32">;
    },
  };
  const labels = await encodeLabels(model, classes, { templates });

  const classifier = (await golden("classifier")).data as Float32Array; // (D, labels)
  const transposed = Float32Array.from(
    { length: classifier.length },
    (_, i) => classifier[(i % 64) * classes.length + Math.floor(i / 64)]!,
  );
  expect(maxDifference(labels.features.data, transposed)).toBeLessThan(1e-5);

  const images = (await golden("image_features_norm")) as NDArray<"f32">;
  const probabilities = (await golden("probs")).data as Float32Array;
  scoreLabels(images, labels).forEach((scores, image) => {
    expect(scores.map(({ score }) => score)).toEqual(scores.map(({ score }) => score).toSorted((a, b) => b - a));
    for (const { label, score } of scores) {
      expect(Math.abs(score - probabilities[image * classes.length + classes.indexOf(label)]!), label).toBeLessThan(
        1e-4,
      );
    }
  });
  await backend.dispose();
  await checkpoint.close();
});
