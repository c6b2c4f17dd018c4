// Where the weights of transformers that generate ids begin.
import { describe, expect, test } from "vitest";
import { sizeOf } from "../../src/core/index.ts";
import { gptParameterShapes, initialPieces, parseGptConfig } from "../../src/models/index.ts";

function drawn(name: string, shape: readonly number[], seed = 1): Float32Array {
  return Float32Array.from([...initialPieces(name, shape, seed, 1000)].flatMap((piece) => [...piece]));
}

function moments(values: Float32Array) {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const central = (power: number) => values.reduce((sum, x) => sum + (x - mean) ** power, 0) / values.length;
  const variance = central(2);
  return { mean, deviation: Math.sqrt(variance), kurtosis: central(4) / variance ** 2 };
}

/** Of this many values: the mean, the deviation and the kurtosis (3 for a normal one, 1.8 for a uniform one). */
function expectNormal(values: Float32Array, deviation: number): void {
  const found = moments(values);
  const error = 5 / Math.sqrt(values.length);
  expect(Math.abs(found.mean)).toBeLessThan(error * deviation);
  expect(Math.abs(found.deviation / deviation - 1)).toBeLessThan(error);
  expect(Math.abs(found.kurtosis - 3)).toBeLessThan(5 * error);
}

describe("a GPT", () => {
  const sizes = { dim: 64, n_layer: 2, n_head: 4, vocab_size: 128, block_size: 16 };

  test.each([
    ["of classes", { num_classes: 100 }],
    ["of captions", { model_type: "t2i", cls_token_num: 40, caption_dim: 100 }],
  ])("%s begins as LlamaGen's", (_, condition) => {
    for (const [name, shape] of gptParameterShapes(parseGptConfig({ ...sizes, ...condition }))) {
      const values = drawn(name, shape);
      if (/norm\.weight$/.test(name)) expect(values, name).toEqual(new Float32Array(sizeOf(shape)).fill(1));
      else if (name === "output.weight") expect(values, name).toEqual(new Float32Array(sizeOf(shape)));
      else expectNormal(values, name.endsWith("uncond_embedding") ? 0.1 : 0.02);
    }
  });
});

describe("the unified transformer", () => {
  test.each([
    ["tok_embeddings.weight", [300, 64]],
    ["layers.3.attention.wqkv.weight", [96, 64]],
    ["layers.11.feed_forward.w2.weight", [64, 192]],
    ["image_projection.fc1.weight", [64, 96]],
    ["image_projection.fc2.weight", [64, 64]],
    ["semantic_embeddings.2.weight", [256, 64]],
  ])("draws %s from N(0, 0.02)", (name, shape) => {
    expectNormal(drawn(name, shape), 0.02);
  });

  test("has no biases to begin with", () => {
    expect(drawn("image_projection.fc1.bias", [64])).toEqual(new Float32Array(64));
  });
});

test("the other models begin as they did: uniform, by fan-in", () => {
  const { deviation, kurtosis } = moments(drawn("visual.trunk.blocks.0.attn.qkv.weight", [96, 64]));
  expect(Math.abs(deviation * 8 - 1)).toBeLessThan(0.05);
  expect(Math.abs(kurtosis - 1.8)).toBeLessThan(0.05);
});

test("a parameter's numbers follow from the seed and its name", () => {
  const shape = [20, 10];
  expect(drawn("tok_embeddings.weight", shape, 7)).toEqual(drawn("tok_embeddings.weight", shape, 7));
  expect(drawn("tok_embeddings.weight", shape, 8)).not.toEqual(drawn("tok_embeddings.weight", shape, 7));
  expect(drawn("layers.0.attention.wo.weight", shape, 7)).not.toEqual(drawn("tok_embeddings.weight", shape, 7));
});
