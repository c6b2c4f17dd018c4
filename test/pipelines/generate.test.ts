// Generation by LlamaGen's GPT against the reference: guided and plain logits of each step, greedy ids; and the loop.
import { afterAll, describe, expect, test } from "vitest";
import { type NDArray, ndarray, ToklipError } from "../../src/core/index.ts";
import { inferGptConfig } from "../../src/models/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import {
  alignCaptions,
  type GptPrompt,
  generateGrid,
  generateIds,
  type IdDecoder,
  openGptDecoder,
} from "../../src/pipelines/index.ts";
import { maxDifference } from "../goldens.ts";
import { asF32, GPT_NAMES, type GptGolden, readGptGolden } from "../gpt-goldens.ts";
import { relativeDistance } from "../gradient-summaries.ts";

const SETS = {
  cfg3: { guidance: { scale: 3 } },
  cfg3_interval4: { guidance: { scale: 3, interval: 4 } },
  cfg3_nomask: { guidance: { scale: 3 } },
  nocfg: {},
};

const backend = createOrtBackend();
afterAll(() => backend.dispose());

async function promptOf({ golden, config }: GptGolden, masked = true): Promise<GptPrompt> {
  const condition = await golden("cond");
  if (config.condition.kind === "class") return { labels: condition as NDArray<"i32"> };
  const features = condition as NDArray<"f32">;
  return masked ? { features, valid: asF32(await golden("emb_masks")) } : { features };
}

/** A decoder whose logits are also handed to `record`. */
function recorded<P>(decoder: IdDecoder<P>, record: (logits: Float32Array) => void): IdDecoder<P> {
  return {
    ...decoder,
    start: async (...args) => {
      const stream = await decoder.start(...args);
      return {
        next: async (...given) => {
          const logits = await stream.next(...given);
          record(logits);
          return logits;
        },
        dispose: () => stream.dispose(),
      };
    },
  };
}

describe.each(GPT_NAMES)("%s", async (name) => {
  const reference = await readGptGolden(name);
  const { golden, manifest, checkpoint, config } = reference;
  afterAll(() => checkpoint.close());
  const decoder = await openGptDecoder({ backend, checkpoint, config });
  const sets = Object.keys(SETS).filter((set) => `gen.${set}.ids` in manifest.tensors) as (keyof typeof SETS)[];

  test.each(sets)("gives the reference's logits and greedy ids: %s", async (set) => {
    const steps: Float32Array[] = [];
    const prompt = await promptOf(reference, set !== "cfg3_nomask");
    const watched = recorded(decoder, (logits) => steps.push(logits));
    const grid = await generateGrid(watched, prompt, { greedy: true, ...SETS[set] });
    const raw = await golden(`gen.${set}.raw_logits`);
    expect(steps).toHaveLength(raw.shape[0]!);
    const size = raw.shape[1]! * raw.shape[2]!;
    for (const [i, logits] of steps.entries()) {
      const expected = (raw.data as Float32Array).subarray(i * size, (i + 1) * size);
      expect(maxDifference(logits, expected), `step ${i}`).toBeLessThan(1e-4);
    }
    expect(Array.from(grid.data)).toEqual(Array.from((await golden(`gen.${set}.ids`)).data as Int32Array));
  });

  test("gives the logits of the training call, where the ids are given and nothing is kept from before", async () => {
    const ids = (await golden("train.ids")).data as Int32Array;
    const expected = await golden("train.logits");
    const [batch, count, vocabulary] = expected.shape as [number, number, number];
    const drop = (await golden("train.force_drop_ids")).data as Int32Array;
    const stream = await decoder.start(await promptOf(reference), true);
    for (let step = 0; step < count; step++) {
      const read = Int32Array.from({ length: 2 * batch }, (_, row) => ids[(row % batch) * count + step - 1]!);
      const logits = await stream.next(step === 0 ? undefined : read);
      for (let row = 0; row < batch; row++) {
        // Dropped samples are in the half without condition.
        const at = (drop[row] ? batch + row : row) * vocabulary;
        const want = (expected.data as Float32Array)
          .subarray((row * count + step) * vocabulary)
          .subarray(0, vocabulary);
        expect(maxDifference(logits.subarray(at, at + vocabulary), want), `row ${row}, step ${step}`).toBeLessThan(
          1e-4,
        );
      }
    }
    await stream.dispose();
  });
});

