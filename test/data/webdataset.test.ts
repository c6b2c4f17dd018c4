import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import type { DataItem, DataPosition, ReadOptions } from "../../src/data/dataset.ts";
import { type WebDatasetOptions, webdataset } from "../../src/data/webdataset.ts";
import { joinBytes } from "../files/pickle-writer.ts";
import { longNamePart, paxPart, type TarPart, tar, tarPart } from "../files/tar-writer.ts";
import { codeOf } from "../files/value-or-error.ts";
import { bytesOf, contentOf, itemsOf, MemoryShards, picture } from "./memory-shards.ts";

type Options = Partial<WebDatasetOptions>;

/** A data set of archives in memory. */
function datasetOf(shards: Readonly<Record<string, Uint8Array>>, options: Options = {}) {
  const source = new MemoryShards(shards);
  return { source, dataset: webdataset({ shards: Object.keys(shards).join("::"), source, ...options }) };
}

/** The items of one archive in stored order. */
function read(archive: Uint8Array, options: Options = {}): Promise<DataItem[]> {
  return itemsOf(datasetOf({ "s.tar": archive }, options).dataset, { seed: 0, shuffle: false, epochs: 1 });
}

const keysOf = (items: readonly DataItem[]) => items.map(({ sample, bad }) => sample?.key ?? `bad ${bad!.reason}`);
const shardOf = (keys: readonly string[], length = 10) => tar(keys.flatMap((key) => picture(key, length)));
const numbered = (count: number, length = 10) =>
  shardOf(
    Array.from({ length: count }, (_, i) => `${i}`),
    length,
  );

describe("samples", () => {
  test("files of one name up to the first dot make a sample, with folders and long names", async () => {
    const long = `deep/${"n".repeat(120)}`;
    const archive = tar([
      ...picture("./a/000"),
      { name: "a/001.PNG", bytes: bytesOf("png") },
      { name: "a/001.seg.png", bytes: bytesOf("not the picture") },
      { name: "b/001.webp", bytes: bytesOf("webp") },
      longNamePart(`${long}.jpeg`),
      { name: "cut", bytes: bytesOf("long") },
      paxPart({ path: `${long}.txt` }),
      { name: "cut", bytes: bytesOf("a long name\n") },
    ]);
    const items = await read(archive);
    expect(keysOf(items)).toEqual(["s.tar/a/000", "s.tar/a/001", "s.tar/b/001", `s.tar/${long}`]);
    expect(await items[1]!.sample!.image()).toEqual(bytesOf("png"));
    expect(items.map(({ sample }) => sample!.captions)).toEqual([["caption of ./a/000"], [], [], ["a long name"]]);
  });

  test("a file that the sample already has begins another, and hidden and nameless files belong to none", async () => {
    const archive = tar([
      { name: "x.jpg" },
      { name: "._x.jpg" },
      { name: "README" },
      { name: "x.txt", bytes: bytesOf("first") },
      { name: "x.jpg" },
      { name: "x.txt", bytes: bytesOf("second") },
      { name: "y.jpg" },
    ]);
    const items = await read(archive);
    expect(items.map(({ sample }) => sample!.captions)).toEqual([["first"], ["second"], []]);
  });

  test.each<[string, Record<string, string>, Options, string[], string | undefined]>([
    ["a text is one caption, its lines kept", { txt: "one\ntwo\n" }, {}, ["one\ntwo"], undefined],
    [
      "lines are captions when asked for",
      { txt: "\uFEFFone\r\n\n two \n" },
      { linePerCaption: true },
      ["one", "two"],
      undefined,
    ],
    ["an empty text is no caption", { txt: " \n" }, {}, [], undefined],
    [
      "json gives captions",
      { json: '{"caption": "a", "captions": ["b", 3, "a"], "text": null}' },
      {},
      ["a", "b"],
      undefined,
    ],
    ["json gives a concept", { json: '{"text": "a", "concept": "dog"}', cls: "7" }, {}, ["a"], "dog"],
    ["a concept may be a number", { json: '{"concept_key": 12}' }, {}, [], "12"],
    ["cls is a concept", { cls: "7\n" }, {}, [], "7"],
    ["a caption that comes twice counts once", { txt: "a", json: '{"caption": "a"}' }, {}, ["a"], undefined],
    ["json that is no object says nothing", { json: '["caption"]', txt: "a" }, {}, ["a"], undefined],
    ["__proto__ is a key like others", { json: '{"__proto__": {"caption": "x"}}' }, {}, [], undefined],
  ])("%s", async (_, files, options, captions, concept) => {
    const parts = Object.entries(files).map(([extension, text]) => ({ name: `k.${extension}`, bytes: bytesOf(text) }));
    const [item] = await read(tar([{ name: "k.jpg" }, ...parts]), options);
    expect(item!.sample).toMatchObject({ captions });
    expect(item!.sample!.concept).toBe(concept);
  });

  test.each<[string, string, TarPart[], Options]>([
    ["no picture", "no image", [{ name: "b.txt", bytes: bytesOf("text") }], {}],
    ["broken JSON", "malformed text", [{ name: "b.jpg" }, { name: "b.json", bytes: bytesOf("{") }], {}],
    [
      "a text that is not UTF-8",
      "malformed text",
      [{ name: "b.jpg" }, { name: "b.txt", bytes: Uint8Array.of(0xff) }],
      {},
    ],
    ["a picture above the limit", "too large", [{ name: "b.jpg", bytes: new Uint8Array(101) }], { maxImageBytes: 100 }],
    [
      "a text above the limit",
      "too large",
      [{ name: "b.jpg" }, { name: "b.txt", bytes: new Uint8Array(2 ** 20 + 1) }],
      {},
    ],
  ])("a sample with %s is bad, and its neighbours are not", async (_, reason, parts, options) => {
    const items = await read(tar([...picture("a"), ...parts, ...picture("c")]), options);
    expect(keysOf(items)).toEqual(["s.tar/a", `bad ${reason}`, "s.tar/c"]);
    expect(items[1]!.bad).toMatchObject({ key: "s.tar/b", message: expect.stringContaining("s.tar/b: ") });
  });

  test("keys tell shards of one name apart, and hold no queries", async () => {
    const shard = numbered(1);
    const keys = async (names: string[]) => {
      const { dataset } = datasetOf(Object.fromEntries(names.map((name) => [name, shard])));
      return keysOf(await itemsOf(dataset, { seed: 0, shuffle: false, epochs: 1 }));
    };
    expect(await keys(["a/0.tar", "b/1.tar"])).toEqual(["0.tar/0", "1.tar/0"]);
    expect(await keys(["a/0.tar", "b/0.tar"])).toEqual(["a/0.tar/0", "b/0.tar/0"]);
    const signed = await keys(["http://h/get?file=1&secret", "http://h/get?file=2&secret"]);
    expect(new Set(signed).size).toBe(2);
    expect(signed.join()).not.toContain("secret");
  });
});

