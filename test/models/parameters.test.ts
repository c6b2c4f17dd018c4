// The parameters that the models ask for are those of the reference's state dict.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { sizeOf } from "../../src/core/index.ts";
import { multiplyAdds } from "../../src/graph/index.ts";
import { builtInConfig, parameterShapes, traceGraph } from "../../src/models/index.ts";
import { goldenPath } from "../goldens.ts";

test("the 256 configuration has exactly the reference's names and shapes", () => {
  const lines = readFileSync(goldenPath("keys_256.txt"), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  const reference = new Map(
    lines.map((line) => {
      const [name, shape] = line.split("\t") as [string, string];
      return [name, JSON.parse(shape) as number[]];
    }),
  );
  // Not read by any graph: the two scalars, and the buffer of codebook usage.
  for (const unused of ["logit_scale", "logit_bias", "visual.trunk.vq.quantize.codebook_used"]) {
    expect(reference.delete(unused), unused).toBe(true);
  }
  const ours = parameterShapes(builtInConfig("ViT-SO400M-16-SigLIP2-256-toklip"));
  expect(Object.fromEntries(ours)).toEqual(Object.fromEntries(reference));
  const parameters = [...ours.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
  expect(parameters).toBe(1_212_085_053 - 2 - 65_536);
});

test("the 384 configuration differs in its 576 positions only", () => {
  const [small, large] = [256, 384].map((size) =>
    parameterShapes(builtInConfig(`ViT-SO400M-16-SigLIP2-${size}-toklip`)),
  );
  const different = [...large!].filter(([name, shape]) => small!.get(name)?.join() !== shape.join());
  expect(different).toEqual([["visual.trunk.pos_embed", [1, 576, 1152]]]);
});

test("the work of each graph is the reference's", () => {
  // GMAC a picture, published to one decimal (spec/toklip.md, section 5).
  const published = {
    S: { vq_encoder: 69.2, vq_decoder: 126.4, token_encoder: 1.4 + 109.3 + 0.7 },
    L: { vq_encoder: 156.3, vq_decoder: 285.1, token_encoder: 3.1 + 257.4 + 1.5 },
  };
  for (const [size, name] of [
    ["S", "ViT-SO400M-16-SigLIP2-256-toklip"],
    ["L", "ViT-SO400M-16-SigLIP2-384-toklip"],
  ] as const) {
    for (const [graph, expected] of Object.entries(published[size])) {
      const measured = multiplyAdds(traceGraph(graph as keyof typeof published.S, builtInConfig(name))) / 1e9;
      expect(Math.abs(measured - expected), `${size} ${graph} ${measured}`).toBeLessThan(0.2);
    }
  }
});
