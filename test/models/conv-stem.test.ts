import { describe, expect, test } from "vitest";
import { ndarray } from "../../src/core/index.ts";
import { Graph } from "../../src/graph/index.ts";
import { parseConfig, pixelEncoder } from "../../src/models/index.ts";
import { Scope } from "../../src/nn/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";

const TEXT = { context_length: 8, vocab_size: 64, width: 32, heads: 2, layers: 1, pool_type: "last" };
const config = (trunk: object, vq?: object) =>
  parseConfig({
    embed_dim: 32,
    vision_cfg: {
      image_size: 48,
      trunk: { width: 32, depth: 1, heads: 2, mlp_ratio: 2, patch_size: 12, causal: false, ...trunk },
      ...(vq && { vq }),
    },
    text_cfg: TEXT,
  });

describe("a convolutional stem", () => {
  test("halves the picture once a layer, and patches are that much smaller", () => {
    const { trunk } = config({ conv_stem: [8, 16] });
    const graph = new Graph();
    const { tokenFeatures } = pixelEncoder(new Scope(graph), graph.input("pixels", "f32", ["B", 3, 48, 48]), trunk);
    expect(tokenFeatures.shape).toEqual(["B", 16, 32]);
    const shapes = new Map([...graph.parameters].map(([name, { shape }]) => [name, shape]));
    expect(shapes.get("patch_embed.stem.0.conv.weight")).toEqual([8, 3, 3, 3]);
    expect(shapes.get("patch_embed.stem.1.conv.weight")).toEqual([16, 8, 3, 3]);
    expect(shapes.get("patch_embed.proj.weight")).toEqual([32, 16, 3, 3]);
    expect([...graph.parameters.keys()].filter((name) => name.startsWith("patch_embed.stem."))).toHaveLength(8);
  });

  test("may have residual blocks, which leave the size of its maps as it is", () => {
    const { trunk } = config({ conv_stem: [8, 16], conv_blocks: [0, 2] });
    const graph = new Graph();
    const { tokenFeatures } = pixelEncoder(new Scope(graph), graph.input("pixels", "f32", ["B", 3, 48, 48]), trunk);
    expect(tokenFeatures.shape).toEqual(["B", 16, 32]);
    const shapes = new Map([...graph.parameters].map(([name, { shape }]) => [name, shape]));
    expect(shapes.get("patch_embed.stem.1.blocks.1.conv2.weight")).toEqual([16, 16, 3, 3]);
    expect(
      [...shapes.keys()].filter((name) => name.includes(".blocks.") && name.startsWith("patch_embed")),
    ).toHaveLength(16);
  });

  test("sees what lies beside a patch, which patches alone do not", async () => {
    const change = async (stem: readonly number[]): Promise<number> => {
      const { trunk } = config({ conv_stem: stem });
      const graph = new Graph();
      const pixels = graph.input("pixels", "f32", ["B", 3, 48, 48]);
      // No block and no position mixes patches here: only what is before them can.
      const { tokenFeatures } = pixelEncoder(new Scope(graph), pixels, { ...trunk, depth: 0 });
      graph.output("features", tokenFeatures);
      const session = await createOrtBackend().compile({
        name: "stem",
        graph,
        weight: async (name) => {
          const shape = graph.parameters.get(name)!.shape as readonly number[];
          const size = shape.reduce((a, b) => a * b, 1);
          const data = Float32Array.from({ length: size }, (_, i) => Math.sin(i + name.length));
          return { kind: "array", value: ndarray("f32", shape, data) };
        },
      });
      const run = async (corner: number) => {
        const picture = ndarray("f32", [1, 3, 48, 48]);
        picture.data[11 * 48 + 11] = corner; // the last pixel of the first patch
        return (await session.run({ pixels: picture })).features!.data as Float32Array;
      };
      const [a, b] = [await run(0), await run(1)];
      await session.dispose();
      return Math.max(...a.slice(5 * 32, 6 * 32).map((value, i) => Math.abs(value - b[5 * 32 + i]!))); // patch (1, 1)
    };
    expect(await change([])).toBe(0);
    expect(await change([8, 16])).toBeGreaterThan(1e-4);
  });

  test("is refused where it does not fit", () => {
    expect(() => config({ conv_stem: [8, 8, 8] })).toThrow(
      /conv_stem halves 3 times, but patch_size 12 is no multiple of 8/,
    );
    const vq = { ch: 32, ch_mult: [1], z_channels: 32, codebook_size: 64, codebook_embed_dim: 8, stem: 12 };
    expect(() => config({ conv_stem: [8] }, vq)).toThrow(/conv_stem and conv_blocks are for pixel models/);
    expect(() => config({ conv_stem: [8, 8], conv_blocks: [1] })).toThrow(
      /conv_blocks is a number for each of the 2 layers/,
    );
  });
});
