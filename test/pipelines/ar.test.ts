// The unified transformer reading and writing: each cached step against the whole sequence in float64, with a real encoder.
import { afterAll, describe, expect, test } from "vitest";
import { ndarray, ToklipError } from "../../src/core/index.ts";
import { Graph, interpretGraph } from "../../src/graph/index.ts";
import { AR_ENTRIES, type ArConfig, arLogits, arRowInputs, arVocabulary } from "../../src/models/index.ts";
import { Scope } from "../../src/nn/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { TokLIP } from "../../src/node/toklip.ts";
import {
  ArDecoder,
  type ArPart,
  type ArPrompt,
  arPictureDecoder,
  generateGrid,
  guide,
  promptIds,
  scoreTexts,
  searchTexts,
  writeTexts,
  writeWholeTexts,
} from "../../src/pipelines/index.ts";
import { tinyAr, tinyCheckpoint, tinyWeights } from "../ar-models.ts";
import { goldenPath, maxDifference } from "../goldens.ts";
import { relativeDistance } from "../gradient-summaries.ts";

const backend = createOrtBackend();
const encoder = await TokLIP.load(goldenPath("tiny/tiny.pt"));
afterAll(async () => {
  await encoder.dispose();
  await backend.dispose();
});

/** A transformer over the ids of the tiny TokLIP: 16 ids a picture of 512. */
function configOf(entry: ArConfig["entry"], change: object = {}): ArConfig {
  const features = entry === "vq" ? {} : { feature_width: 64 };
  return tinyAr(entry, { ...features, codebook_size: 512, image_tokens: 16, context_length: 48, ...change });
}

async function open(config: ArConfig): Promise<ArDecoder> {
  return ArDecoder.open({ backend, checkpoint: tinyCheckpoint(config), config, encoder });
}

/** The logits after each id of a sequence, (ids, V), computed at once in float64. */
async function wholeLogits(config: ArConfig, ids: readonly number[]): Promise<Float64Array[]> {
  const length = ids.length;
  const { size, imageStart } = arVocabulary(config);
  const row = (data: readonly number[]) => ndarray("i32", [1, length], Int32Array.from(data));
  const image = ndarray("f32", [1, length, config.featureWidth]);
  for (let at = ids.indexOf(3) + 1; at > 0; at = ids.indexOf(3, at) + 1) {
    if (config.entry === "vq") break;
    // Ids that are not there yet change no feature of those that are.
    const grid = ndarray("i32", [1, 16]);
    const picture = ids.slice(at, at + 16).filter((id) => id >= imageStart);
    grid.data.set(picture.map((id) => id - imageStart));
    const { tokenFeatures } = await encoder.encodeFeatures(grid);
    image.data.set(tokenFeatures.data.subarray(0, picture.length * config.featureWidth), at * config.featureWidth);
  }
  const graph = new Graph();
  graph.output("logits", arLogits(new Scope(graph), arRowInputs(graph, { batch: 1, length }, config), config));
  const weights = tinyWeights(config);
  const feeds = {
    ids: row(ids),
    segments: row(ids.map(() => 1)),
    positions: row(ids.map((_, i) => i)),
    ...(config.entry !== "vq" && { image }),
  };
  const { data } = interpretGraph(graph, feeds, (name) => weights.get(name)).get("logits")!;
  return ids.map((_, i) => data.slice(i * size, (i + 1) * size));
}

const logProbability = (logits: Float64Array, id: number) =>
  logits[id]! - Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));

const text = (...ids: number[]): ArPart => ({ text: ids });
const picture = (start: number): ArPart => ({ picture: Array.from({ length: 16 }, (_, i) => (start + 37 * i) % 512) });

