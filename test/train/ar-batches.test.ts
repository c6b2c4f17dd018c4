// Batches of the unified transformer: what is drawn, what is bad, and that they are a function of data, seed and position.
import { describe, expect, test } from "vitest";
import type { BadSample, IdsSample } from "../../src/data/dataset.ts";
import { type ArBatch, type ArBatchOptions, arBatches, arHeldOutBatches } from "../../src/train/ar-batches.ts";
import { AR_LOSSES, type ArSequence, drawnSequence } from "../../src/train/ar-sequences.ts";
import { tinyAr } from "../ar-models.ts";
import { codeOf } from "../files/value-or-error.ts";
import { datasetOf, letters, madeUpSample, take } from "./ar-samples.ts";

const model = tinyAr("vq", { condition_dropout: 0.2 });
const OPTIONS: ArBatchOptions = {
  model,
  tokenizer: letters,
  seed: 5,
  shares: { text_to_image: 3, image_to_text: 1 },
  captions: "random",
  batchSize: 2,
};
const samples = Array.from({ length: 30 }, (_, i) => madeUpSample(i, model));

/** What a batch holds, as plain values. */
const contentOf = ({ rows, targets, images }: ArBatch) => ({
  rows: Object.values(rows).map(({ data }) => [...data]),
  targets,
  images,
});

/** The whole sequence, spelt: `B` bos, `E` eos, `<` and `>` around a picture, `-` a dropped text, letters, digits. */
const spelt = ({ ids }: ArSequence) =>
  [...ids].map((id) => (id < 8 ? "_BE<>-"[id]! : id < 20 ? String.fromCharCode(89 + id) : String(id - 20))).join("");

describe("a sequence", () => {
  const drawn = (epochs: number, options = OPTIONS) =>
    Array.from({ length: epochs }, (_, epoch) => drawnSequence(samples[7]!, epoch, options) as ArSequence);

  test("is text to picture or picture to text, of one caption and one variant, with the losses of its direction", () => {
    const { ids, captions } = samples[7]!;
    const variants = [0, 4].map((start) => [...ids.slice(start, start + 4)].join(""));
    const made = drawn(200, { ...OPTIONS, imagePrior: true });
    for (const sequence of made) {
      const picture = sequence.picture.join("");
      const text = spelt(sequence).includes("-") ? "-" : sequence.caption;
      expect(captions).toContain(sequence.caption);
      expect(variants).toContain(picture);
      const [expected, kinds] =
        sequence.direction === "text_to_image"
          ? [`B${text}<${picture}>E`, `${".".repeat(text.length + 2)}00000.`]
          : [`B<${picture}>${text}E`, `..22222${"1".repeat(text.length + 1)}`];
      expect(spelt(sequence)).toBe(expected);
      expect([...sequence.kinds].map((kind) => (kind < 0 ? "." : kind)).join("")).toBe(kinds);
      expect(spelt(sequence)[sequence.pictureStart]).toBe(picture[0]);
    }
    expect(new Set(made.map(spelt)).size).toBe(10); // 2 variants of 2 captions in 2 directions, and 2 with none
  });

  test("has each direction, variant, caption and dropped text as often as it should", () => {
    const made = drawn(2000);
    const share = (is: (sequence: ArSequence) => boolean) => made.filter(is).length / made.length;
    expect(share(({ direction }) => direction === "text_to_image")).toBeCloseTo(0.75, 1);
    expect(share(({ picture }) => picture.join() === samples[7]!.ids.slice(0, 4).join())).toBeCloseTo(0.5, 1);
    expect(share(({ caption }) => caption === samples[7]!.captions[0])).toBeCloseTo(0.5, 1);
    expect(share((sequence) => spelt(sequence).includes("-"))).toBeCloseTo(0.75 * 0.2, 1);
  });

  test("learns nothing of a picture that comes first unless it is asked to", () => {
    const sequence = drawn(50).find(({ direction }) => direction === "image_to_text")!;
    expect([...sequence.kinds.slice(0, 7)]).toEqual(new Array(7).fill(-1));
  });
});