describe("a GPT of 8-bit weights", async () => {
  const { checkpoint, config, golden } = await readGptGolden("gpt_c2i");
  afterAll(() => checkpoint.close());

  // The fast form has one scale for a whole row of activations, 1 % of their deviation a layer; there are thirteen.
  test.each([
    ["int8", 0.03],
    ["int8-fast", 0.05],
  ] as const)("gives nearly the same logits: %s", async (precision, allowed) => {
    const decoder = await openGptDecoder({ backend, checkpoint, config, precision });
    const stream = await decoder.start({ labels: (await golden("cond")) as NDArray<"i32"> }, true);
    const logits = await stream.next(undefined);
    await stream.dispose();
    await decoder.dispose();
    const expected = ((await golden("gen.cfg3.raw_logits")).data as Float32Array).subarray(0, logits.length);
    expect(relativeDistance(logits, expected)).toBeLessThan(allowed);
    expect(relativeDistance(logits, expected)).toBeGreaterThan(1e-4);
  });

  test("refuses a precision that there is not", async () => {
    const parts = { backend, checkpoint, config, precision: "int4" as "int8" };
    await expect(openGptDecoder(parts)).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
  });
});

test("guidance of classes needs a row for no class", async () => {
  const { checkpoint } = await readGptGolden("gpt_c2i");
  const config = inferGptConfig(checkpoint, { n_head: 4, block_size: 16, class_dropout_prob: 0 });
  const decoder = await openGptDecoder({ backend, checkpoint, config });
  const prompt = { labels: ndarray("i32", [1], Int32Array.of(10)) };
  const run = generateGrid(decoder, prompt, { guidance: { scale: 2 } });
  await expect(run).rejects.toThrow("guidance needs a model that was trained with dropped classes");
  expect((await generateGrid(decoder, prompt, { guidance: { scale: 1 } })).shape).toEqual([1, 4, 4]);
  await decoder.dispose();
  await checkpoint.close();
});

test("captions are placed at the end, as the reference places them", async () => {
  const { golden, config, checkpoint } = await readGptGolden("gpt_t2i");
  await checkpoint.close();
  if (config.condition.kind !== "caption") throw new Error("gpt_t2i reads captions");
  const features = await golden("t5.features");
  const mask = (await golden("t5.mask")).data as Int32Array;
  const [batch, tokens, width] = features.shape as [number, number, number];
  const captions = Array.from({ length: batch }, (_, row) => {
    const length = mask.subarray(row * tokens, (row + 1) * tokens).reduce((sum, bit) => sum + bit, 0);
    const start = row * tokens * width;
    return ndarray(
      "f32",
      [length, width],
      (features.data as Float32Array<ArrayBuffer>).slice(start, start + length * width),
    );
  });
  const aligned = alignCaptions(captions, config.condition);
  // Where there is padding, the reference has zeros of both signs.
  expect(maxDifference(aligned.features.data, (await golden("cond")).data as Float32Array)).toBe(0);
  expect(maxDifference(aligned.valid.data, (await golden("emb_masks")).data as Int32Array)).toBe(0);
});