describe.each(AR_ENTRIES)("entry %s", async (entry) => {
  const config = configOf(entry);
  const { imageStart, textStart } = arVocabulary(config);
  const decoder = await open(config);
  afterAll(() => decoder.dispose());

  test("writes pictures as if the whole was computed anew for each id, for prompts of different lengths", async () => {
    const prompts: ArPrompt[] = [[text(4, 2, 11, 7)], [text(9)]];
    const steps: Float32Array[] = [];
    const pictures = arPictureDecoder(decoder);
    const watched: typeof pictures = {
      ...pictures,
      start: async (...args) => {
        const stream = await pictures.start(...args);
        const next: typeof stream.next = async (...given) => {
          const logits = await stream.next(...given);
          steps.push(logits.slice());
          return logits;
        };
        return { next, dispose: () => stream.dispose() };
      },
    };
    const grid = await generateGrid(watched, prompts, { greedy: true, guidance: { scale: 2 } });
    expect([grid.shape, steps.length, steps[0]!.length]).toEqual([[2, 4, 4], 16, 4 * 512]);
    for (const [row, prompt] of [...prompts, [{ nothing: true } as const], [{ nothing: true } as const]].entries()) {
      const before = [...promptIds(prompt, config, true).ids];
      const drawn = [...grid.data.subarray((row % 2) * 16, (row % 2) * 16 + 15)];
      const whole = await wholeLogits(config, [...before, ...drawn.map((id) => imageStart + id)]);
      for (const [step, logits] of steps.entries()) {
        const expected = whole[before.length - 1 + step]!.subarray(imageStart);
        const got = logits.subarray(row * 512, (row + 1) * 512);
        expect(maxDifference(got, expected), `row ${row}, step ${step}`).toBeLessThan(1e-4);
      }
    }
    const guided = new Float32Array(512);
    guide(steps[5]!.subarray(512, 1024), steps[5]!.subarray(3 * 512), 2, guided);
    expect(grid.data[16 + 5]).toBe(guided.indexOf(Math.max(...guided)));
  });

  test("writes text behind pictures and texts as the whole sequence says", async () => {
    const prompts: ArPrompt[] = [[picture(3)], [text(2), picture(77), text(5, 6)], [picture(200), text(8)]];
    const written = await writeWholeTexts(decoder, prompts, { maxTokens: 6 });
    for (const [row, { ids, end }] of written.entries()) {
      const before = [...promptIds(prompts[row]!, config).ids];
      const whole = await wholeLogits(config, [...before, ...[...ids].map((id) => textStart + id)]);
      const chosen = [...ids, ...(end === "eos" ? [-1] : [])];
      expect(chosen.length).toBeGreaterThan(0);
      chosen.forEach((id, i) => {
        const logits = whole[before.length - 1 + i]!;
        const allowed = [logits[2]!, ...logits.subarray(textStart, imageStart)];
        expect(allowed.indexOf(Math.max(...allowed)), `row ${row}, id ${i}`).toBe(id + 1);
      });
      expect(end === "length" ? ids.length : 0).toBeOneOf([0, 6]);
    }
  });

  test("scores given texts as the whole sequence says, however many there are", async () => {
    const prompts: ArPrompt[] = [[picture(9), text(1)], [picture(10)]];
    const texts = [
      [4],
      [4, 5, 6, 0, 1, 2],
      ...Array.from({ length: 60 }, (_, i) => [i % 12, 3, 7, 7, 1, (5 * i) % 12]),
    ];
    const scores = await scoreTexts(decoder, prompts, texts);
    for (const [row, i] of [
      [0, 0],
      [0, 1],
      [1, 1],
      [1, 61],
    ] as const) {
      const before = [...promptIds(prompts[row]!, config).ids];
      const ids = texts[i]!.map((id) => textStart + id);
      const whole = await wholeLogits(config, [...before, ...ids]);
      const expected = [...ids, 2].reduce((sum, id, at) => sum + logProbability(whole[before.length - 1 + at]!, id), 0);
      expect(scores[row]![i]!.logProbability).toBeCloseTo(expected, 3);
      expect(scores[row]![i]!.perToken).toBeCloseTo(expected / (ids.length + 1), 4);
    }
  });
});

