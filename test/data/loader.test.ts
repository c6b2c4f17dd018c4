// Batches from a data set: their order, resumption, several processes, bad samples, captions, overlap.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatRows, ndarray, ToklipError } from "../../src/core/index.ts";
import type { Batch } from "../../src/data/batch.ts";
import type { BadSample, Dataset } from "../../src/data/dataset.ts";
import { type LoaderOptions, loadBatches } from "../../src/data/loader.ts";
import { lazyPositions, type MadeUp, madeUpData, madeUpDecode, take } from "./made-up-data.ts";

const OPTIONS = { batchSize: 4, imageSize: 2, seed: 7, decode: madeUpDecode } satisfies LoaderOptions;

const load = (dataset: Dataset, options: Partial<LoaderOptions> = {}) =>
  loadBatches(dataset, { ...OPTIONS, ...options });

async function failure(act: Promise<unknown>): Promise<ToklipError> {
  const error = await act.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ToklipError);
  return error as ToklipError;
}

/** What must be equal for two batches to be the same. */
const contentOf = ({ bad: _, ...content }: Batch) => content;

/** One in `every` samples is damaged, and others are bad in ways that need no decoding. */
const troubled = (index: number): MadeUp => {
  if (index % 7 === 3) return { damaged: true };
  if (index % 11 === 5) return { bad: "no image" };
  return index % 13 === 6 ? { captions: [" "] } : {};
};
const LENIENT = { needCaptions: true, badLimit: { fraction: 1 } } as const;

describe("an epoch", () => {
  test("gives every sample once, in an order that the seed decides", async () => {
    const keysOf = async (seed: number) => (await take(load(madeUpData(24), { seed }), 6)).flatMap(({ keys }) => keys);
    const keys = await keysOf(1);
    expect([...keys].sort((a, b) => +a - +b)).toEqual(Array.from({ length: 24 }, (_, i) => String(i)));
    expect(await keysOf(1)).toEqual(keys);
    expect(await keysOf(2)).not.toEqual(keys);
  });

  test("lends what is left of it to the first batch of the next", async () => {
    const batches = await take(load(madeUpData(10)), 5);
    const keys = batches.flatMap(({ keys }) => keys);
    expect(new Set(keys.slice(0, 10)).size).toBe(10);
    expect(new Set(keys.slice(10)).size).toBe(10);
    expect(batches.every(({ pixels }) => pixels.shape.join() === "4,3,2,2")).toBe(true);
  });

  test("of an evaluation comes in stored order, the last batch as small as it is", async () => {
    const batches = await take(load(madeUpData(10), { epochs: 1, shuffle: false }), 9);
    expect(batches.map(({ keys }) => keys.join(""))).toEqual(["0123", "4567", "89"]);
    expect(batches[2]!.pixels.shape).toEqual([2, 3, 2, 2]);
  });

  test("augments each sample anew, however positions count epochs", async () => {
    for (const dataset of [madeUpData(4), lazyPositions(madeUpData(4))]) {
      const seen = new Map<string, Set<number>>();
      for (const { keys, pixels } of await take(load(dataset), 5)) {
        keys.forEach((key, row) => {
          seen.set(key, (seen.get(key) ?? new Set()).add(pixels.data[row * 12]!));
        });
      }
      expect([...seen.values()].map(({ size }) => size)).toEqual([5, 5, 5, 5]);
    }
  });
});

