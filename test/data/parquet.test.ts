import fc from "fast-check";
import type { CompressionCodec, Encoding } from "hyparquet";
import { describe, expect, test } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { openParquet, type ParquetOptions } from "../../src/data/parquet.ts";
import { PageReader, readDeltaBytes, readDeltaIntegers, readHybrid } from "../../src/data/parquet-encodings.ts";
import { codeOf, valueOrError } from "../files/value-or-error.ts";
import { keyOf, MemoryDataFiles, stored, take } from "./memory-data-files.ts";
import { encodedFile, hubFile, listFile, type PictureRow } from "./parquet-files.ts";

const inOrder = { seed: 0, shuffle: false, epochs: 1 };
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

function pictureRows(count: number): PictureRow[] {
  return Array.from({ length: count }, (_, i) => ({
    image: { bytes: Buffer.from(`picture ${i} `.repeat(10)), path: `${i}.png` },
    caption: `caption ${i}`,
    label: i % 3,
  }));
}

async function itemsOf(bytes: Uint8Array, options: ParquetOptions = {}) {
  const files = new MemoryDataFiles({ "d/x.parquet": bytes, "d/p.png": "from a file" });
  return take(await openParquet(files, ["d/x.parquet"], options), inOrder);
}

describe("a Parquet file of pictures", () => {
  const rows = pictureRows(50);

  test.each<CompressionCodec>(["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4_RAW"])(
    "with %s is read",
    async (codec) => {
      const items = await itemsOf(hubFile(rows, { codec, rowGroupSize: 7, pageSize: 300 }));
      expect(items.map(({ sample }) => sample!.captions)).toEqual(rows.map(({ caption }) => [caption]));
      expect(items.map(keyOf).slice(6, 8)).toEqual(["d/x.parquet/7", "d/x.parquet/8"]);
      const pictures = await Promise.all(items.map(({ sample }) => sample!.image()));
      expect(pictures.map(text)).toEqual(rows.map(({ image }) => text(image!.bytes!)));
    },
  );

  test("has classes as the names that its notes give them", async () => {
    const items = await itemsOf(hubFile(rows), { captionColumn: "label" });
    expect(items.slice(0, 3).map(({ sample }) => sample!.captions)).toEqual([["cat"], ["dog"], ["axolotl"]]);
    expect(items[1]!.sample!.concept).toBe("dog");
    const concepts = await itemsOf(hubFile(rows), { conceptColumn: "label" });
    expect(concepts[1]!.sample).toMatchObject({ captions: ["caption 1"], concept: "dog" });
  });

  test("with paths where there are no bytes has the pictures read, and rows without either counted", async () => {
    const some: PictureRow[] = [
      { image: { bytes: null, path: "p.png" }, caption: null, label: -1 },
      { image: null, caption: "x", label: 0 },
      { image: { bytes: new Uint8Array(0), path: null }, caption: "y", label: 0 },
      { image: { bytes: Buffer.from("B"), path: null }, caption: " z ", label: 0 },
    ];
    const items = await itemsOf(hubFile(some), { conceptColumn: "label" });
    expect(items.map((item) => item.bad?.reason)).toEqual([undefined, "no image", "no image", undefined]);
    expect(text(await items[0]!.sample!.image())).toBe("from a file");
    expect(items[0]!.sample).toMatchObject({ captions: [] });
    expect(items[0]!.sample!.concept).toBeUndefined();
    expect(items[3]!.sample!.captions).toEqual(["z"]);
  });

  test("may have lists of captions, some of them empty or null, over several row groups", async () => {
    const captions = [["a", "b"], [], null, ["c", null, "d", "c"], ["e"]];
    const items = await itemsOf(listFile(["p.png", "p.png", "p.png", "p.png", "q.png"], captions));
    expect(items.map(({ sample }) => sample!.captions)).toEqual([["a", "b"], [], [], ["c", "d"], ["e"]]);
    expect(text(await items[0]!.sample!.image())).toBe("from a file");
    expect(await codeOf(() => items[4]!.sample!.image())).toBe("FILE_NOT_FOUND");
  });

  test.each<[Encoding, Encoding]>([
    ["PLAIN", "PLAIN"],
    ["RLE_DICTIONARY", "RLE_DICTIONARY"],
    ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BINARY_PACKED"],
    ["DELTA_BYTE_ARRAY", "DELTA_BINARY_PACKED"],
  ])("in %s and %s is read, whatever its texts and numbers", async (encoding, numberEncoding) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(fc.constantFrom("p", "pq", "pqr", "x/y", "x/z", "é"), fc.integer({ min: -(2 ** 30), max: 2 ** 30 })),
          {
            minLength: 1,
            maxLength: 300,
          },
        ),
        async (pairs) => {
          const bytes = encodedFile(
            pairs.map(([path]) => path),
            encoding,
            pairs.map(([, n]) => n),
            numberEncoding,
          );
          const items = await itemsOf(bytes, { captionColumn: "path", conceptColumn: "label" });
          expect(items.map(({ sample }) => sample!.captions[0])).toEqual(pairs.map(([path]) => path));
        },
      ),
      { numRuns: 20 },
    );
  });

  test("has its numbers read exactly", async () => {
    const numbers = [0, -1, 2 ** 31 - 1, -(2 ** 31), 7, 7, 7];
    for (const encoding of ["PLAIN", "DELTA_BINARY_PACKED"] as const) {
      const reader = encodedFile(numbers.map(String), "PLAIN", numbers, encoding);
      const files = new MemoryDataFiles({ "x.parquet": reader });
      const dataset = await openParquet(files, ["x.parquet"], { captionColumn: "path" });
      expect((await take(dataset, inOrder)).map(({ sample }) => sample!.captions[0])).toEqual(numbers.map(String));
    }
  });
});

