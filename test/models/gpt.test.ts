// LlamaGen's GPT against the reference: logits, the values after each block, losses, every gradient.
import { afterAll, describe, expect, test } from "vitest";
import { add, concat, Graph, gradients, slice, type Tensor } from "../../src/graph/index.ts";
import { nextTokenLoss } from "../../src/losses/index.ts";
import {
  captionMask,
  type GptSequence,
  gptCondition,
  gptEmbedding,
  gptLogits,
  rotaryConstants,
} from "../../src/models/index.ts";
import { attend, causalMask, decoderBlock, gridRotaryTable, Scope } from "../../src/nn/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { maxDifference } from "../goldens.ts";
import { asBool, asF32, GPT_NAMES, type GptGolden, readGptGolden } from "../gpt-goldens.ts";
import { relativeDistance } from "../gradient-summaries.ts";

const [BATCH, COUNT] = [3, 16];

function inputsOf(graph: Graph, { condition: { kind, tokens }, condition }: GptGolden["config"]): GptSequence {
  const caption = kind === "caption";
  return {
    ids: graph.input("ids", "i32", [BATCH, COUNT]),
    condition:
      condition.kind === "caption"
        ? graph.input("condition", "f32", [BATCH, tokens, condition.width])
        : graph.input("condition", "i32", [BATCH]),
    drop: graph.input("drop", "bool", [BATCH]),
    ...(caption && { valid: graph.input("emb_masks", "f32", [BATCH, tokens]) }),
  };
}

/** The blocks one by one, as `gptLogits` has them. */
function blockValues(scope: Scope, inputs: GptSequence, config: GptGolden["config"]): Tensor[] {
  const length = config.condition.tokens + COUNT - 1;
  const read = gptEmbedding(scope, slice(inputs.ids, 1, 0, COUNT - 1), config);
  const table = rotaryConstants(scope.graph, config);
  const rotary = { cos: slice(table.cos, 0, 0, length), sin: slice(table.sin, 0, 0, length) };
  const mask = inputs.valid ? captionMask(inputs.valid, length) : causalMask(scope.graph, length);
  let x = concat([gptCondition(scope, inputs.condition, inputs.drop, config), read], 1);
  return Array.from({ length: config.depth }, (_, i) => {
    x = decoderBlock(scope.at(`layers.${i}`), x, rotary, (q, k, v) => attend(q, k, v, mask), config);
    return x;
  });
}

/** The training call of the reference with both losses, and the gradients of that which it trained with. */
function traceTraining({ config, manifest }: GptGolden): Graph {
  const graph = new Graph();
  const scope = new Scope(graph);
  const inputs = inputsOf(graph, config);
  const logits = gptLogits(scope, inputs, config);
  graph.output("logits", logits);
  blockValues(scope, inputs, config).forEach((block, i) => {
    graph.output(`block${i}`, block);
  });
  const plain = nextTokenLoss(logits, inputs.ids);
  const weighted = nextTokenLoss(logits, inputs.ids, graph.input("valid", "f32", [BATCH]));
  graph.output("plain", plain);
  graph.output("weighted", weighted);
  const trainable = manifest.trainable.map((name) => graph.parameters.get(name)!);
  const slopes = gradients(config.condition.kind === "caption" ? weighted : plain, trainable);
  for (const [i, name] of manifest.trainable.entries()) graph.output(`grad.${name}`, slopes[i]!);
  return graph;
}

const backend = createOrtBackend();
afterAll(() => backend.dispose());

describe.each(GPT_NAMES)("a training call of %s equals the reference", async (name) => {
  const reference = await readGptGolden(name);
  const { golden, manifest, config } = reference;
  const caption = config.condition.kind === "caption";
  const session = await backend.compile({
    name,
    graph: traceTraining(reference),
    weight: async (key) => ({ kind: "array", value: reference.weights.get(key)! }),
  });
  const outputs = await session.run({
    ids: await golden("train.ids"),
    condition: await golden("cond"),
    drop: asBool(await golden("train.force_drop_ids")),
    valid: asF32(await golden("train.valid")),
    ...(caption && { emb_masks: asF32(await golden("emb_masks")) }),
  });
  await reference.checkpoint.close();
  const distance = async (output: string, key: string) => {
    const { shape, data } = outputs[output]!;
    const expected = await golden(key);
    expect(shape).toEqual(expected.shape);
    return maxDifference(data as Float32Array, expected.data as Float32Array);
  };

  test("in the logits", async () => {
    expect(await distance("logits", "train.logits")).toBeLessThan(1e-4);
  });

  test("after each block", async () => {
    for (let i = 0; i < config.depth; i++) expect(await distance(`block${i}`, `train.block${i}`)).toBeLessThan(1e-4);
  });

  test("in the loss, over all samples and over the valid", async () => {
    const [all, valid] = caption ? ["train.loss_no_valid", "train.loss"] : ["train.loss", "train.loss_valid"];
    expect(await distance("plain", all!)).toBeLessThan(1e-5);
    expect(await distance("weighted", valid!)).toBeLessThan(1e-5);
  });

  test("in every gradient", async () => {
    expect(manifest.trainable.length).toBeGreaterThan(15);
    for (const parameter of manifest.trainable) {
      const expected = (await golden(`grad.${parameter}`)).data as Float32Array;
      const gradient = outputs[`grad.${parameter}`]!.data as Float32Array;
      expect(relativeDistance(gradient, expected), parameter).toBeLessThan(1e-3);
    }
  });

  test("in the rotary table", async () => {
    const { data } = await golden("freqs_cis"); // (P, d/2, 2): cosine and sine of each pair
    const headWidth = config.width / config.numHeads;
    const before = config.condition.tokens;
    const table = gridRotaryTable({ side: config.side, headWidth, base: config.rotaryBase, before });
    for (const [part, offset] of [
      ["cos", 0],
      ["sin", 1],
    ] as const) {
      const { data: ours } = table[part];
      const expected = Float32Array.from(ours, (_, i) => (data as Float32Array)[(i >> 1) * 2 + offset]!);
      expect(maxDifference(ours, expected)).toBeLessThan(1e-6);
    }
  });
});

test("padding of a caption is seen by itself alone", async () => {
  const { golden, checkpoint } = await readGptGolden("gpt_t2i");
  await checkpoint.close();
  const graph = new Graph();
  const mask = captionMask(graph.input("valid", "f32", ["B", 8]), 24);
  graph.output("mask", add(mask, 0));
  const session = await backend.compile({ name: "mask", graph, weight: async () => ({ kind: "fed" }) });
  const { mask: made } = await session.run({ valid: asF32(await golden("emb_masks")) });
  const expected = await golden("train.attn_mask_full");
  expect(made!.shape).toEqual(expected.shape);
  expect(Array.from(made!.data as Float32Array, (value) => (value === 0 ? 1 : 0))).toEqual(
    Array.from(expected.data as Uint8Array),
  );
});
