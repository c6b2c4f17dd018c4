// Configurations of GPTs, and checkpoints in the layouts that LlamaGen's codes write.
import { afterAll, describe, expect, test } from "vitest";
import { memorySource, type NDArray, sizeOf } from "../../src/core/index.ts";
import { type Checkpoint, openCheckpoint } from "../../src/files/index.ts";
import {
  checkGptCheckpoint,
  GPT_SIZES,
  gptParameterShapes,
  inferGptConfig,
  parseGptConfig,
} from "../../src/models/index.ts";
import { tensorOf, torchFile } from "../files/torch-writer.ts";
import { maxDifference, readAll } from "../goldens.ts";
import { GPT_NAMES, readGptGolden } from "../gpt-goldens.ts";

describe.each(GPT_NAMES)("the configuration of %s", async (name) => {
  const { checkpoint, config, manifest } = await readGptGolden(name);
  afterAll(() => checkpoint.close());

  test("has the reference's parameters and hidden width", () => {
    expect(config.hidden).toBe(manifest.ffn_hidden);
    expect(Object.fromEntries(gptParameterShapes(config))).toEqual(manifest.state_dict);
    checkGptCheckpoint(checkpoint, config);
  });

  test("is read from the shapes, but for heads and grid, which they do not say", () => {
    const inferred = inferGptConfig(checkpoint, { n_head: config.numHeads, block_size: 16 });
    expect(inferred).toEqual({ ...config, name: checkpoint.name });
    expect(() => inferGptConfig(checkpoint)).toThrow(/give dim, n_layer and n_head, or a size \[CONFIG_INVALID\]/);
  });
});

test.each([
  ["GPT-B", 110_888_448],
  ["GPT-L", 342_910_976],
] as const)("%s has as many parameters as the reference's", (size, parameters) => {
  const shapes = gptParameterShapes(parseGptConfig({ size }));
  expect([...shapes.values()].reduce((sum, shape) => sum + sizeOf(shape), 0)).toBe(parameters);
});

test("each size is one whose heads can be turned on a grid", () => {
  expect(Object.keys(GPT_SIZES).map((size) => parseGptConfig({ size }).hidden)).toEqual([
    2048, 2816, 3584, 4096, 6912, 5632, 8704, 11008,
  ]);
});

test.each([
  [{}, "give dim, n_layer and n_head, or a size"],
  [{ size: "GPT-C" }, 'size "GPT-C" is none of'],
  [{ size: "GPT-B", block_size: 200 }, "block_size 200 is no square"],
  [{ size: "GPT-B", n_head: 7 }, "dim 768 over 7 heads"],
  [{ size: "GPT-B", n_kv_head: 5 }, "12 heads cannot share 5"],
  [{ size: "GPT-B", n_kv_head: 2.5 }, "n_kv_head"],
  [{ size: "GPT-B", cls_token_num: 2 }, "cls_token_num is 1"],
  [{ size: "GPT-B", vocab_size: 0 }, "vocab_size"],
  [[], "custom: "],
])("refuses %j", (json, message) => {
  expect(() => parseGptConfig(json)).toThrow(message);
  expect(() => parseGptConfig(json)).toThrow("CONFIG_INVALID");
});

describe("a checkpoint", async () => {
  const { config, weights, checkpoint: original } = await readGptGolden("gpt_c2i");
  await original.close();
  /** A checkpoint of these weights, in a dictionary around them. */
  async function written(around: (tensors: Map<string, unknown>) => unknown, more: Record<string, NDArray> = {}) {
    const storages: Record<string, Uint8Array> = {};
    const tensors = new Map<string, unknown>();
    for (const [name, { shape, data }] of [...weights, ...Object.entries(more)]) {
      const key = String(tensors.size);
      storages[key] = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
      const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
      tensors.set(name, tensorOf({ key, count: data.length, shape: [...shape], strides }));
    }
    return openCheckpoint(memorySource(torchFile(around(tensors), storages), "gpt.pt"));
  }
  const expectWeights = async (checkpoint: Checkpoint) => {
    checkGptCheckpoint(checkpoint, config);
    const read = await readAll(checkpoint);
    for (const [name, { data }] of weights) {
      expect(maxDifference(read.get(name)!.data, data as Float32Array), name).toBe(0);
    }
  };

  test.each([
    ["model", (tensors: unknown) => new Map([["model", tensors]])],
    ["module", (tensors: unknown) => new Map([["module", tensors]])],
    ["state_dict", (tensors: unknown) => new Map([["state_dict", tensors]])],
    ["nothing", (tensors: unknown) => tensors],
  ] as const)("is read with %s around it", async (_, around) => {
    await expectWeights(await written(around));
  });

  test("may hold what a model has that has generated", async () => {
    const cache = { dtype: "f32", shape: [2, 4, 24, 16], data: new Float32Array(2 * 4 * 24 * 16) } as const;
    const more = {
      "layers.0.attention.kv_cache.k_cache": cache,
      "layers.2.attention.kv_cache.v_cache": cache,
      freqs_cis: { dtype: "f32", shape: [17, 8, 2], data: new Float32Array(17 * 8 * 2) } as const,
    };
    await expectWeights(await written((tensors) => tensors, more));
  });

  test("of another size is refused by name", async () => {
    const checkpoint = await written((tensors) => tensors);
    const check = (json: object) => () =>
      checkGptCheckpoint(
        checkpoint,
        parseGptConfig({ dim: 64, n_layer: 3, n_head: 4, vocab_size: 128, ...json }, "it"),
      );
    expect(check({ num_classes: 20 })).toThrow(
      "gpt.pt is not a it: cls_embedding.embedding_table.weight expected [21,64], got [11,64] [CHECKPOINT_MISMATCH]",
    );
    expect(check({ num_classes: 10, n_layer: 4 })).toThrow("missing layers.3.attention_norm.weight, ");
    expect(check({ num_classes: 10, n_layer: 2 })).toThrow("unexpected layers.2.attention.wqkv.weight, ");
    expect(check({ model_type: "t2i", cls_token_num: 8 })).toThrow("missing cls_embedding.uncond_embedding, ");
  });

  test("says by its training arguments how large the grid is", async () => {
    const args = new Map([
      ["image_size", 384],
      ["downsample_size", 16],
    ]);
    const checkpoint = await written(
      (tensors) =>
        new Map<string, unknown>([
          ["model", tensors],
          ["args", args],
        ]),
    );
    expect(inferGptConfig(checkpoint, { n_head: 4 }).side).toBe(24);
    expect(inferGptConfig(checkpoint, { n_head: 4, block_size: 256 }).side).toBe(16);
  });

  test("has one class more where none stands for no class", async () => {
    const checkpoint = await written((tensors) => tensors);
    const known = { n_head: 4, block_size: 16, class_dropout_prob: 0 };
    expect(inferGptConfig(checkpoint, known).condition).toEqual({
      kind: "class",
      classes: 11,
      tokens: 1,
      hasNull: false,
    });
    checkGptCheckpoint(checkpoint, inferGptConfig(checkpoint, known));
  });

  test("that is no GPT has no configuration", async () => {
    const checkpoint = await written((tensors) => new Map([...tensors].filter(([name]) => !name.startsWith("tok"))));
    expect(() => inferGptConfig(checkpoint)).toThrow(
      "gpt.pt is no GPT of LlamaGen: it has no matrix tok_embeddings.weight [CHECKPOINT_MISMATCH]",
    );
  });
});