describe("many Parquet files", () => {
  const fileOf = (from: number, count: number) => hubFile(pictureRows(from + count).slice(from), { rowGroupSize: 5 });
  const names = ["a.parquet", "b.parquet", "c.parquet"];
  const files = () =>
    new MemoryDataFiles({ "a.parquet": fileOf(0, 23), "b.parquet": fileOf(23, 40), "c.parquet": fileOf(63, 4) });
  const options = { windowGroups: 3 };

  test("are one data set, each row once an epoch", async () => {
    const dataset = await openParquet(files(), names, options);
    expect(dataset.size).toBe(67);
    const items = await take(dataset, { seed: 1, epochs: 2 });
    const captions = items.map(({ sample }) => sample!.captions[0]!);
    expect(captions.slice(0, 67).toSorted()).toEqual(
      pictureRows(67)
        .map(({ caption }) => caption)
        .toSorted(),
    );
    expect(new Set(captions.slice(67)).size).toBe(67);
    expect(captions.slice(0, 67)).not.toEqual(captions.slice(67));
    const order = items.slice(0, 67).map((item) => keyOf(item).split("/")[0]);
    expect(order.filter((name, i) => i > 0 && name !== order[i - 1]).length).toBeGreaterThan(2);
  });

  test("are read a row group at a time, each once an epoch, the footers first", async () => {
    const memory = files();
    const dataset = await openParquet(memory, names, options);
    memory.reads.length = 0;
    await take(dataset, { seed: 1, epochs: 1 });
    // 5 + 8 + 1 row groups of 4 columns, of which image.bytes, image.path and caption are wanted.
    expect(memory.reads).toHaveLength(14 * 3);
    expect(new Set(memory.reads).size).toBe(14 * 3);
    await take(dataset, { seed: 1, epochs: 1 }, 5);
    expect(memory.reads.length).toBeLessThanOrEqual(14 * 3 + 3 * 3);
  });

  test("go on where they were left, in a new process", async () => {
    const whole = (await take(await openParquet(files(), names, options), { seed: 9, epochs: 2 })).map(keyOf);
    for (const cut of [1, 20, 66, 67, 68, 100]) {
      const head = await take(await openParquet(files(), names, options), { seed: 9, epochs: 2 }, cut);
      const from = stored(head.at(-1)!.position);
      const tail = await take(await openParquet(files(), names, options), { seed: 9, epochs: 2, from });
      expect([...head, ...tail].map(keyOf)).toEqual(whole);
    }
  });

  test("of which one is gone stop a resumed run", async () => {
    const [first] = await take(await openParquet(files(), names, options), { seed: 9 }, 1);
    const fewer = await openParquet(files(), names.slice(0, 2), options);
    expect(await codeOf(() => take(fewer, { seed: 9, from: first!.position }))).toBe("RESUME_MISMATCH");
  });

  test("of which one changes while it is in use are an error", async () => {
    const memory = files();
    const dataset = await openParquet(memory, names, options);
    memory.set("b.parquet", fileOf(0, 39));
    expect(await codeOf(() => take(dataset, { seed: 9, epochs: 1 }))).toBe("DATA_INVALID");
  });
});