describe("order", () => {
  const shards = Object.fromEntries(["a.tar", "b.tar", "c.tar"].map((name, i) => [name, numbered(4 + i)]));
  const keys = async (options: Partial<ReadOptions>, how: Options = {}) =>
    keysOf(await itemsOf(datasetOf(shards, { bufferSize: 5, ...how }).dataset, { seed: 1, epochs: 1, ...options }));

  test("the same seed gives the same order, another seed and another epoch another", async () => {
    expect(await keys({ seed: 3 })).toEqual(await keys({ seed: 3 }));
    expect(await keys({ seed: 3 })).not.toEqual(await keys({ seed: 4 }));
    const two = await keys({ seed: 3, epochs: 2 });
    expect(two.slice(0, 15)).not.toEqual(two.slice(15));
    expect(two.slice(0, 15)).toEqual(await keys({ seed: 3 }));
  });

  test("without shuffling the stored order comes", async () => {
    const stored = [4, 5, 6].flatMap((n, i) => Array.from({ length: n }, (_, at) => `${"abc"[i]}.tar/${at}`));
    expect(await keys({ shuffle: false })).toEqual(stored);
  });

  test("samples of several shards mix, and every place of a large buffer is drawn", async () => {
    const firsts = await Promise.all(
      Array.from({ length: 200 }, async (_, seed) => (await keys({ seed }, { bufferSize: 99 }))[0]),
    );
    expect(new Set(firsts).size).toBe(15);
  });

  test("weights are odds of shards, drawn with replacement", async () => {
    const names = Array.from({ length: 50 }, (_, i) => `${i}.tar`);
    const all = Object.fromEntries(names.map((name) => [name, shardOf(["k"])]));
    const list = "{0..9}.tar::{10..48}.tar::49.tar";
    const { dataset } = datasetOf(all, { shards: list, weights: "3::1::0" });
    const items = await itemsOf(dataset, { seed: 5, epochs: 40 });
    expect(items.length).toBe(40 * 50);
    const counts = names.map((name) => items.filter(({ sample }) => sample!.key === `${name}/k`).length);
    const share = counts.slice(0, 10).reduce((a, b) => a + b) / items.length;
    const expected = 30 / (30 + 39);
    const deviation = Math.sqrt((expected * (1 - expected)) / items.length);
    expect(Math.abs(share - expected)).toBeLessThan(4 * deviation);
    expect(counts[49]).toBe(0);
    expect(Math.min(...counts.slice(0, 49))).toBeGreaterThan(0);
    expect((await itemsOf(dataset, { seed: 5, epochs: 1, shuffle: false })).length).toBe(50);
  });
});

