// Captions for a GPT: features in files, and features that an ONNX encoder makes.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { bytesOf, fromF32, type NDArray, ndarray } from "../../src/core/index.ts";
import { writeNpy, writeSafetensors } from "../../src/files/index.ts";
import * as g from "../../src/graph/index.ts";
import { encodeCaptionTexts, readCaptionFeatures } from "../../src/node/index.ts";
import { lowerGraph, type OnnxModel, writeOnnx } from "../../src/onnx/index.ts";
import { encoderTokenizer } from "../../src/text/index.ts";
import { goldenPath } from "../goldens.ts";
import { f32, i64, initializer, node } from "../onnx/small-models.ts";

const folder = mkdtempSync(join(tmpdir(), "toklip-captions-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

/** What a writer gives to its sink, as a file. */
async function written(name: string, write: (sink: { write(bytes: Uint8Array): Promise<void> }) => Promise<void>) {
  const pieces: Uint8Array[] = [];
  await write({ write: async (bytes) => void pieces.push(bytes.slice()) });
  writeFileSync(at(name), Buffer.concat(pieces));
  return at(name);
}
const npy = (name: string, array: NDArray) => written(name, (sink) => writeNpy(sink, array));
const ramp = (...shape: number[]) =>
  ndarray(
    "f32",
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => i / 4),
  );

describe("features of captions in files", () => {
  test("are the array of an .npy file, with or without a batch of one, in any floats", async () => {
    const features = ramp(3, 4);
    const half = { dtype: "f16", shape: [1, 3, 4], data: fromF32("f16", features.data) } as const;
    for (const [name, array] of [
      ["fox", features],
      ["fox", { ...features, shape: [1, 3, 4] }],
      ["fox", half],
    ] as const) {
      expect(await readCaptionFeatures(await npy(`${name}.npy`, array))).toEqual([{ name, features }]);
    }
  });

  test("are all tensors of a .safetensors file, by their names", async () => {
    const arrays: Record<string, NDArray<"f32">> = { "a red fox": ramp(2, 4), owl: ramp(1, 5, 4) };
    const specs = Object.entries(arrays).map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
    const path = await written("all.safetensors", (sink) =>
      writeSafetensors(sink, specs, async (name) => bytesOf(arrays[name]!.data)),
    );
    expect(await readCaptionFeatures(path)).toEqual([
      { name: "a red fox", features: ramp(2, 4) },
      { name: "owl", features: ramp(5, 4) },
    ]);
  });

  test.each<[string, () => Promise<string>, string]>([
    ["a vector", () => npy("v.npy", ramp(4)), "expected features (tokens, width), got [4] [SHAPE_MISMATCH]"],
    ["a batch of two", () => npy("b.npy", ramp(2, 3, 4)), "got [2,3,4] [SHAPE_MISMATCH]"],
    ["no tokens", () => npy("n.npy", ndarray("f32", [0, 4])), "got [0,4] [SHAPE_MISMATCH]"],
    ["whole numbers", () => npy("i.npy", ndarray("i32", [2, 4])), "expected floats, got i32 [DTYPE_MISMATCH]"],
    ["another kind of file", async () => "caption.txt", "read from .npy or .safetensors files [FILE_UNSUPPORTED]"],
    ["a file that is not there", async () => at("nowhere.npy"), "FILE_NOT_FOUND"],
  ])("are not %s", async (_, make, message) => {
    await expect(readCaptionFeatures(await make())).rejects.toThrow(message);
  });
});

/** Writes a network as an ONNX file. */
function onnx(name: string, build: (graph: g.Graph) => void, weights: Record<string, NDArray<"f32">> = {}): string {
  const graph = new g.Graph();
  build(graph);
  const model = lowerGraph(graph, name, (parameter) => ({ kind: "embedded", value: weights[parameter]! }));
  writeFileSync(at(name), writeOnnx(model));
  return at(name);
}

const tokenizer = goldenPath("tiny/tokenizer.json");
const idsOf = encoderTokenizer(JSON.parse(readFileSync(tokenizer, "utf8")));
const VOCABULARY = 600;

/** Rows of a table by the ids, times the mask where there is one. */
const encoder = (name: string, inputs: readonly string[]) =>
  onnx(
    name,
    (graph) => {
      const [ids, mask] = inputs.map((input) => graph.input(input, "i32", ["B", "T"]));
      const rows = g.gather(graph.parameter("table", [VOCABULARY, 6]), ids!);
      graph.output("last", mask ? g.mul(rows, g.reshape(g.cast(mask, "f32"), ["B", "T", 1])) : rows);
    },
    { table: ramp(VOCABULARY, 6) },
  );

/** An encoder of one block, as PyTorch exports a T5's: relative positions in buckets, counted from the shape of the ids. */
function t5Like(name: string): string {
  const weights = { table: ramp(VOCABULARY, 6), bias: ramp(32, 1) };
  const constants: Record<string, NDArray> = {
    one: i64([1]),
    zero: i64([0]),
    first: i64([0], []),
    second: i64([1], []),
    eight: i64([8], []),
    fifteen: i64([15], []),
    sixteen: i64([16], []),
    both: i64([1, 2]),
    exact: f32([8], []),
    range: f32([Math.log(16)], []),
    rest: f32([8], []),
    whole: f32([1], []),
    lowest: f32([-3.4028234663852886e38], []),
  };
  const [asFloat, asInt] = [{ to: 1 }, { to: 7 }];
  const nodes = [
    node("Gather", ["table", "input_ids"], ["x"]),
    node("Shape", ["input_ids"], ["shape"]),
    node("Gather", ["shape", "second"], ["length"]),
    node("Range", ["first", "length", "second"], ["places"]),
    node("Unsqueeze", ["places", "one"], ["query"]),
    node("Unsqueeze", ["places", "zero"], ["key"]),
    node("Sub", ["key", "query"], ["relative"]),
    node("Greater", ["relative", "first"], ["after"]),
    node("Cast", ["after"], ["later"], asInt),
    node("Mul", ["later", "sixteen"], ["half"]),
    node("Abs", ["relative"], ["distance"]),
    node("Less", ["distance", "eight"], ["near"]),
    node("Cast", ["distance"], ["d"], asFloat),
    node("Div", ["d", "exact"], ["d8"]),
    node("Log", ["d8"], ["log"]),
    node("Div", ["log", "range"], ["share"]),
    node("Mul", ["share", "rest"], ["far"]),
    node("Cast", ["far"], ["steps"], asInt),
    node("Add", ["steps", "eight"], ["large"]),
    node("Min", ["large", "fifteen"], ["capped"]),
    node("Where", ["near", "distance", "capped"], ["bucket"]),
    node("Add", ["half", "bucket"], ["which"]),
    node("Gather", ["bias", "which"], ["byHead"]),
    node("Transpose", ["byHead"], ["headFirst"], { perm: [2, 0, 1] }),
    node("Unsqueeze", ["headFirst", "zero"], ["position"]),
    node("Unsqueeze", ["attention_mask", "both"], ["wide"]),
    node("Cast", ["wide"], ["seen"], asFloat),
    node("Sub", ["whole", "seen"], ["hidden"]),
    node("Mul", ["hidden", "lowest"], ["masked"]),
    node("Add", ["position", "masked"], ["scores"]),
    node("Softmax", ["scores"], ["shares"], { axis: -1 }),
    node("Unsqueeze", ["x", "one"], ["values"]),
    node("MatMul", ["shares", "values"], ["mixed"]),
    node("Squeeze", ["mixed", "one"], ["last_hidden_state"]),
  ];
  const model: OnnxModel = {
    name,
    inputs: ["input_ids", "attention_mask"].map((input) => ({ name: input, dtype: "i64", shape: ["B", "T"] })),
    outputs: [{ name: "last_hidden_state", dtype: "f32", shape: ["B", "T", 6] }],
    nodes,
    initializers: Object.entries({ ...weights, ...constants }).map(([key, value]) => initializer(key, value)),
    metadata: {},
    opsets: { "": 17 },
  };
  writeFileSync(at(name), writeOnnx(model));
  return at(name);
}

/** T5's bucket of a distance, of 32 for both directions and up to 128 places. */
function bucketOf(relative: number): number {
  const distance = Math.abs(relative);
  const large = Math.min(15, 8 + Math.trunc((Math.log(distance / 8) / Math.log(16)) * 8));
  return (relative > 0 ? 16 : 0) + (distance < 8 ? distance : large);
}

describe("an encoder of captions", () => {
  const texts = ["a photo of a cat", "dog"];

  test.each([["input_ids", "attention_mask"], ["input_ids"]])(
    "makes features of each text's own length: %s",
    async (...inputs) => {
      const made = await encodeCaptionTexts(texts, { encoder: encoder("e.onnx", inputs), tokenizer });
      for (const [i, text] of texts.entries()) {
        const ids = idsOf(text);
        expect(made[i]!.shape).toEqual([ids.length, 6]);
        expect(Array.from(made[i]!.data)).toEqual(ids.flatMap((id) => [0, 1, 2, 3, 4, 5].map((j) => (id * 6 + j) / 4)));
      }
      expect(made[0]!.shape[0]).toBeGreaterThan(made[1]!.shape[0]!);
    },
  );

  test("may count relative positions as T5 does", async () => {
    const text = "a photo of a cat beside a dog that looks at a red rocket, seen from far away";
    const [made] = await encodeCaptionTexts([text], { encoder: t5Like("t5.onnx"), tokenizer });
    const ids = idsOf(text);
    expect(ids.length).toBeGreaterThan(20);
    const expected = ids.flatMap((_, i) => {
      const weights = ids.map((_, j) => Math.exp(bucketOf(j - i) / 4));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      return [0, 1, 2, 3, 4, 5].map((k) =>
        ids.reduce((sum, id, j) => sum + (weights[j]! / total) * ((id * 6 + k) / 4), 0),
      );
    });
    expect(made!.shape).toEqual([ids.length, 6]);
    for (const [i, value] of expected.entries()) expect(Math.abs(made!.data[i]! / value - 1)).toBeLessThan(1e-5);
  });

  test("cuts what is longer than the model reads", async () => {
    const [made] = await encodeCaptionTexts(texts, { encoder: encoder("e.onnx", ["ids"]), tokenizer, longest: 2 });
    expect(made!.shape).toEqual([2, 6]);
  });

  test("reads texts as its tokenizer says, special tokens included", () => {
    const json = JSON.parse(readFileSync(tokenizer, "utf8"));
    const template = {
      type: "TemplateProcessing",
      single: [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "<eos>", type_id: 0 } }],
      pair: [],
      special_tokens: { "<eos>": { id: "<eos>", ids: [1], tokens: ["<eos>"] } },
    };
    const plain = encoderTokenizer({ ...json, post_processor: null });
    const ended = encoderTokenizer({ ...json, post_processor: template });
    expect(ended("a cat")).toEqual([...plain("a cat"), 1]);
  });

  test.each<[string, () => string, string, string]>([
    [
      "an unknown input",
      () => encoder("t.onnx", ["input_ids", "token_type"]),
      tokenizer,
      "has an input token_type; expected text ids and a mask [ARGUMENT_INVALID]",
    ],
    [
      "an output of another shape",
      () => onnx("o.onnx", (graph) => graph.output("y", g.cast(graph.input("ids", "i32", ["B", "T"]), "f32"))),
      tokenizer,
      "y is (1, 2), expected (1, 2, width) [ARGUMENT_INVALID]",
    ],
    ["no ONNX file", () => tokenizer, tokenizer, "FILE_CORRUPT"],
    ["a file that is not there", () => at("nowhere.onnx"), tokenizer, "FILE_NOT_FOUND"],
    [
      "no tokenizer",
      () => encoder("e.onnx", ["ids"]),
      goldenPath("ar/sampling.json"),
      "expected the object of a tokenizer.json, with a model [TOKENIZER_INVALID]",
    ],
  ])("refuses %s", async (_, make, words, message) => {
    const run = encodeCaptionTexts(texts, { encoder: make(), tokenizer: words, longest: 2 });
    await expect(run).rejects.toThrow(message);
  });
});
