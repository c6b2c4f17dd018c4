// Configurations of the unified transformer, and checkpoints held against them.
import { describe, expect, test } from "vitest";
import {
  AR_BUFFERS,
  arParameterShapes,
  arVocabulary,
  checkArCheckpoint,
  parseArConfig,
} from "../../src/models/index.ts";
import { normals, TINY_AR, TINY_ARS, tinyAr, tinyCheckpoint, tinyWeights } from "../ar-models.ts";

const FEATURES = { feature_width: 6 };
const CODES = { semantic_codes: { levels: 2, size: 5 } };

describe("a configuration", () => {
  test("is read with its defaults, and back from its source", () => {
    const config = parseArConfig(TINY_AR, "tiny");
    expect(config).toMatchObject({ numKvHeads: 2, normEps: 1e-5, rotaryBase: 10000, featureWidth: 0 });
    expect(parseArConfig({ ...TINY_AR, kv_heads: undefined }).numKvHeads).toBe(4);
    expect(parseArConfig(JSON.parse(JSON.stringify(config.source)), "tiny")).toEqual(config);
  });

  test("has one vocabulary: control ids, text ids, image ids", () => {
    expect(arVocabulary(tinyAr("vq"))).toEqual({ textStart: 8, imageStart: 20, size: 30 });
  });

  test.each([
    [{ entry: "pixels" }, "entry"],
    [{ model_type: "gpt" }, "model_type"],
    [{ widht: 3 }, "widht"],
    [{ width: 30 }, "width 30 over 4 heads"],
    [{ width: 2 ** 40 }, "width"],
    [{ width: 36 }, "width 36 over 4 heads is no multiple of 2"],
    [{ kv_heads: 3 }, "4 heads cannot share 3"],
    [{ image_tokens: 5 }, "image_tokens 5 is no square"],
    [{ context_length: 7 }, "context_length 7 has no room for a picture of 4 ids"],
    [{ entry: "toklip" }, "entry toklip needs feature_width"],
    [FEATURES, "feature_width is for entries that read features"],
    [{ ...FEATURES, entry: "semantic-codes" }, "entry semantic-codes needs semantic_codes"],
    [{ ...FEATURES, ...CODES, entry: "toklip" }, "semantic_codes is for the entry semantic-codes"],
    [{ norm_eps: 0 }, "norm_eps"],
    [{ condition_dropout: 2 }, "condition_dropout"],
  ])("is refused: %j", (change, message) => {
    const parse = () => parseArConfig({ ...TINY_AR, ...change }, "it");
    expect(parse).toThrow(message);
    expect(parse).toThrow("[CONFIG_INVALID]");
  });

  test.each([[undefined], [null], [[]], ["toklip-ar"], [3]])("is no %j", (json) => {
    expect(() => parseArConfig(json)).toThrow("[CONFIG_INVALID]");
  });
});

test("each entry has parameters of its own beside those of LlamaGen's GPT", () => {
  const own = (name: string) => !/^(tok_embeddings|layers|norm|output)\./.test(name);
  const projection = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"].map((part) => `image_projection.${part}`);
  const codes = ["codebooks.0", "embeddings.0", "codebooks.1", "embeddings.1"].map((part) => `semantic_${part}.weight`);
  for (const [entry, names] of [
    ["vq", []],
    ["toklip", projection],
    ["toklip+vq", projection],
    ["semantic-codes", codes],
  ] as const) {
    const shapes = arParameterShapes(tinyAr(entry));
    expect([...shapes.keys()].filter(own).sort()).toEqual([...names].sort());
    expect([...shapes.keys()].filter((name) => AR_BUFFERS.test(name))).toHaveLength(entry === "semantic-codes" ? 2 : 0);
  }
  expect(arParameterShapes(tinyAr("vq")).get("layers.1.attention.wqkv.weight")).toEqual([64, 32]);
});

test.each(TINY_ARS)("a checkpoint is held against its configuration: %s", (_, config) => {
  const weights = tinyWeights(config);
  const encoder = ["visual.trunk.pos_embed", normals("pos", [1, 4, 6])] as const;
  checkArCheckpoint(tinyCheckpoint(config, new Map([...weights, encoder])), config);
  const without = new Map([...weights].filter(([name]) => name !== "output.weight"));
  expect(() => checkArCheckpoint(tinyCheckpoint(config, without), config)).toThrow(
    "missing output.weight [CHECKPOINT_MISMATCH]",
  );
  const more = new Map([...weights, ["cls_embedding.weight", normals("more", [1])] as const]);
  expect(() => checkArCheckpoint(tinyCheckpoint(config, more), config)).toThrow("unexpected cls_embedding.weight");
});
