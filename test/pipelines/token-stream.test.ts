// Incremental token features equal the whole sequence's, whatever the steps are.
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { ndarray } from "../../src/core/index.ts";
import { traceGraph } from "../../src/models/index.ts";
import { openCheckpointFile } from "../../src/node/checkpoint.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { startTokenStream } from "../../src/pipelines/token-stream.ts";
import { checkpointWeights } from "../../src/runtime/index.ts";
import { goldenConfig, goldenPath, goldenTensors, maxDifference } from "../goldens.ts";

const config = goldenConfig("ViT-tiny-16-SigLIP2-64-toklip");
const TOKENS = 16;
const WIDTH = 64;

describe("a token stream", async () => {
  const golden = await goldenTensors("tiny/golden.safetensors");
  const checkpoint = await openCheckpointFile(goldenPath("tiny/tiny.pt"));
  const backend = createOrtBackend();
  const compile = (name: "token_encoder" | "token_encoder_step") =>
    backend.compile({ name, graph: traceGraph(name, config), weight: checkpointWeights(checkpoint) });
  const session = await compile("token_encoder_step");
  const codes = (await golden("vq.codes")).data as Int32Array;
  const tokens = (await golden("tokens")).data as Float32Array;
  afterAll(async () => {
    await backend.dispose();
    await checkpoint.close();
  });

  /** Columns `from` to `to` of the ids of the first `batch` pictures. */
  const idsOf = (batch: number, from: number, to: number) =>
    ndarray(
      "i32",
      [batch, to - from],
      Int32Array.from(
        { length: batch * (to - from) },
        (_, i) => codes[Math.floor(i / (to - from)) * TOKENS + from + (i % (to - from))]!,
      ),
    );

  test("gives the reference's features in steps of any sizes", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 16 }),
        async (batch, sizes) => {
          const stream = await startTokenStream(session, config, batch, () => {});
          for (const length of sizes) {
            const from = stream.position;
            const to = Math.min(from + length, TOKENS);
            if (from === to) break;
            const features = await stream.step(idsOf(batch, from, to));
            for (let b = 0; b < batch; b++) {
              const expected = tokens.subarray((b * TOKENS + from) * WIDTH, (b * TOKENS + to) * WIDTH);
              const got = features.data.subarray(b * (to - from) * WIDTH, (b + 1) * (to - from) * WIDTH);
              expect(maxDifference(got, expected)).toBeLessThan(2.5e-5);
            }
          }
          await stream.dispose();
        },
      ),
      { numRuns: 12 },
    );
  });

  test("starts again after a reset, and ignores what was there", async () => {
    const stream = await startTokenStream(session, config, 1, () => {});
    await stream.step(ndarray("i32", [1, 9], new Int32Array(9).fill(7)));
    stream.reset();
    const features = await stream.step(idsOf(1, 0, 3));
    expect(maxDifference(features.data, tokens.subarray(0, 3 * WIDTH))).toBeLessThan(2.5e-5);
  });

  test("refuses ids that pass the grid, and shapes that do not fit", async () => {
    const stream = await startTokenStream(session, config, 1, () => {});
    await stream.step(idsOf(1, 0, 15));
    await expect(stream.step(idsOf(1, 0, 2))).rejects.toThrowErrorMatchingInlineSnapshot(
      "[ToklipError: step: 2 ids after position 15 pass the grid's 16 [IDS_GRID_MISMATCH]]",
    );
    await expect(stream.step(idsOf(2, 0, 1))).rejects.toThrowErrorMatchingInlineSnapshot(
      "[ToklipError: step: expected ids (1, k) with k >= 1, got [2,1] [SHAPE_MISMATCH]]",
    );
    expect(stream.position).toBe(15);
  });
});