describe("positions", () => {
  /** A shard: samples of any kind, perhaps damaged at some place. */
  const shard = fc
    .record({
      sizes: fc.array(fc.integer({ min: 0, max: 1500 }), { maxLength: 6 }),
      bad: fc.nat(8),
      stray: fc.nat(8),
      textFirst: fc.boolean(),
      cut: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { freq: 4 }),
    })
    .map(({ sizes, bad, stray, textFirst, cut }) => {
      const parts = sizes.flatMap((size, i) => [
        ...(i === stray ? [{ name: "stray", bytes: new Uint8Array(600) }] : []),
        ...(i === bad
          ? [{ name: `${i}.txt` }]
          : textFirst
            ? picture(`${i}`, size, i).reverse()
            : picture(`${i}`, size, i)),
      ]);
      const archive = tar(parts);
      return cut === null ? archive : archive.subarray(0, Math.floor(cut * archive.length));
    });
  const setup = fc.record({
    archives: fc.array(shard, { maxLength: 4 }),
    bufferSize: fc.integer({ min: 1, max: 12 }),
    maxBufferBytes: fc.constantFrom(0, 2000, 1e9),
    weighted: fc.boolean(),
    shuffle: fc.boolean(),
    seed: fc.nat(),
    stop: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  });

  test("reading on from any position gives exactly what would have come, over two epochs", async () => {
    await fc.assert(
      fc.asyncProperty(setup, async ({ archives, weighted, seed, shuffle, stop, ...how }) => {
        const shards = Object.fromEntries([numbered(3, 800), ...archives].map((bytes, i) => [`${i}.tar`, bytes]));
        const list = `${Object.keys(shards).join("::")}::missing.tar`;
        const weights = weighted ? ["9", ...archives.map((_, i) => i + 1), "1"].join("::") : undefined;
        const make = () => datasetOf(shards, { ...how, shards: list, weights }).dataset;
        const options = { seed, shuffle, epochs: 2 };
        const items = await collect(make().read(options));
        const at = Math.floor(stop * items.length);
        const from = JSON.parse(JSON.stringify(items[at]?.position ?? { epoch: 0 })) as DataPosition;
        const rest = await collect(make().read({ ...options, ...(items.length > 0 && { from }) }));
        const expected = items.slice(at + 1);
        expect(await Promise.all(rest.map(contentOf))).toEqual(await Promise.all(expected.map(contentOf)));
        expect(rest.map(({ position }) => position)).toEqual(expected.map(({ position }) => position));
      }),
      { numRuns: 150 },
    );
  });

  /** All items; weights may draw epochs without a sample, where reading ends. */
  async function collect(reading: AsyncIterable<DataItem>): Promise<DataItem[]> {
    const items: DataItem[] = [];
    try {
      for await (const item of reading) items.push(item);
    } catch (thrown) {
      if (!(thrown instanceof ToklipError && thrown.code === "DATA_EMPTY")) throw thrown;
    }
    return items;
  }

  test("every epoch has every sample exactly once", async () => {
    const property = fc.asyncProperty(
      fc.array(fc.nat(7), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 20 }),
      fc.nat(),
      async (counts, bufferSize, seed) => {
        fc.pre(counts.some((count) => count > 0));
        const shards = Object.fromEntries(counts.map((count, i) => [`${i}.tar`, numbered(count)]));
        const { dataset, source } = datasetOf(shards, { bufferSize });
        const items = await itemsOf(dataset, { seed, epochs: 3 });
        const all = counts.flatMap((count, i) => Array.from({ length: count }, (_, at) => `${i}.tar/${at}`)).sort();
        for (const epoch of [0, 1, 2]) {
          expect(keysOf(items.filter(({ position }) => position.epoch === epoch)).sort()).toEqual(all);
        }
        expect(source.openNow).toBe(0);
      },
    );
    await fc.assert(property, { numRuns: 50 });
  });

  test("a position is small, and is that of its item however late it is asked for", async () => {
    const { dataset } = datasetOf({ "s.tar": numbered(2000, 5) });
    const early: string[] = [];
    const items: DataItem[] = [];
    for await (const item of dataset.read({ seed: 0, epochs: 1 })) {
      items.push(item);
      if (items.length % 500 === 1) early.push(JSON.stringify(item.position));
    }
    const late = items.filter((_, i) => i % 500 === 0).map(({ position }) => JSON.stringify(position));
    expect(late).toEqual(early);
    expect(Math.max(...late.map((text) => text.length))).toBeLessThan(20_000);
  });

  test("samples that do not fit into memory are read again, each alone", async () => {
    const shards = { "a.tar": numbered(6, 3000) };
    const { dataset, source } = datasetOf(shards, { bufferSize: 4, maxBufferBytes: 7000 });
    const items = await itemsOf(dataset, { seed: 0, epochs: 1 });
    const large = await itemsOf(datasetOf(shards, { bufferSize: 4 }).dataset, { seed: 0, epochs: 1 });
    expect(await Promise.all(items.map(contentOf))).toEqual(await Promise.all(large.map(contentOf)));
    expect(source.opened[0]).toBe("a.tar 0-");
    expect(source.opened.length).toBeGreaterThan(1);
    for (const range of source.opened.slice(1)) expect(range).toMatch(/^a\.tar \d+-\d+$/);
  });

  test("a waiting sample that is there no more is a bad sample, and the others still come", async () => {
    const shards = { "a.tar": numbered(4), "b.tar": numbered(4) };
    const [first] = await itemsOf(datasetOf(shards).dataset, { seed: 0, epochs: 1 });
    const { dataset } = datasetOf({ "b.tar": shards["b.tar"] }, { shards: "a.tar::b.tar" });
    const rest = keysOf(await itemsOf(dataset, { seed: 0, epochs: 1, from: first!.position }));
    const isFromA = first!.sample!.key.startsWith("a.tar");
    expect(rest.filter((key) => key === "bad unreadable shard").length).toBe(isFromA ? 3 : 4);
    expect(rest.filter((key) => key.startsWith("b.tar")).length).toBe(isFromA ? 4 : 3);
  });

  test("a position of other shards, weights, seed or order is refused, and so is what is none", async () => {
    const shards = { "a.tar": numbered(3), "b.tar": numbered(3) };
    const options = { seed: 0, epochs: 2 };
    const { position } = (await itemsOf(datasetOf(shards).dataset, options))[1]!;
    const attempt = (from: DataPosition, how: Options = {}, other: Partial<ReadOptions> = {}) =>
      codeOf(() => itemsOf(datasetOf(shards, how).dataset, { ...options, ...other, from }));
    expect(await attempt(position)).toBe("none");
    expect(await attempt(position, { shards: "a.tar" })).toBe("RESUME_MISMATCH");
    expect(await attempt(position, { weights: "1::1" })).toBe("RESUME_MISMATCH");
    expect(await attempt(position, {}, { seed: 1 })).toBe("RESUME_MISMATCH");
    expect(await attempt(position, {}, { shuffle: false })).toBe("RESUME_MISMATCH");
    expect(await attempt({ epoch: 0 })).toBe("RESUME_MISMATCH");
    for (const key of Object.keys(position)) {
      for (const value of [null, -1, 1.5, "0", [], [1, 2], [0, -1, 5, 9], [9, 0, 5], {}, 2 ** 60]) {
        expect(await attempt({ ...position, [key]: value }), `${key} ${JSON.stringify(value)}`).toMatch(
          key === "waiting" && JSON.stringify(value) === "[]" ? "none" : "RESUME_MISMATCH",
        );
      }
    }
  });
});

