// Pictures that come as ids, from shards, lines and Parquet: the ids, the texts, and what is not ids is a bad sample.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ndarray } from "../../src/core/index.ts";
import type { DataItem, Dataset, IdsSample, ReadOptions } from "../../src/data/dataset.ts";
import { openIdsTable } from "../../src/data/ids-table.ts";
import { openIdsParquet } from "../../src/data/parquet.ts";
import { idsOfJson, readPictureIds } from "../../src/data/picture-ids.ts";
import { idsWebdataset } from "../../src/data/webdataset.ts";
import { writeNpy } from "../../src/files/npy.ts";
import { tar } from "../files/tar-writer.ts";
import { codeOf } from "../files/value-or-error.ts";
import { MemoryDataFiles } from "./memory-data-files.ts";
import { bytesOf, MemoryShards } from "./memory-shards.ts";
import { idsFile } from "./parquet-files.ts";

const inOrder: ReadOptions = { seed: 0, shuffle: false, epochs: 1 };

async function read(dataset: Dataset<IdsSample>, options = inOrder): Promise<DataItem<IdsSample>[]> {
  const items: DataItem<IdsSample>[] = [];
  for await (const item of dataset.read(options)) items.push(item);
  return items;
}

const idsOf = (items: readonly DataItem<IdsSample>[]) =>
  items.map(({ sample, bad }) => (sample ? [...sample.ids] : bad!.reason));

async function npy(array: Parameters<typeof writeNpy>[1]): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  await writeNpy({ write: async (bytes) => void parts.push(bytes.slice()) }, array);
  return Buffer.concat(parts);
}

/** As LlamaGen stores what a picture and its mirror image are: int64 (1, 2, N). */
const STORED = ndarray("i64", [1, 2, 3], BigInt64Array.of(5n, 6n, 7n, 8n, 9n, 10n));

describe("shards of ids", () => {
  const archive = async () =>
    tar([
      { name: "a.npy", bytes: await npy(STORED) },
      { name: "a.txt", bytes: bytesOf("a red box") },
      { name: "b.json", bytes: bytesOf('{"captions": ["one", "two"], "concept": "box"}') },
      { name: "b.ids", bytes: bytesOf("[[1, 2, 3], [4, 5, 6]]") },
      { name: "c.txt", bytes: bytesOf("no ids") },
      { name: "d.ids", bytes: bytesOf("[1, -2, 3]") },
      { name: "e.npy", bytes: await npy(ndarray("f32", [3])) },
      { name: "f.ids", bytes: bytesOf('{"file": "f.png", "grid": [1, 3], "ids": [0, 0, 2]}') },
    ]);

  test("have arrays or JSON in the place of pictures, and captions beside them", async () => {
    const source = new MemoryShards({ "s.tar": await archive() });
    const items = await read(idsWebdataset({ shards: "s.tar", source }));
    expect(idsOf(items)).toEqual([
      [5, 6, 7, 8, 9, 10],
      [1, 2, 3, 4, 5, 6],
      "no ids",
      "unreadable",
      "unreadable",
      [0, 0, 2],
    ]);
    expect(items[0]!.sample).toMatchObject({ key: "s.tar/a", captions: ["a red box"] });
    expect(items[1]!.sample).toMatchObject({ captions: ["one", "two"], concept: "box" });
    expect(items[3]!.bad!.message).toMatch(/^s\.tar\/d: an id is no whole number from 0 to 2147483647$/);
    expect(items[4]!.bad!.message).toMatch(/f32, expected whole numbers/);
  });

  test("are read on from any position, waiting samples included", async () => {
    const source = new MemoryShards({ "s.tar": await archive(), "t.tar": await archive() });
    const dataset = idsWebdataset({ shards: "s.tar::t.tar", source, bufferSize: 3 });
    const all = await read(dataset, { seed: 3, epochs: 2 });
    for (const [i, { position }] of all.entries()) {
      const rest = await read(dataset, { seed: 3, epochs: 2, from: JSON.parse(JSON.stringify(position)) });
      expect(idsOf(rest)).toEqual(idsOf(all.slice(i + 1)));
    }
  });
});