describe("a Parquet file that is not as it should be", () => {
  const good = hubFile(pictureRows(12), { rowGroupSize: 4 });

  test.each([
    ["no column of that name", { captionColumn: "captoin" }, 'did you mean "caption"'],
    ["no pictures in the column", { imageColumn: "label" }, 'column "label" holds no pictures'],
    ["a column of structs for captions", { captionColumn: "image" }, 'column "image": expected text'],
  ])("with %s is an error that names it", async (_, options, message) => {
    const error = await valueOrError(() => itemsOf(good, options));
    expect(error).toMatchObject({ code: "DATA_INVALID", message: expect.stringContaining(message) });
  });

  test("with row groups beyond the limit is an error when it is opened", async () => {
    expect(await codeOf(() => itemsOf(good, { maxGroupBytes: 100 }))).toBe("FILE_UNSUPPORTED");
  });

  test("with a damaged page has the rows of that row group bad, and the others read", async () => {
    const bytes = hubFile(pictureRows(12), { codec: "UNCOMPRESSED", rowGroupSize: 4 });
    const at = Buffer.from(bytes).indexOf("picture 5");
    bytes.fill(0xff, at - 4, at); // its length
    const items = await itemsOf(bytes);
    expect(items.map((item) => item.bad?.reason ?? "good")).toEqual(
      [4, 4, 4].flatMap((rows, group) => Array(rows).fill(group === 1 ? "damaged row group" : "good")),
    );
  });

  test("with no rows at all is an empty data set", async () => {
    expect(await codeOf(() => itemsOf(hubFile([])))).toBe("DATA_EMPTY");
    expect(await codeOf(() => openParquet(new MemoryDataFiles(), []))).toBe("DATA_EMPTY");
  });

  const small = (codec: CompressionCodec) => hubFile(pictureRows(8), { codec, rowGroupSize: 4 });
  const result = (bytes: Uint8Array) =>
    valueOrError(async () =>
      Promise.all((await itemsOf(bytes)).map(({ sample }) => sample?.image().catch(codeOfThrown))),
    );
  const codeOfThrown = (thrown: unknown) => {
    if (thrown instanceof ToklipError) return thrown.code;
    throw thrown;
  };

  test("cut anywhere is FILE_CORRUPT", async () => {
    const bytes = small("SNAPPY");
    for (let length = 0; length < bytes.length; length++) {
      expect(await codeOf(() => itemsOf(bytes.subarray(0, length)))).toBe("FILE_CORRUPT");
    }
  });

  test.each<CompressionCodec>(["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4_RAW"])(
    "with %s and bytes changed gives samples, bad ones or a ToklipError",
    async (codec) => {
      const bytes = small(codec);
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 })), {
            minLength: 1,
            maxLength: 4,
          }),
          async (changes) => {
            const changed = bytes.slice();
            for (const [at, value] of changes) changed[at] = value;
            await result(changed);
          },
        ),
        { numRuns: 1500 },
      );
    },
  );

  test("of random bytes between the magic words is an error", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (body) => {
        const tail = Buffer.alloc(4);
        tail.writeUInt32LE(body.length);
        const bytes = Buffer.concat([Buffer.from("PAR1"), body, tail, Buffer.from("PAR1")]);
        expect(await codeOf(() => itemsOf(bytes))).toMatch(/FILE_CORRUPT|DATA_INVALID|DATA_EMPTY/);
      }),
    );
  });
});

describe("encodings of Parquet", () => {
  const reader = (...bytes: number[]) => new PageReader(Uint8Array.from(bytes), "page");

  test("of the format's own examples are read", () => {
    // 0 to 7 in 3 bits each, bit-packed; a run of 4 fives.
    expect([...readHybrid(reader(0x03, 0x88, 0xc6, 0xfa), 3, 8)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect([...readHybrid(reader(0x08, 0x05), 3, 4)]).toEqual([5, 5, 5, 5]);
    // 1 to 5: header <128, 4, 5, 1>, differences of 1 in widths of 0.
    expect([...readDeltaIntegers(reader(0x80, 0x01, 4, 5, 2, 2, 0, 0, 0, 0), 5)]).toEqual([1, 2, 3, 4, 5]);
  });

  test("of runs that claim more than is wanted are cut, and of none refused", async () => {
    expect([...readHybrid(reader(0xfe, 0xff, 0xff, 0xff, 0x0f, 0x01), 1, 3)]).toEqual([1, 1, 1]);
    expect(await codeOf(() => readHybrid(reader(0x00, 0x01), 1, 3))).toBe("FILE_CORRUPT");
    expect(await codeOf(() => readHybrid(reader(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f), 1, 3))).toBe(
      "FILE_CORRUPT",
    );
  });

  test("of blocks without miniblocks are refused, not waited for", async () => {
    expect(await codeOf(() => readDeltaIntegers(reader(0x80, 0x01, 0, 5, 2, 2, 0, 0), 5))).toBe("FILE_CORRUPT");
  });

  test("of prefixes that would fill the memory are refused", async () => {
    // Two byte strings, the first said to share 1 byte with none before it.
    const integers = (a: number, b: number) => [
      0x80,
      0x01,
      4,
      2,
      2 * a,
      b < a ? 2 * (a - b) - 1 : 2 * (b - a),
      0,
      0,
      0,
      0,
    ];
    const bytes = [...integers(0, 3), ...integers(3, 0), 97, 98, 99];
    const { bytes: out, offsets, lengths } = readDeltaBytes(reader(...bytes), 2, 100);
    expect([...offsets].map((at, i) => text(out.subarray(at, at + lengths[i]!)))).toEqual(["abc", "abc"]);
    expect(await codeOf(() => readDeltaBytes(reader(...bytes), 2, 5))).toBe("FILE_CORRUPT");
    const shared = [...integers(1, 3), ...integers(3, 0), 97, 98, 99];
    expect(await codeOf(() => readDeltaBytes(reader(...shared), 2, 100))).toBe("FILE_CORRUPT");
  });
});