describe("counted variants", () => {
  const several = (index: number): MadeUp => ({ captions: [1, 2, 3, 4, 5, 6, 7].map((i) => `${i} of ${index}`) });
  const options = { needCaptions: true, captions: "random", batchSize: 8 } as const;
  /** Pixels by key, an epoch a batch. */
  const picturesOf = (batches: readonly Batch[]) =>
    batches.map(({ keys, pixels }) => Object.fromEntries(keys.map((key, i) => [key, pixels.data[i * 12]!])));

  test("let pictures come again, and leave order and captions as they were", async () => {
    const endless = await take(load(madeUpData(8, several), options), 5);
    const counted = await take(load(madeUpData(8, several), { ...options, variants: 2 }), 5);
    const without = ({ pixels: _, ...batch }: Batch) => batch;
    expect(counted.map(without)).toEqual(endless.map(without));
    expect(new Set(counted.map(({ captions }) => [...captions].sort().join())).size).toBe(5);
    const [a, b, ...later] = picturesOf(counted);
    expect(later).toEqual([a, b, a]);
    expect([a, b]).toEqual(picturesOf(endless).slice(0, 2));
    for (const key of Object.keys(a!)) expect(b![key]).not.toBe(a![key]);
  });

  test("are names of their own to a memory, which finds them from the second round on", async () => {
    const names = new Map<string, number>();
    const find = async (name: string) => {
      names.set(name, (names.get(name) ?? 0) + 1);
      return names.get(name)! > 1 ? Uint8Array.of(1) : undefined;
    };
    let decoded = 0;
    const decode: LoaderOptions["decode"] = (bytes, spec) => {
      decoded++;
      return madeUpDecode(bytes, spec);
    };
    const how = { ...options, variants: 3, epochs: 7, decode, recall: { scope: "scope", find } };
    await take(load(madeUpData(8), how), 9);
    expect(names.size).toBe(24);
    expect(decoded).toBe(24);
    expect([...names.keys()].every((name) => /^scope\n[0-7]\n\nseed \d+$/.test(name))).toBe(true);
  });
});