describe("a search by beams", async () => {
  // Three text ids: 39 texts of up to three ids.
  const config = configOf("toklip", { text_vocab_size: 3 });
  const decoder = await open(config);
  afterAll(() => decoder.dispose());
  const alphabet = [[0], [1], [2]];
  const pairs = alphabet.flatMap((a) => alphabet.map((b) => [...a, ...b]));
  const all = [...alphabet, ...pairs, ...pairs.flatMap((a) => alphabet.map((b) => [...a, ...b]))];
  const prompts: ArPrompt[] = [[picture(50), text(1, 1)], [picture(51)]];

  test.each([0, 1])("finds the best of all texts when it has beams for all: length penalty %d", async (penalty) => {
    const found = await searchTexts(decoder, prompts, { beams: 40, maxTokens: 3, lengthPenalty: penalty });
    const scores = await scoreTexts(decoder, prompts, all);
    for (const [row, texts] of found.entries()) {
      const ranked = all
        .map((ids, i) => ({ ids, score: scores[row]![i]!.logProbability / (ids.length + 1) ** penalty }))
        .sort((a, b) => b.score - a.score);
      expect(texts.map(({ ids }) => [...ids])).toEqual(ranked.map(({ ids }) => ids));
      texts.forEach(({ score }, i) => {
        expect(score).toBeCloseTo(ranked[i]!.score, 4);
      });
    }
  });

  test("with few beams finds texts of the probability that they have, best first, whatever is searched beside it", async () => {
    const found = await searchTexts(decoder, prompts, { beams: 3, maxTokens: 12 });
    const [alone] = await searchTexts(decoder, [prompts[1]!], { beams: 3, maxTokens: 12 });
    expect(alone!.map(({ ids }) => ids)).toEqual(found[1]!.map(({ ids }) => ids));
    for (const [row, texts] of found.entries()) {
      expect(texts).toHaveLength(3);
      const [scores] = await scoreTexts(
        decoder,
        [prompts[row]!],
        texts.map(({ ids }) => ids),
      );
      texts.forEach(({ logProbability: likelihood }, i) => {
        expect(likelihood).toBeCloseTo(scores![i]!.logProbability, 3);
      });
      expect(texts.map(({ score }) => score)).toEqual(texts.map(({ score }) => score).sort((a, b) => b - a));
    }
  });

  test("refuses what it cannot search with", async () => {
    for (const options of [{ beams: 0 }, { maxTokens: 1.5 }, { lengthPenalty: -1 }]) {
      await expect(searchTexts(decoder, prompts, options)).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
    }
  });
});

describe("text", async () => {
  const config = configOf("vq");
  const decoder = await open(config);
  afterAll(() => decoder.dispose());
  const prompt: ArPrompt = [picture(1)];

  test("is drawn by seed, the same whatever is beside it", async () => {
    const options = { seed: 4, temperature: 1.5, topK: 10, topP: 0.99, maxTokens: 8 };
    const both = await writeWholeTexts(decoder, [[picture(7)], prompt], options);
    expect(await writeWholeTexts(decoder, [[picture(7)], prompt], options)).toEqual(both);
    expect(await writeWholeTexts(decoder, [prompt], { ...options, seed: 5 })).toEqual([both[1]]);
    expect(await writeWholeTexts(decoder, [[picture(7)], prompt], { ...options, seed: 70 })).not.toEqual(both);
  });

  test("is streamed, and may end by beginning a picture", async () => {
    const seen: number[][] = [[], []];
    const done: number[] = [];
    const steps = writeTexts(decoder, [prompt, [picture(300)]], {
      temperature: 3,
      seed: 12,
      maxTokens: 20,
      mayOpenPicture: true,
      onProgress: (event) => done.push(event.done),
    });
    let last = await steps.next();
    for (; !last.done; last = await steps.next()) {
      last.value.ids.forEach((id, row) => {
        if (id >= 0) seen[row]!.push(id);
      });
    }
    expect(last.value.map(({ ids }) => [...ids])).toEqual(seen);
    expect(done).toEqual(done.map((_, i) => i + 1));
    const ends = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((seed) =>
        writeWholeTexts(decoder, [prompt], { temperature: 5, seed, maxTokens: 20, mayOpenPicture: true }),
      ),
    );
    expect(ends.map(([text]) => text!.end)).toContain("image");
  });

  test("ends where the context does", async () => {
    const [written] = await writeWholeTexts(decoder, [[picture(1), text(...new Array<number>(27).fill(4))]]);
    // <bos> <image> 16 ids </image> 27 ids: 46 of 48, and one that is drawn after the last.
    expect(written!.ids.length).toBeLessThanOrEqual(3);
  });

  test("stops when it is aborted, and can begin again", async () => {
    const controller = new AbortController();
    const steps = writeTexts(decoder, [prompt], { temperature: 2, signal: controller.signal });
    await steps.next();
    controller.abort();
    await expect(steps.next()).rejects.toMatchObject({ code: "ABORTED" });
    expect(await writeWholeTexts(decoder, [prompt], { maxTokens: 1 })).toHaveLength(1);
  });
});