describe("the loop", async () => {
  const { config, checkpoint } = await readGptGolden("gpt_c2i");
  afterAll(() => checkpoint.close());
  const decoder = await openGptDecoder({ backend, checkpoint, config });
  const labels = (...list: number[]) => ({ labels: ndarray("i32", [list.length], Int32Array.from(list)) });
  const options = { seed: 5, temperature: 1.2, topK: 40, topP: 0.95, guidance: { scale: 1.5 } };

  test("draws the same ids from the same seed, and a picture's own whatever is beside it", async () => {
    const both = await generateGrid(decoder, labels(3, 7), options);
    expect(both.shape).toEqual([2, 4, 4]);
    expect(await generateGrid(decoder, labels(3, 7), options)).toEqual(both);
    const second = await generateGrid(decoder, labels(7), { ...options, seed: 6 });
    expect(Array.from(second.data)).toEqual(Array.from(both.data.subarray(16)));
    expect((await generateGrid(decoder, labels(3, 7), { ...options, seed: 50 })).data).not.toEqual(both.data);
  });

  test("streams ids with progress and previews of what there is", async () => {
    const seen: (readonly [number, number])[] = [];
    const previews: number[][] = [];
    const rows: number[][] = [[], []];
    const steps = generateIds(decoder, labels(0, 9), {
      seed: 1,
      onProgress: ({ done, total }) => seen.push([done, total!]),
      preview: { every: 6, decode: async (ids) => previews.push(Array.from(ids.data)) },
    });
    let last = await steps.next();
    for (; !last.done; last = await steps.next()) {
      const { count, ids, preview } = last.value;
      ids.forEach((id, row) => {
        rows[row]!.push(id);
      });
      expect(preview).toBe(count % 6 === 0 ? count / 6 : undefined);
    }
    expect(rows.flat()).toEqual(Array.from(last.value.data));
    expect(seen).toEqual(Array.from({ length: 16 }, (_, i) => [i + 1, 16]));
    const unfinished = (count: number) =>
      rows.flatMap((row) => [...row.slice(0, count), ...Array<number>(16 - count).fill(row[count - 1]!)]);
    expect(previews).toEqual([unfinished(6), unfinished(12)]);
  });

  test("stops when it is aborted, between steps and within one, and can begin again", async () => {
    for (const after of [0, 3]) {
      const controller = new AbortController();
      let count = 0;
      const onStep = () => {
        if (++count === after) controller.abort();
      };
      if (after === 0) setTimeout(() => controller.abort(), 1);
      const run = generateGrid(decoder, labels(1), { signal: controller.signal, onStep });
      await expect(run).rejects.toMatchObject({ code: "ABORTED" });
      if (after > 0) expect(count).toBe(after);
    }
    expect((await generateGrid(decoder, labels(1), { greedy: true })).data).toHaveLength(16);
  });

  test("frees its caches when it is left", async () => {
    let freed = 0;
    const watched: typeof decoder = {
      ...decoder,
      start: async (...args) => {
        const stream = await decoder.start(...args);
        const dispose = () => {
          freed++;
          return stream.dispose();
        };
        return { next: (...given) => stream.next(...given), dispose };
      },
    };
    for await (const { count } of generateIds(watched, labels(1))) if (count === 2) break;
    expect(freed).toBe(1);
  });

  test.each([
    ["a class that there is not", labels(10), {}, "ARGUMENT_INVALID"],
    ["no class at all", labels(), {}, "SHAPE_MISMATCH"],
    ["a caption", { features: ndarray("f32", [1, 8, 24]) }, {}, "ARGUMENT_INVALID"],
    ["a wrong seed", labels(1), { seed: 1.5 }, "ARGUMENT_INVALID"],
    ["a wrong guidance", labels(1), { guidance: { scale: Number.NaN } }, "ARGUMENT_INVALID"],
    ["a wrong interval", labels(1), { guidance: { scale: 2, interval: 0.5 } }, "ARGUMENT_INVALID"],
    ["a wrong temperature", labels(1), { temperature: -1 }, "ARGUMENT_INVALID"],
    ["previews after no ids", labels(1), { preview: { every: 0, decode: async () => 0 } }, "ARGUMENT_INVALID"],
  ] as const)("refuses %s", async (_, prompt, wrong, code) => {
    await expect(generateGrid<GptPrompt, unknown>(decoder, prompt, wrong)).rejects.toMatchObject({ code });
  });

  test("says when the logits are no numbers", async () => {
    const broken = recorded(decoder, (logits) => logits.fill(Number.NaN));
    const run = generateGrid(broken, labels(1), { topK: 5 });
    await expect(run).rejects.toThrow(new ToklipError("LOGITS_INVALID", "the logit of id 0 is not a number"));
  });
});
