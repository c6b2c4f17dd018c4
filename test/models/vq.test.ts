// LlamaGen's VQ-8 and VQ-16 against the reference's numbers, at their true depth, with weights made on the spot.
import { afterAll, describe, expect, test } from "vitest";
import { Graph, gather, transpose } from "../../src/graph/index.ts";
import * as vq from "../../src/models/vq.ts";
import { Scope } from "../../src/nn/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { maxDifference } from "../goldens.ts";
import { readVqGolden } from "../vq-goldens.ts";

describe.each(["vq8_small", "vq8_prng", "vq16_prng"])("%s equals the reference", async (name) => {
  const { golden, config, manifest, shape, weights } = await readVqGolden(name);
  const backend = createOrtBackend();
  afterAll(() => backend.dispose());

  function trace(): Graph {
    const graph = new Graph();
    const scope = new Scope(graph);
    const pixels = graph.input("pixels", "f32", ["B", ...shape.slice(1)]);
    const encoded = vq.vqEncoder(scope.at("encoder"), pixels, config);
    graph.output("encoder_out", encoded);
    const vectors = vq.encodeVectors(scope, pixels, config);
    graph.output("quant_conv_out", vectors);
    const ids = vq.quantize(scope, vectors, config);
    graph.output("codes", ids);
    graph.output("z_q", transpose(gather(vq.normalizedCodebook(scope, config), ids), [0, 3, 1, 2]));
    graph.output("recon", vq.decodeIds(scope, ids, config));
    return graph;
  }

  test("encoder, ids, codes and reconstruction", async () => {
    const graph = trace();
    const session = await backend.compile({
      name,
      graph,
      weight: async (key) => ({ kind: "array", value: weights.get(key)! }),
    });
    const outputs = await session.run({ pixels: await golden("input") });
    const codes = outputs.codes!.data as Int32Array;
    expect(Array.from(codes)).toEqual(Array.from((await golden("codes")).data as Int32Array));
    for (const stage of ["encoder_out", "quant_conv_out", "z_q", "recon"]) {
      const difference = maxDifference(
        outputs[stage]!.data as Float32Array,
        (await golden(stage)).data as Float32Array,
      );
      // The page's tolerance for forward passes (spec/ar.md, section 5).
      expect(difference, stage).toBeLessThan(1e-4);
    }
  });

  test("has the reference's parameters", () => {
    const count = [...trace().parameters.values()].reduce(
      (sum, { shape }) => sum + (shape as number[]).reduce((a, b) => a * b, 1),
      0,
    );
    expect(count).toBe(manifest.n_params);
  });
});