describe("lines of ids", () => {
  const open = (lines: readonly string[], options = {}) =>
    openIdsTable(new MemoryDataFiles({ "d/x.jsonl": lines.join("\n") }), "d/x.jsonl", options);

  test("are those of tokenize with captions added", async () => {
    const items = await read(
      await open([
        '{"file": "a.png", "grid": [1, 2], "ids": [3, 4], "captions": [" one ", "two", "one"], "concept": "c"}',
        '{"file": "b.png", "ids": [[3, 4], [5, 6]], "caption": "three"}',
        '{"file": "c.png", "ids": []}',
        '{"file": "d.png", "ids": [1.5]}',
        '{"file": "e.png"}',
      ]),
    );
    expect(idsOf(items)).toEqual([[3, 4], [3, 4, 5, 6], "malformed row", "malformed row", "malformed row"]);
    expect(items[0]!.sample).toMatchObject({ key: "d/x.jsonl/1", captions: ["one", "two"], concept: "c" });
    expect(items[1]!.sample!.captions).toEqual(["three"]);
  });

  test("may name their columns otherwise; one that is not there is an error", async () => {
    const lines = ['{"z": [1], "words": "w"}'];
    const [item] = await read(await open(lines, { idsColumn: "z", captionColumn: "words" }));
    expect(item!.sample).toMatchObject({ ids: Int32Array.of(1), captions: ["w"] });
    expect(await codeOf(() => open(lines))).toBe("DATA_INVALID");
    expect(await codeOf(() => openIdsTable(new MemoryDataFiles({ "x.csv": "ids\n1" }), "x.csv"))).toBe(
      "FILE_UNSUPPORTED",
    );
  });
});

test("Parquet files have lists of ids, or lists of lists", async () => {
  const rows = [
    {
      ids: [
        [1, 2],
        [3, 4],
      ],
      captions: ["one", "two"],
    },
    { ids: [[5, 6]], captions: ["three"] },
    { ids: [], captions: ["none"] },
  ];
  const dataset = await openIdsParquet(new MemoryDataFiles({ "x.parquet": idsFile(rows) }), ["x.parquet"]);
  const items = await read(dataset);
  expect(idsOf(items)).toEqual([[1, 2, 3, 4], [5, 6], "malformed row"]);
  expect(items.map(({ sample }) => sample?.captions)).toEqual([["one", "two"], ["three"], undefined]);
});

test("a file of random bytes, or a torn one, gives ids or FILE_CORRUPT or FILE_UNSUPPORTED", async () => {
  const whole = await npy(STORED);
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    fc.nat(whole.length).map((length) => whole.subarray(0, length)),
    fc
      .tuple(fc.nat(whole.length - 1), fc.nat(255))
      .map(([at, value]) => Uint8Array.from(whole).fill(value, at, at + 1)),
    fc.json().map(bytesOf),
  );
  await fc.assert(
    fc.asyncProperty(bytes, async (file) => {
      const code = await codeOf(() => readPictureIds(file, "x"));
      expect(["none", "FILE_CORRUPT", "FILE_UNSUPPORTED"]).toContain(code);
    }),
    { numRuns: 300 },
  );
});

test("lists of ids are flattened in order, and nothing else is taken for ids", () => {
  expect([...idsOfJson([[1, 2], [3]], "x")]).toEqual([1, 2, 3]);
  for (const wrong of [null, "1", 1, [], [[]], [null], ["1"], [2 ** 31], [[[1]]], new Map()]) {
    expect(() => idsOfJson(wrong as never, "x"), JSON.stringify(wrong)).toThrow(/^x: .*\[FILE_CORRUPT\]$/);
  }
});
