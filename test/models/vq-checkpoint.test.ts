// The VQ that a checkpoint holds, told by its shapes.
import { afterAll, describe, expect, test } from "vitest";
import type { Checkpoint } from "../../src/files/index.ts";
import {
  checkVqDecoder,
  inferVqConfig,
  traceVqDecoder,
  type VqConfig,
  withModelNames,
} from "../../src/models/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { goldenConfig, goldenPath } from "../goldens.ts";
import { vqShapes } from "../tiny-vq.ts";
import { readVqGolden } from "../vq-goldens.ts";

/** A checkpoint of which only names and shapes are there. */
function shapesOnly(shapes: ReadonlyMap<string, readonly number[]>): Checkpoint {
  const source = { name: "vq.pt", byteLength: 0, read: () => Promise.reject(new Error("no weights")) };
  const entries = [...shapes].map(([name, shape]) => [name, { name, dtype: "f32", shape, source, offset: 0 }] as const);
  return { format: "torch", name: "vq.pt", tensors: new Map(entries), metadata: {}, close: async () => {} };
}

const VQ16 = { chMult: [1, 1, 2, 2, 4], ch: 128, numResBlocks: 2, zChannels: 256, codebookSize: 16384, embedDim: 8 };

describe("the configuration of a VQ", () => {
  test.each<[string, VqConfig]>([
    ["VQ-16", { type: "llamagen", ...VQ16 }],
    ["VQ-8", { type: "llamagen", ...VQ16, chMult: [1, 2, 2, 4] }],
    ["one with patches", { type: "llamagen", ...VQ16, chMult: [1, 2, 2], stem: 4, numResBlocks: 1 }],
    ["one whose first level is wider", { type: "llamagen", ...VQ16, ch: 32, chMult: [3, 4], codebookSize: 100 }],
  ])("is read from the shapes of %s", (_, config) => {
    expect(inferVqConfig(shapesOnly(vqShapes(config)))).toEqual(config);
  });

  test("is that of the goldens, bare and in a TokLIP", async () => {
    const bare = await openCheckpointFile(goldenPath("ar/vq8_small.pt"));
    expect(inferVqConfig(bare)).toEqual((await readVqGolden("vq8_small")).config);
    const toklip = await openCheckpointFile(goldenPath("tiny/tiny.pt"));
    expect(inferVqConfig(toklip)).toEqual(goldenConfig("ViT-tiny-16-SigLIP2-64-toklip").vq);
    await bare.close();
    await toklip.close();
  });

  test.each(["quantize.embedding.weight", "encoder.conv_in.weight", "decoder.conv_out.weight"])(
    "needs %s",
    (missing) => {
      const shapes = vqShapes({ type: "llamagen", ...VQ16 });
      shapes.delete(missing);
      expect(() => inferVqConfig(shapesOnly(shapes))).toThrow(
        /vq\.pt holds no VQ of LlamaGen's kind: it has no weight \S+ \[CHECKPOINT_MISMATCH\]/,
      );
    },
  );

  test("has pixels of three channels", () => {
    const shapes = vqShapes({ type: "llamagen", ...VQ16 }).set("decoder.conv_out.weight", [4, 128, 3, 3]);
    expect(() => inferVqConfig(shapesOnly(shapes))).toThrow("no pixels of three channels [CHECKPOINT_MISMATCH]");
  });
});

describe("the decoder of a VQ", async () => {
  const checkpoint = withModelNames(await openCheckpointFile(goldenPath("ar/vq8_small.pt")));
  afterAll(() => checkpoint.close());
  const decoder = traceVqDecoder(inferVqConfig(checkpoint), 4);

  test("takes grids of the side that is asked for", () => {
    expect([...decoder.outputs].map(([name, { shape }]) => [name, shape])).toEqual([["pixels", ["B", 3, 32, 32]]]);
  });

  test("must be there whole", () => {
    checkVqDecoder(checkpoint, decoder);
    const tensors = new Map(checkpoint.tensors);
    tensors.delete("visual.trunk.vq.decoder.mid.1.q.weight");
    expect(() => checkVqDecoder({ ...checkpoint, tensors }, decoder)).toThrow(
      /missing visual\.trunk\.vq\.decoder\.mid\.1\.q\.weight \[CHECKPOINT_MISMATCH\]/,
    );
  });
});