describe("damage", () => {
  test("of a shard cut at any byte, the samples before the cut are used, and the next shard is read", async () => {
    const shard = numbered(3, 700);
    const sampleBytes = (shard.length - 1024) / 3;
    for (let length = 0; length < shard.length - 512; length += 37) {
      const shards = { "a.tar": shard.subarray(0, length), "b.tar": numbered(1) };
      const items = await itemsOf(datasetOf(shards).dataset, { seed: 0, shuffle: false, epochs: 1 });
      const whole = Math.min(3, Math.floor(length / sampleBytes));
      // A cut between a picture and its caption leaves a picture without one.
      const half = whole < 3 && length % sampleBytes >= 1536 && length % sampleBytes < 1536 + 512 ? 1 : 0;
      const keys = [0, 1, 2].slice(0, whole + half).map((i) => `a.tar/${i}`);
      expect(keysOf(items), `cut at ${length}`).toEqual([...keys, "bad truncated shard", "b.tar/0"]);
    }
  });

  test("a damaged header, a missing shard and a gzip file are told apart", async () => {
    const damaged = joinBytes(...picture("0").map(tarPart), tarPart({ name: "x.jpg", checksum: 1 }), numbered(2));
    const gzip = Uint8Array.of(0x1f, 0x8b, ...new Uint8Array(1000));
    const { dataset } = datasetOf({ "a.tar": damaged, "c.tar": gzip, "d.tar": numbered(1) }, { shards: "{a..d}.tar" });
    const items = await itemsOf(dataset, { seed: 0, shuffle: false, epochs: 1 });
    expect(keysOf(items)).toEqual([
      "a.tar/0",
      "bad damaged shard",
      "bad unreadable shard",
      "bad damaged shard",
      "d.tar/0",
    ]);
    expect(items.flatMap(({ bad }) => bad ?? []).map(({ key, message }) => [key, message])).toEqual([
      ["a.tar", "tar: expected a header, its checksum is wrong (a.tar, offset 2048)"],
      ["b.tar", "b.tar: does not exist"],
      ["c.tar", "tar: is compressed with gzip: expected plain tar (c.tar, offset 0)"],
    ]);
  });

  test("an epoch without any sample is an error that tells the last reason", async () => {
    const { dataset } = datasetOf({ "a.tar": tar([{ name: "a.txt" }]) });
    await expect(itemsOf(dataset, { seed: 0 })).rejects.toThrow(/epoch 0 gave no sample.*a\.tar\/a.*\[DATA_EMPTY\]$/);
    const empty = datasetOf({ "a.tar": tar([]) }).dataset;
    await expect(itemsOf(empty, { seed: 0 })).rejects.toThrow("webdataset a.tar: epoch 0 gave no sample [DATA_EMPTY]");
  });

  test("errors that are not a shard's own end the reading", async () => {
    const source = new MemoryShards({});
    source.open = async function* () {
      yield new Uint8Array(0);
      throw new ToklipError("DATA_INVALID", "no such scheme");
    };
    expect(await codeOf(() => itemsOf(webdataset({ shards: "a.tar", source }), { seed: 0 }))).toBe("DATA_INVALID");
  });

  test("a signal ends it, and leaving closes the shard", async () => {
    const { dataset, source } = datasetOf({ "a.tar": numbered(9) }, { bufferSize: 2 });
    const controller = new AbortController();
    const reading = async () => {
      for await (const _ of dataset.read({ seed: 0, signal: controller.signal })) controller.abort();
    };
    expect(await codeOf(reading)).toBe("ABORTED");
    expect(source.openNow).toBe(0);
    for await (const _ of dataset.read({ seed: 0 })) break;
    expect(source.openNow).toBe(0);
  });

  test("shards are told as they are begun", async () => {
    const events: unknown[] = [];
    const { dataset } = datasetOf({ "a.tar": numbered(1), "b.tar": numbered(1) });
    await itemsOf(dataset, { seed: 0, shuffle: false, epochs: 1, onProgress: (event) => events.push(event) });
    expect(events).toEqual([
      { stage: "read", item: "a.tar", done: 0, total: 2, unit: "files" },
      { stage: "read", item: "b.tar", done: 1, total: 2, unit: "files" },
    ]);
  });

  test.each<[Options, string]>([
    [{ bufferSize: 0 }, "ARGUMENT_INVALID"],
    [{ bufferSize: 1.5 }, "ARGUMENT_INVALID"],
    [{ shards: [] }, "DATA_EMPTY"],
    [{ weights: "1::2" }, "DATA_INVALID"],
    [{ weights: "x" }, "DATA_INVALID"],
    [{ weights: [0] }, "DATA_INVALID"],
    [{ weights: [Number.NaN] }, "DATA_INVALID"],
  ])("%j is refused before anything is read", async (options, code) => {
    expect(await codeOf(() => datasetOf({ "a.tar": numbered(1) }, options))).toBe(code);
  });
});
