import { expect, test } from "vitest";
import { decayGroups, isSpared, withoutDecay } from "../../src/train/parameter-groups.ts";
import { goldenJson } from "../goldens.ts";

const golden = goldenJson("train/golden_train.json") as {
  tensors: Record<string, { shape: number[] }>;
  groups: { weight_decay: number; params: string[] }[];
  wd: number;
};

test("the groups are the reference's, in its order", () => {
  const gradients = Object.entries(golden.tensors).filter(([name]) => name.startsWith("grad."));
  const shapes = new Map(gradients.map(([name, { shape }]) => [name.slice("grad.".length), shape]));
  const groups = decayGroups(shapes, golden.wd);
  expect(groups.map(({ weightDecay, shapes }) => ({ weight_decay: weightDecay, params: [...shapes.keys()] }))).toEqual(
    golden.groups,
  );
  for (const group of groups) for (const [name, shape] of group.shapes) expect(shape).toBe(shapes.get(name));
});

test.each([
  ["visual.trunk.pos_embed", [1, 256, 1152], false],
  ["visual.trunk.attn_pool.latent", [1, 1, 1152], false],
  ["visual.trunk.blocks.0.norm1.weight", [1152], true],
  ["text.ln_final.weight", [2, 2], true],
  ["encoder.bn.weight", [2, 2], true],
  ["relative_bias_table", [2, 2], true],
  ["logit_scale", [], true],
  ["quantize.embedding.weight", [16384, 8], false],
])("%s %j: spared is %s", (name, shape, spared) => {
  expect(isSpared(name, shape)).toBe(spared);
});

test("a VQ is trained without decay", () => {
  const shapes = new Map([["decoder.conv_out.weight", [3, 128, 3, 3]]]);
  expect(withoutDecay(shapes)).toEqual([{ weightDecay: 0, shapes }]);
});