describe("resuming", () => {
  test("from the position of any batch gives the rest bit for bit, whatever is prepared ahead", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          count: fc.integer({ min: 8, max: 40 }),
          batchSize: fc.integer({ min: 1, max: 5 }),
          seed: fc.integer(),
          at: fc.integer({ min: 0, max: 9 }),
          prefetch: fc.integer({ min: 0, max: 3 }),
          concurrency: fc.integer({ min: 1, max: 9 }),
          lazy: fc.boolean(),
        }),
        async ({ count, at, lazy, batchSize, seed, ...speed }) => {
          const plain = madeUpData(count, troubled);
          const dataset = lazy ? lazyPositions(plain) : plain;
          const options = { batchSize, seed, ...LENIENT };
          const whole = (await take(load(dataset, options), 12)).map(contentOf);
          const from = JSON.parse(JSON.stringify(whole[at]!.position));
          const rest = (await take(load(dataset, { ...options, ...speed, from }), 11 - at)).map(contentOf);
          expect(rest).toEqual(whole.slice(at + 1));
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe("several processes", () => {
  test("make the batches of one, damaged samples included, and their counts add up to its", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({ count: fc.integer({ min: 16, max: 40 }), seed: fc.integer(), size: fc.constantFrom(2, 3, 4) }),
        async ({ count, seed, size }) => {
          const dataset = madeUpData(count, troubled);
          const options = { seed, ...LENIENT };
          const whole = await take(load(dataset, { ...options, batchSize: 2 * size }), 6);
          const ranks = Array.from({ length: size }, (_, rank) => rank);
          const parts = await Promise.all(
            ranks.map((rank) => take(load(dataset, { ...options, batchSize: 2, rank, size }), 6)),
          );
          for (const [step, batch] of whole.entries()) {
            const pieces = parts.map((part) => part[step]!);
            expect(concatRows(pieces.map(({ pixels }) => pixels))).toEqual(batch.pixels);
            expect(pieces.flatMap(({ keys }) => keys)).toEqual(batch.keys);
            expect(pieces.map(({ position }) => position)).toEqual(ranks.map(() => batch.position));
            for (const name of ["seen", "bad"] as const) {
              expect(pieces.reduce((sum, { bad }) => sum + bad[name], 0)).toBe(batch.bad[name]);
            }
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  test("decode their own rows only", async () => {
    const decoded: string[] = [];
    const decode: typeof madeUpDecode = (bytes, spec) => {
      decoded.push(spec.key);
      return madeUpDecode(bytes, spec);
    };
    await take(load(madeUpData(16), { shuffle: false, epochs: 1, rank: 1, size: 2, decode }), 9);
    expect(decoded.sort()).toEqual(["12", "13", "14", "15", "4", "5", "6", "7"]);
  });
});

describe("a sample that cannot be used", () => {
  const stored = { shuffle: false, badLimit: { fraction: 1 } } as const;
  const damaged = (...which: number[]) => madeUpData(8, (index) => ({ damaged: which.includes(index) }));

  test("is replaced by the nearest before it in the step, counting round", async () => {
    const keysOf = async (...which: number[]) => (await take(load(damaged(...which), stored), 1))[0]!.keys.join("");
    expect(await keysOf(2)).toBe("0113");
    expect(await keysOf(0)).toBe("3123");
    expect(await keysOf(0, 3)).toBe("2122");
    expect(await keysOf(1, 2, 3)).toBe("0000");
  });

  test("is replaced whole: pixels, caption, concept", async () => {
    const [batch] = await take(load(damaged(2), stored), 1);
    const { pixels, captions, concepts } = batch!;
    expect(pixels.data.slice(24, 36)).toEqual(pixels.data.slice(12, 24));
    expect(captions[2]).toBe("caption 1");
    expect(concepts.data[2]).toBe(concepts.data[1]);
  });

  test("is left out of an evaluation, the others keeping their own pixels", async () => {
    const [batch] = await take(load(damaged(0, 2), { ...stored, epochs: 1 }), 1);
    const [whole] = await take(load(damaged(), { ...stored, epochs: 1 }), 1);
    expect(batch!.keys).toEqual(["1", "3"]);
    expect(batch!.pixels.shape).toEqual([2, 3, 2, 2]);
    expect([...batch!.pixels.data]).toEqual([...whole!.pixels.data.slice(12, 24), ...whole!.pixels.data.slice(36)]);
  });

  test("is counted by its reason, and told in the order of the data", async () => {
    const told: BadSample[] = [];
    const dataset = madeUpData(
      8,
      (i) => [{}, { captions: [] }, { damaged: true }, { bad: "truncated shard" }, {}, {}, {}, {}][i]!,
    );
    const options = {
      ...stored,
      batchSize: 5,
      epochs: 1,
      needCaptions: true,
      onBad: (bad: BadSample) => told.push(bad),
    };
    const [first, second] = await take(load(dataset, options), 2);
    expect(told.map(({ key, reason }) => `${key} ${reason}`)).toEqual([
      "1 no caption",
      "2 undecodable",
      "3 truncated shard",
    ]);
    expect(told[1]!.message).toContain("is damaged");
    expect(first!.bad).toEqual({ seen: 7, bad: 3, reasons: { "no caption": 1, undecodable: 1, "truncated shard": 1 } });
    expect(second!.bad).toMatchObject({ seen: 8, bad: 3 });
  });

  test("ends the run when it is one of too many, with the counts and an example", async () => {
    const dataset = madeUpData(200, (index) => ({ damaged: index % 4 === 1 }));
    const error = await failure(take(load(dataset, { shuffle: false }), 50));
    expect(error.code).toBe("DATA_TOO_BAD");
    expect(error.message).toContain("25 of 100 samples could not be used (25 undecodable), more than the 10 % allowed");
    expect(error.message).toContain("the first: 1: image: is damaged");
    const strict = await failure(take(load(dataset, { shuffle: false, badLimit: { count: 2 } }), 50));
    expect(strict.message).toContain("3 of 10 samples");
  });

  test("does not end the run while few are", async () => {
    const dataset = madeUpData(200, (index) => ({ damaged: index % 20 === 1 }));
    expect((await take(load(dataset, { shuffle: false }), 100)).at(-1)!.bad).toMatchObject({ seen: 400, bad: 20 });
  });

  test("is passed over with its step where nothing of the step can be decoded, by every process", async () => {
    const dataset = madeUpData(12, (index) => ({ damaged: index >= 4 && index < 8 }));
    const keysOf = async (options: Partial<LoaderOptions>) =>
      (await take(load(dataset, { ...stored, ...options }), 2)).map(({ keys }) => keys.join());
    expect(await keysOf({})).toEqual(["0,1,2,3", "8,9,10,11"]);
    expect(await keysOf({ batchSize: 2, size: 2, rank: 1 })).toEqual(["2,3", "10,11"]);
    expect(await keysOf({ batchSize: 1, from: { epoch: 0, index: 3, size: 12 } })).toEqual(["3", "8"]);
  });

  test("ends even the most patient run where there is no other", async () => {
    const error = await failure(
      take(
        load(
          madeUpData(8, () => ({ damaged: true })),
          stored,
        ),
        1,
      ),
    );
    expect(error.message).toContain("100 of 100 samples could not be used (100 undecodable), not a single one could");
  });

  test("is not blamed for an error that is not its own", async () => {
    const decode = async () => {
      throw new ToklipError("RUNTIME_FAILED", "the decoder died");
    };
    expect((await failure(take(load(madeUpData(8), { decode }), 1))).code).toBe("RUNTIME_FAILED");
  });
});

describe("data that do not suffice", () => {
  test("are refused at once with both numbers where their size is known", () => {
    expect(() => load(madeUpData(5), { size: 2 })).toThrow("a step takes 8 samples, more than the 5 usable ones");
  });

  test("are refused after an epoch where it is not, or where too few can be used", async () => {
    const unsized = madeUpData(3, () => ({}), false);
    const error = await failure(take(load(unsized), 1));
    expect([error.code, error.message.includes("a step takes 4 samples, more than the 3")]).toEqual([
      "ARGUMENT_INVALID",
      true,
    ]);
    const few = madeUpData(5, (index) => ({ captions: index < 2 ? [] : ["a"] }));
    expect((await failure(take(load(few, { needCaptions: true }), 1))).message).toContain("more than the 3 usable");
  });

  test("may be smaller than a batch in an evaluation, but not empty", async () => {
    expect((await take(load(madeUpData(2), { epochs: 1 }), 5)).map(({ keys }) => keys.length)).toEqual([2]);
    const mute = madeUpData(4, () => ({ captions: [] }));
    expect((await failure(take(load(mute, { epochs: 1, needCaptions: true }), 5))).code).toBe("DATA_EMPTY");
    expect((await failure(take(load(madeUpData(0), { epochs: 1 }), 5))).code).toBe("DATA_EMPTY");
  });
});

describe("captions", () => {
  const several = madeUpData(8, (index) => ({ captions: ["", `a${index}`, `b${index}`, `c${index}`] }));

  test("are the first that says something, or one that each epoch draws anew", async () => {
    const captionsOf = async (captions: "first" | "random") =>
      (await take(load(several, { captions, shuffle: false }), 12)).flatMap((batch) => batch.captions);
    expect((await captionsOf("first")).slice(0, 4)).toEqual(["a0", "a1", "a2", "a3"]);
    const drawn = await captionsOf("random");
    expect(new Set(drawn.filter((caption) => caption.endsWith("0"))).size).toBeGreaterThan(1);
    expect(await captionsOf("random")).toEqual(drawn);
  });

  test("do not change which pixels are drawn", async () => {
    const [first] = await take(load(several, { captions: "first" }), 1);
    const [random] = await take(load(several, { captions: "random", templates: "imagenet-80" }), 1);
    expect(random!.pixels).toEqual(first!.pixels);
  });

  test("stand in templates, and nothing in them is special", async () => {
    const dataset = madeUpData(4, () => ({ captions: ["$& {}"] }));
    const [batch] = await take(load(dataset, { templates: ["a photo of {}, {}"] }), 1);
    expect(batch!.captions[0]).toBe("a photo of $& {}, $& {}");
  });

  test("become text ids, a row each", async () => {
    const tokenizer = {
      encode: (texts: readonly string[], { contextLength }: { contextLength: number }) =>
        ndarray(
          "i32",
          [texts.length, contextLength],
          Int32Array.from({ length: contextLength }, (_, i) => +texts[0]!.at(-1)! * 10 + i),
        ),
    };
    const [batch] = await take(load(madeUpData(4), { shuffle: false, text: { tokenizer, contextLength: 3 } }), 1);
    expect(batch!.textIds).toEqual(ndarray("i32", [4, 3], Int32Array.of(0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32)));
    expect((await take(load(madeUpData(4)), 1))[0]).not.toHaveProperty("textIds");
  });

  test("that are not there are empty where none are needed", async () => {
    const [batch] = await take(load(madeUpData(4, () => ({ captions: [] }))), 1);
    expect(batch!.captions).toEqual(["", "", "", ""]);
  });
});

test("concepts are equal for samples that share one, and differ for others", async () => {
  const dataset = madeUpData(4, (index) => (index < 2 ? { concept: "cat" } : {}));
  const [batch] = await take(load(dataset, { shuffle: false }), 1);
  const [a, b, c, d] = batch!.concepts.data;
  expect(a).toBe(b);
  expect(new Set([a, c, d]).size).toBe(3);
  expect(batch!.concepts.data.every((id) => id >= 0)).toBe(true);
});

describe("overlap", () => {
  const tick = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

  test("prepares the batches that come while one is used, and no more", async () => {
    let decoded = 0;
    const decode: typeof madeUpDecode = async (bytes, spec) => {
      decoded++;
      return madeUpDecode(bytes, spec);
    };
    const batches = load(madeUpData(100), { decode, prefetch: 3 });
    await batches.next();
    await tick(30);
    expect(decoded).toBe(16);
    await batches.return();
  });

  test("runs no more decoders at one time than it may", async () => {
    let [running, most] = [0, 0];
    const decode: typeof madeUpDecode = async (bytes, spec) => {
      most = Math.max(most, ++running);
      await tick(1);
      running--;
      return madeUpDecode(bytes, spec);
    };
    await take(load(madeUpData(100), { decode, prefetch: 3, concurrency: 5 }), 10);
    expect(most).toBe(5);
  });

  test("ends soon when the consumer stops, and leaves nothing running", async () => {
    let [begun, ended] = [0, 0];
    const decode: typeof madeUpDecode = async (bytes, spec) => {
      begun++;
      await tick(2);
      ended++;
      return madeUpDecode(bytes, spec);
    };
    await take(load(madeUpData(1000), { decode, batchSize: 100, prefetch: 4, concurrency: 2 }), 1);
    expect(begun).toBeLessThan(250);
    expect(ended).toBe(begun);
  });

  test("stops on an abort", async () => {
    const controller = new AbortController();
    const batches = load(madeUpData(100), { signal: controller.signal });
    await batches.next();
    controller.abort();
    expect((await failure(batches.next())).code).toBe("ABORTED");
    expect((await batches.next()).done).toBe(true);
  });
});

test.each<[Partial<LoaderOptions>, string]>([
  [{ batchSize: 0 }, "batchSize must be a whole number from 1, got 0"],
  [{ imageSize: 1.5 }, "imageSize must be"],
  [{ rank: 2, size: 2 }, "rank must be a whole number below 2, got 2"],
  [{ prefetch: -1 }, "prefetch must be a whole number from 0"],
  [{ augmentation: { flip: 3 } }, "flip must be"],
  [{ variants: 0 }, "variants must be a whole number from 1, got 0"],
  [{ templates: ["no place"] }, "has no {} for the label"],
])("the options %j are refused at once", (options, message) => {
  expect(() => load(madeUpData(50), options)).toThrow(message);
});

describe("pictures that are known", () => {
  /** Remembers which samples were read, and knows those whose number is even. */
  function memory(dataset: Dataset) {
    const [asked, readKeys]: [string[], string[]] = [[], []];
    const watched: Dataset = {
      ...dataset,
      async *read(options) {
        for await (const item of dataset.read(options)) {
          const { sample } = item;
          const image = () => {
            readKeys.push(sample!.key);
            return sample!.image();
          };
          const version = async () => `v${sample!.key}`;
          yield { ...item, position: item.position, ...(sample && { sample: { ...sample, image, version } }) };
        }
      },
    };
    const find = async (name: string) => {
      asked.push(name);
      const key = Number(name.split("\n")[1]);
      return key % 2 === 0 ? Uint8Array.of(key) : undefined;
    };
    return { watched, asked, readKeys, recall: { scope: "scope", find } };
  }

  test("are not read, and their pixels are zeros", async () => {
    const { watched, asked, readKeys, recall } = memory(madeUpData(8));
    const batches = await take(load(watched, { recall, epochs: 1 }), 2);
    const bare = await take(load(madeUpData(8), { epochs: 1 }), 2);
    expect(readKeys.sort()).toEqual(["1", "3", "5", "7"]);
    expect(asked).toContain("scope\n3\nv3");
    for (const [b, { recalled, pixels, ...batch }] of batches.entries()) {
      const { pixels: bits, ...expected } = bare[b]!;
      expect(batch).toEqual(expected);
      for (const [i, key] of batch.keys.entries()) {
        const isKnown = Number(key) % 2 === 0;
        const row = pixels.data.slice(i * 12, i * 12 + 12);
        expect(row).toEqual(isKnown ? new Float32Array(12) : bits.data.slice(i * 12, i * 12 + 12));
        const name = `scope\n${key}\nv${key}`;
        expect(recalled![i]).toEqual(isKnown ? { name, known: Uint8Array.of(Number(key)) } : { name });
      }
    }
  });

  test.each([
    { epochs: 1, shuffle: false },
    { rank: 1, size: 2 },
  ])("take the places of damaged ones with all that is known of them: %j", async (how) => {
    const describeSample = (index: number): MadeUp => (index % 4 === 3 ? { damaged: true } : {});
    const { watched, recall } = memory(madeUpData(16, describeSample));
    const options = { ...LENIENT, ...how };
    const batches = await take(load(watched, { ...options, recall }), 3);
    const bare = await take(load(madeUpData(16, describeSample), options), 3);
    expect(batches.map(({ keys, bad }) => [keys, bad])).toEqual(bare.map(({ keys, bad }) => [keys, bad]));
    for (const [b, { keys, recalled, pixels }] of batches.entries()) {
      expect(recalled!.map(({ name }) => name.split("\n")[1])).toEqual(keys);
      for (const [i, { known }] of recalled!.entries()) {
        const row = (batch: Batch | undefined) => [...batch!.pixels.data.slice(i * 12, i * 12 + 12)];
        expect(known?.[0]).toBe(Number(keys[i]) % 2 === 0 ? Number(keys[i]) : undefined);
        expect([...pixels.data.slice(i * 12, i * 12 + 12)]).toEqual(known ? new Array(12).fill(0) : row(bare[b]));
      }
    }
  });

  test("that are gone count as bad samples", async () => {
    const { recall } = memory(madeUpData(0));
    const gone = async () => Promise.reject(new ToklipError("FILE_NOT_FOUND", "a.png: does not exist"));
    const dataset: Dataset = {
      name: "gone",
      async *read() {
        const of = (key: string) => ({ key, captions: [], image: async () => Uint8Array.of(1, 0) });
        yield { sample: { ...of("1"), version: gone }, position: { epoch: 0 } };
        yield { sample: of("3"), position: { epoch: 1 } };
      },
    };
    const [batch] = await take(load(dataset, { recall, batchSize: 2, epochs: 1, badLimit: { fraction: 1 } }), 1);
    expect(batch!.keys).toEqual(["3"]);
    expect(batch!.bad.reasons).toEqual({ "no image": 1 });
  });
});
