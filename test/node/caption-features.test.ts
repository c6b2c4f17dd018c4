// Captions for a GPT: features in files, and features that an ONNX encoder makes.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { bytesOf, fromF32, type NDArray, ndarray } from "../../src/core/index.ts";
import { writeNpy, writeSafetensors } from "../../src/files/index.ts";
import * as g from "../../src/graph/index.ts";
import { encodeCaptionTexts, readCaptionFeatures } from "../../src/node/index.ts";
import { lowerGraph, writeOnnx } from "../../src/onnx/index.ts";
import { encoderTokenizer } from "../../src/text/index.ts";
import { goldenPath } from "../goldens.ts";

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