describe("batches", () => {
  test("begin again at any position, bit for bit, over the ends of epochs", async () => {
    const all = await take(arBatches(datasetOf(samples), OPTIONS), 14);
    expect(all.at(-1)!.position.epoch).toBeGreaterThan(1);
    for (const [i, { position }] of all.entries()) {
      const from = JSON.parse(JSON.stringify(position));
      const rest = await take(arBatches(datasetOf(samples), { ...OPTIONS, from }), 2);
      expect(rest.slice(0, all.length - i - 1).map(contentOf)).toEqual(all.slice(i + 1, i + 3).map(contentOf));
    }
  });

  test("of two processes are the rows of one, and both know the targets of all", async () => {
    const whole = await take(arBatches(datasetOf(samples), { ...OPTIONS, batchSize: 4 }), 4);
    const parts = await Promise.all(
      [0, 1].map((rank) => take(arBatches(datasetOf(samples), { ...OPTIONS, rank, size: 2 }), 4)),
    );
    for (const [i, batch] of whole.entries()) {
      const both = parts.map((batches) => contentOf(batches[i]!));
      const joined = both[0]!.rows.map((row, k) => [...row, ...both[1]!.rows[k]!]);
      expect(contentOf(batch)).toEqual({ ...both[0], rows: joined });
      expect(both[1]!.targets).toEqual(both[0]!.targets);
      expect(parts.flatMap((batches) => batches[i]!.placed).length).toBe(batch.images);
    }
  });

  test("count the targets of each loss", async () => {
    for (const { rows, targets } of await take(arBatches(datasetOf(samples), OPTIONS), 5)) {
      for (const [kind, loss] of AR_LOSSES.entries()) {
        expect(rows.kinds.data.filter((each) => each === kind).length).toBe(targets[loss]);
      }
    }
  });

  test("are as full as sequences allow: no sequence of the next one fits before it", async () => {
    const [first, second] = await take(arBatches(datasetOf(samples), OPTIONS), 2);
    const free = [0, 1].map(
      (row) => first!.rows.segments.data.slice(row * 40, row * 40 + 40).filter((s) => s === 0).length,
    );
    const next = second!.placed[0]!.sequence;
    expect(Math.max(...free)).toBeLessThan(next.kinds.findLastIndex((kind) => kind >= 0));
  });

  test("of held-out data have each sample in both directions, once, with nothing drawn", async () => {
    const read = async (seed: number) => take(arHeldOutBatches(datasetOf(samples), { ...OPTIONS, seed }), 99);
    const batches = await read(1);
    const made = batches.flatMap(({ placed }) => placed.map(({ sequence }) => `${sequence.direction} ${sequence.key}`));
    expect(made.sort()).toEqual(
      ["image_to_text", "text_to_image"].flatMap((way) => samples.map(({ key }) => `${way} ${key}`)).sort(),
    );
    expect((await read(2)).map(contentOf)).toEqual(batches.map(contentOf));
    const spelling = batches.flatMap(({ placed }) => placed.map(({ sequence }) => spelt(sequence)));
    expect(spelling.filter((text) => text.includes("-"))).toEqual([]);
    const one = arHeldOutBatches(datasetOf(samples), { ...OPTIONS, shares: { text_to_image: 1, image_to_text: 0 } });
    expect((await take(one, 99)).flatMap(({ placed }) => placed).length).toBe(samples.length);
  });
});

describe("a sample that cannot be used", () => {
  const bad: readonly (readonly [string, IdsSample | string, string])[] = [
    ["a source's own", "no ids", "b1: no ids"],
    ["ids of another grid", { ...samples[0]!, ids: new Int32Array(5) }, "5 ids are no whole number of pictures of 4"],
    [
      "ids of another codebook",
      { ...samples[0]!, ids: Int32Array.of(1, 2, 3, 10) },
      "id 10 is outside the codebook of 10",
    ],
    ["no caption", { ...samples[0]!, captions: [] }, "has no caption"],
    ["no caption", { ...samples[0]!, captions: ["  "] }, "has no caption"],
    ["no caption", { ...samples[0]!, captions: ["?!"] }, "its caption is empty once it is cleaned"],
    [
      "caption too long",
      { ...samples[0]!, captions: ["a".repeat(35)] },
      "its caption has 35 ids, 2 more than the context",
    ],
  ];

  test.each(bad)("because of %s is counted and passed over", async (reason, sample, message) => {
    const told: BadSample[] = [];
    const options = { ...OPTIONS, captions: "first", onBad: (each: BadSample) => told.push(each) } as const;
    const shares = { text_to_image: 0, image_to_text: 1 };
    const data = datasetOf([samples[1]!, sample, samples[2]!]);
    const batches = await take(arHeldOutBatches(data, { ...options, shares }), 9);
    expect(batches.flatMap(({ placed }) => placed.map(({ sequence }) => sequence.key))).toEqual(["s1", "s2"]);
    expect(told.map((each) => each.reason)).toEqual([typeof sample === "string" ? sample : reason]);
    expect(told[0]!.message).toContain(message);
  });

  test("ends the run where there are too many of it, or nothing else", async () => {
    const other = samples.map((sample) => ({ ...sample, ids: new Int32Array(3) }));
    expect(await codeOf(() => take(arBatches(datasetOf(other), OPTIONS), 1))).toBe("DATA_TOO_BAD");
    expect(await codeOf(() => take(arHeldOutBatches(datasetOf(other), OPTIONS), 1))).toBe("DATA_EMPTY");
    const mixed = datasetOf([...other.slice(0, 5), ...samples]);
    const limit = { badLimit: { fraction: 0.1, after: 10 } };
    expect(await codeOf(() => take(arBatches(mixed, { ...OPTIONS, ...limit }), 99))).toBe("DATA_TOO_BAD");
  });
});
