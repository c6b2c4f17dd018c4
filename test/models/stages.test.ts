// Every stage of the tiny TokLIP against the reference's numbers, so that a miss names its stage.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type NDArray, normalizeRows, rows } from "../../src/core/index.ts";
import type { Graph, Node, Tensor } from "../../src/graph/index.ts";
import { interpretGraph } from "../../src/graph/index.ts";
import { traceGraph } from "../../src/models/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { checkpointWeights } from "../../src/runtime/index.ts";
import { goldenConfig, goldenJson, goldenPath, goldenTensors, maxDifference, readAll } from "../goldens.ts";

const config = goldenConfig("ViT-tiny-16-SigLIP2-64-toklip");
const manifest = goldenJson("tiny/golden.json") as { fp32_vs_fp64_max_abs: Record<string, number> };

type OpNode = Extract<Node, { kind: "op" }>;

/** The node that a parameter is fed to. */
function userOf(graph: Graph, parameter: string): OpNode {
  const tensor = graph.parameters.get(parameter);
  const user = graph.nodes.find((node): node is OpNode => node.kind === "op" && node.inputs.includes(tensor!));
  if (!user) throw new Error(`nothing uses ${parameter}`);
  return user;
}

/** What goes into the layer norm of this weight: the stage before it. */
const before = (parameter: string) => (graph: Graph) => userOf(graph, parameter).inputs[0]!;

/** The result of the layer of this weight, past the reshape that restores its leading axes. */
const after = (parameter: string) => (graph: Graph) => {
  const user = userOf(graph, parameter);
  const last =
    user.op === "gemm"
      ? graph.nodes.find(
          (node): node is OpNode => node.kind === "op" && node.op === "reshape" && node.inputs[0] === user.outputs[0],
        )
      : undefined;
  return (last ?? user).outputs[0]!;
};

const trunk = "visual.trunk";
const STAGES: Record<string, { input: string; stages: Record<string, (graph: Graph) => Tensor> }> = {
  vq_encoder: {
    input: "input",
    stages: {
      "vq.encoder_out": after(`${trunk}.vq.encoder.conv_out.weight`),
      "vq.quant_conv_out": after(`${trunk}.vq.quant_conv.weight`),
      "vq.codes": (graph) => graph.outputs.get("ids")!,
    },
  },
  vq_decoder: { input: "vq.codes", stages: { "vq.recon_from_codes": (graph) => graph.outputs.get("pixels")! } },
  token_encoder: {
    input: "vq.codes",
    stages: {
      "vit.vq_table": after(`${trunk}.vq_table.weight`),
      "vit.mapped": after(`${trunk}.vq_mapping.weight`),
      "vit.embedded": before(`${trunk}.blocks.0.norm1.weight`),
      ...Object.fromEntries(
        [0, 1, 2].flatMap((i) => [
          [`vit.block${i}.attn_out`, after(`${trunk}.blocks.${i}.attn.proj.weight`)],
          [`vit.block${i}.mlp_out`, after(`${trunk}.blocks.${i}.mlp.fc2.weight`)],
          [`vit.block${i}`, before(i === 2 ? `${trunk}.norm.weight` : `${trunk}.blocks.${i + 1}.norm1.weight`)],
        ]),
      ),
      "vit.norm": (graph) => graph.outputs.get("token_features")!,
      "vit.pool.proj": after(`${trunk}.attn_pool.proj.weight`),
      "vit.pooled": (graph) => graph.outputs.get("image_features")!,
      image_features: (graph) => graph.outputs.get("image_features")!,
    },
  },
  text_encoder: {
    input: "text_ids",
    stages: {
      ...Object.fromEntries(
        [0, 1, 2].map((i) => [
          `text.block${i}`,
          before(i === 2 ? "text.ln_final.weight" : `text.transformer.resblocks.${i + 1}.ln_1.weight`),
        ]),
      ),
      "text.ln_final": after("text.ln_final.weight"),
      text_features: (graph) => graph.outputs.get("text_features")!,
    },
  },
};

const normalised: Record<string, string> = {
  image_features: "image_features_norm",
  text_features: "text_features_norm",
};

describe("the tiny TokLIP equals the reference", async () => {
  const golden = await goldenTensors("tiny/golden.safetensors");
  const checkpoint = await openCheckpointFile(goldenPath("tiny/tiny.pt"));
  const weights = await readAll(checkpoint);
  const backend = createOrtBackend();
  beforeAll(() => expect(checkpoint.tensors.size).toBe(444));
  afterAll(async () => {
    await backend.dispose();
    await checkpoint.close();
  });

  for (const [name, { input, stages }] of Object.entries(STAGES)) {
    const graph = traceGraph(name as keyof typeof STAGES & "vq_encoder", config);
    for (const [stage, find] of Object.entries(stages)) graph.output(`stage ${stage}`, find(graph));
    const [inputName, inputTensor] = [...graph.inputs][0]!;

    async function feed(): Promise<Record<string, NDArray>> {
      const { dtype, data } = await golden(input);
      const tail = inputTensor.shape.slice(1) as number[];
      const batch = data.length / tail.reduce((product, dim) => product * dim, 1);
      return { [inputName]: { dtype, shape: [batch, ...tail], data } as NDArray };
    }

    async function compare(
      outputs: (stage: string) => { readonly length: number; [index: number]: number },
      scale: number,
    ) {
      for (const stage of Object.keys(stages)) {
        const expected = ((await golden(stage)).data as Float32Array).subarray(0, outputs(stage).length);
        // The goldens' own rounding noise, measured against float64, is the yardstick; ids have none.
        const noise = manifest.fp32_vs_fp64_max_abs[stage] ?? 0;
        expect(maxDifference(outputs(stage), expected), stage).toBeLessThanOrEqual(noise * scale);
      }
    }

    test(`${name}, stage by stage, on ONNX Runtime`, async () => {
      const session = await backend.compile({ name, graph, weight: checkpointWeights(checkpoint) });
      const outputs = await session.run(await feed());
      await compare((stage) => outputs[`stage ${stage}`]!.data as Float32Array, 10);
      for (const [stage, golded] of Object.entries(normalised)) {
        if (!(stage in stages)) continue;
        const features = normalizeRows(outputs[`stage ${stage}`] as NDArray<"f32">);
        expect(maxDifference(features.data, (await golden(golded)).data as Float32Array), golded).toBeLessThan(1e-5);
      }
      await session.dispose();
    });

    test(`${name}, stage by stage, in the float64 interpreter`, async () => {
      // The first picture or text is enough here, and the interpreter is slow.
      const first = Object.fromEntries(Object.entries(await feed()).map(([key, array]) => [key, rows(array, 0, 1)]));
      const outputs = interpretGraph(graph, first, (parameter) => weights.get(parameter));
      await compare((stage) => outputs.get(`stage ${stage}`)!.data, 2);
    });
  }
});