describe("a decoder", async () => {
  const config = configOf("toklip");
  const decoder = await open(config);
  afterAll(() => decoder.dispose());

  test.each([
    ["no prompt", [], "ARGUMENT_INVALID"],
    ["a text id that there is not", [[text(12)]], "IDS_OUT_OF_RANGE"],
    ["a text id that is no whole number", [[text(0.5)]], "IDS_OUT_OF_RANGE"],
    ["an image id beyond the codebook", [[{ picture: new Array<number>(16).fill(512) }]], "IDS_OUT_OF_RANGE"],
    ["half a picture", [[{ picture: [1, 2] }]], "IDS_GRID_MISMATCH"],
    ["a prompt that passes the context", [[text(...new Array<number>(40).fill(1))]], "ARGUMENT_INVALID"],
  ] as const)("refuses %s", async (_, prompts, code) => {
    const run = generateGrid(arPictureDecoder(decoder), prompts as readonly ArPrompt[]);
    await expect(run).rejects.toMatchObject({ code });
  });

  test("refuses texts to score that are none", async () => {
    for (const texts of [[], [[]], [[1], []]]) {
      await expect(scoreTexts(decoder, [[picture(1)]], texts)).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
    }
  });

  test("needs the encoder that its features are of", async () => {
    const parts = { backend, checkpoint: tinyCheckpoint(config), config };
    await expect(ArDecoder.open(parts)).rejects.toThrow(
      new ToklipError("ARGUMENT_INVALID", "toklip: entry toklip needs the TokLIP that makes its features"),
    );
    const other = configOf("toklip", { codebook_size: 500 });
    const wrong = { backend, checkpoint: tinyCheckpoint(other), config: other, encoder };
    await expect(ArDecoder.open(wrong)).rejects.toThrow(
      "toklip: expected features 64 wide for 16 ids of 500, tiny has features 64 wide for 16 ids of 512 [ARGUMENT_INVALID]",
    );
  });

  test("of 8-bit weights gives nearly the same logits", async () => {
    // Norms of 1 and weights as small as training has them: attention is not so sharp that it magnifies what is rounded off.
    const weights = new Map(
      [...tinyWeights(config)].map(([name, { shape, data }]) => {
        const gentle = data.map((x) => (name.includes("norm") ? 1 : x / 2));
        return [name, ndarray("f32", shape, gentle)] as const;
      }),
    );
    const parts = { backend, checkpoint: tinyCheckpoint(config, weights), config, encoder };
    const both = [await ArDecoder.open(parts), await ArDecoder.open({ ...parts, precision: "int8" })];
    const logits = await Promise.all(
      both.map(async (which) => {
        const stream = await which.start([[picture(3), text(1, 2)]], { room: 1 });
        await stream.dispose();
        return stream.first;
      }),
    );
    for (const opened of both) await opened.dispose();
    const distance = relativeDistance(logits[1]!, logits[0]!);
    expect(distance).toBeGreaterThan(1e-4);
    expect(distance).toBeLessThan(0.03);
  });
});
