import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ByteSource, DTYPES, type DType, memorySource } from "../../src/core/index.ts";
import {
  type Checkpoint,
  openSafetensors,
  openShardedSafetensors,
  readTensor,
  type TensorSpec,
  writeSafetensors,
  writeShardedSafetensors,
} from "../../src/files/index.ts";
import { MemoryFiles } from "./memory-files.ts";
import { joinBytes, u64 } from "./pickle-writer.ts";
import { codeOf, readAll } from "./value-or-error.ts";

const golden = (name: string): Uint8Array => readFileSync(new URL(`../goldens/${name}`, import.meta.url));

/** A file of this header text and this many bytes of data. */
function file(header: string, dataBytes: number): Uint8Array {
  const text = new TextEncoder().encode(header);
  return joinBytes(u64(text.length), text, new Uint8Array(dataBytes));
}

const open = (bytes: Uint8Array): Promise<Checkpoint> => openSafetensors(memorySource(bytes, "x.safetensors"));
const openCode = (bytes: Uint8Array): Promise<string> => codeOf(() => open(bytes));

/** A header of one F32 tensor `a`, some members replaced. */
function header(members: Record<string, string>): string {
  const all = { dtype: '"F32"', shape: "[2]", data_offsets: "[0,8]", ...members };
  return `{"a":{${Object.entries(all).map(([key, value]) => `"${key}":${value}`)}}}`;
}

async function write(
  tensors: (TensorSpec & { bytes: Uint8Array })[],
  metadata?: Record<string, string>,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  const sink = { write: async (bytes: Uint8Array) => void pieces.push(bytes.slice()) };
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor.bytes]));
  await writeSafetensors(sink, tensors, async (name) => byName.get(name)!, metadata);
  return joinBytes(...pieces);
}

const arbitraryTensors = fc.uniqueArray(
  fc
    .record({
      name: fc.string({ unit: "binary", maxLength: 12 }).filter((name) => name !== "__metadata__"),
      dtype: fc.constantFrom(...(Object.keys(DTYPES) as DType[])),
      shape: fc.array(fc.nat(4), { maxLength: 3 }),
      seed: fc.nat(255),
    })
    .map(({ seed, ...tensor }) => {
      const length = tensor.shape.reduce((a, b) => a * b, 1) * DTYPES[tensor.dtype].bytes;
      return { ...tensor, bytes: Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 255) };
    }),
  { selector: ({ name }) => name, maxLength: 6 },
);

describe("openSafetensors", () => {
  it("reads what the reference implementation wrote", async () => {
    const manifest = JSON.parse(new TextDecoder().decode(golden("tiny/golden.json")));
    const checkpoint = await open(golden("tiny/golden.safetensors"));
    const codes = await readTensor(checkpoint.tensors.get("vq.codes")!);
    expect(codes.shape).toEqual([...manifest.tensors["vq.codes"].shape]);
    const features = await readTensor(checkpoint.tensors.get("image_features_norm")!);
    const norm = (features.data as Float32Array).subarray(0, features.shape[1]).reduce((sum, x) => sum + x * x, 0);
    expect(norm).toBeCloseTo(1, 6);
  });

  it("opens every golden file", async () => {
    const names = ["metrics/golden_retrieval", "metrics/golden_zeroshot", "train/golden_train", "ar/vq8_small"];
    for (const name of names) {
      const checkpoint = await open(golden(`${name}.safetensors`));
      expect(checkpoint.tensors.size).toBeGreaterThan(0);
      for (const entry of checkpoint.tensors.values()) await readTensor(entry);
    }
  });

  it("gives a tensor memory of its own", async () => {
    const bytes = file(header({}), 8);
    const { data } = await readTensor((await open(bytes)).tensors.get("a")!);
    data.fill(7 as never);
    expect(bytes.at(-1)).toBe(0);
  });

  it.each([
    ["a negative dimension", header({ shape: "[-2]" })],
    ["a fraction of a dimension", header({ shape: "[2.5]" })],
    ["a dimension of 2^60", header({ shape: "[1152921504606846976]" })],
    ["dimensions whose product is 2^80", header({ shape: "[1099511627776,1099511627776]" })],
    ["a dimension that is text", header({ shape: '["2"]' })],
    ["a dimension of NaN", header({ shape: "[NaN]" })],
    ["an infinite dimension", header({ shape: "[1e999]" })],
    ["a shape that is no list", header({ shape: "2" })],
    ["a hundred dimensions", header({ shape: `[${new Array(100).fill(1)},2]` })],
    ["offsets in the wrong order", header({ data_offsets: "[8,0]" })],
    ["one offset", header({ data_offsets: "[8]" })],
    ["three offsets", header({ data_offsets: "[0,8,8]" })],
    ["negative offsets", header({ data_offsets: "[-8,0]" })],
    ["offsets that do not fit the shape", header({ shape: "[3]" })],
    ["a hole before the first tensor", header({ shape: "[1]", data_offsets: "[4,8]" })],
    ["bytes after the last tensor", header({ shape: "[1]", data_offsets: "[0,4]" })],
    ["a tensor beyond the file", header({ shape: "[4]", data_offsets: "[0,16]" })],
    ["a tensor that is no object", '{"a":[]}'],
    ["a tensor named twice", `${header({}).slice(0, -1)},${header({}).slice(1)}`],
    ["metadata that are no strings", '{"__metadata__":{"a":1}}'],
    ["a header that is a list", "[]"],
    ["a header with space before it", ` ${header({})}`],
    ["a header with a byte order mark", `\ufeff${header({})}`],
    ["text after the header", `${header({})}x`],
    ["no header", ""],
  ])("refuses %s", async (_, text) => {
    expect(await openCode(file(text, 8))).toBe("FILE_CORRUPT");
  });

  it("refuses overlaps and holes between tensors", async () => {
    const two = (a: string, b: string): string =>
      `{"a":{"dtype":"U8","shape":[4],"data_offsets":${a}},"b":{"dtype":"U8","shape":[4],"data_offsets":${b}}}`;
    await expect(open(file(two("[0,4]", "[2,6]"), 6))).rejects.toThrow("an overlap");
    await expect(open(file(two("[0,4]", "[6,10]"), 10))).rejects.toThrow("a hole");
    await expect(open(file(two("[0,4]", "[0,4]"), 4))).rejects.toThrow("an overlap");
    expect((await open(file(two("[4,8]", "[0,4]"), 8))).tensors.size).toBe(2);
  });

  it("says what is wrong, and where", async () => {
    const bytes = joinBytes(u64(9_000_000_000), new Uint8Array(1226));
    await expect(open(bytes)).rejects.toThrowErrorMatchingInlineSnapshot(
      `[ToklipError: safetensors: header length 9000000000 exceeds the file's 1234 bytes (x.safetensors, offset 0) [FILE_CORRUPT]]`,
    );
    await expect(open(file(header({ dtype: '"F8_E4M3"' }), 8))).rejects.toThrow(
      'tensor "a" has dtype "F8_E4M3", expected one of F64,F32',
    );
    expect(await openCode(file(header({ dtype: "null" }), 8))).toBe("FILE_UNSUPPORTED");
  });

  it("refuses a header beyond 100 MB before it reads it", async () => {
    const huge: ByteSource = {
      name: "huge",
      byteLength: 2 ** 40,
      read: async (_, length) => {
        if (length > 8) throw new Error("read the header");
        return Uint8Array.from(u64(100_000_001));
      },
    };
    await expect(openSafetensors(huge)).rejects.toThrow("exceeds the allowed 100000000 bytes");
  });

  it("takes a tensor and metadata called __proto__ as any other", async () => {
    const text = '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{"__proto__":"p"}}';
    const checkpoint = await open(file(text, 1));
    expect([...checkpoint.tensors.keys()]).toEqual(["__proto__"]);
    expect(Object.entries(checkpoint.metadata)).toEqual([["__proto__", "p"]]);
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
  });

  it("gives a value or a ToklipError for every truncation and every flipped bit of a small file", async () => {
    const bytes = await write([
      { name: "a", dtype: "f32", shape: [2, 1], bytes: new Uint8Array(8) },
      { name: "b", dtype: "u8", shape: [3], bytes: new Uint8Array(3) },
    ]);
    for (let length = 0; length < bytes.length; length++) {
      expect(await openCode(bytes.subarray(0, length))).not.toBe("none");
    }
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      await readAll(openSafetensors, flipped);
    }
  });

  it("gives a value or a ToklipError for random bytes after a plausible length", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.nat(200), async (bytes, length) => {
        await readAll(openSafetensors, joinBytes(u64(length), bytes));
        await readAll(openSafetensors, bytes);
      }),
    );
  });
});

describe("writeSafetensors", () => {
  it("writes what openSafetensors reads back: names, dtypes, shapes, bytes and metadata", async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryTensors, fc.dictionary(fc.string(), fc.string()), async (tensors, metadata) => {
        const checkpoint = await open(await write(tensors, metadata));
        expect(new Set(checkpoint.tensors.keys())).toEqual(new Set(tensors.map(({ name }) => name)));
        expect(new Map(Object.entries(checkpoint.metadata))).toEqual(new Map(Object.entries(metadata)));
        for (const { name, dtype, shape, bytes } of tensors) {
          const entry = checkpoint.tensors.get(name)!;
          const { data } = await readTensor(entry);
          expect([entry.dtype, entry.shape]).toEqual([dtype, shape]);
          expect(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).toEqual(bytes);
          expect(entry.offset % DTYPES[dtype].bytes).toBe(0);
        }
      }),
    );
  });

  it("begins the data at a multiple of 64 bytes", async () => {
    for (let length = 1; length < 70; length++) {
      const bytes = await write([{ name: "n".repeat(length), dtype: "u8", shape: [1], bytes: new Uint8Array(1) }]);
      expect(bytes.length % 64).toBe(1);
    }
  });

  it("refuses data of the wrong length, names that come twice, reserved names and impossible shapes", async () => {
    const tensor = { name: "a", dtype: "f32", shape: [2], bytes: new Uint8Array(8) } as const;
    const code = (...tensors: Parameters<typeof write>[0]): Promise<string> => codeOf(() => write(tensors));
    expect(await code({ ...tensor, bytes: new Uint8Array(7) })).toBe("ARGUMENT_INVALID");
    expect(await code({ ...tensor, bytes: new Uint8Array(9) })).toBe("ARGUMENT_INVALID");
    expect(await code(tensor, tensor)).toBe("ARGUMENT_INVALID");
    expect(await code({ ...tensor, name: "__metadata__" })).toBe("ARGUMENT_INVALID");
    expect(await code({ ...tensor, shape: [-2] })).toBe("ARGUMENT_INVALID");
    expect(await code(tensor)).toBe("none");
  });
});

describe("sharded checkpoints", () => {
  const tensors: TensorSpec[] = Array.from({ length: 10 }, (_, i) => ({ name: `t${i}`, dtype: "u8", shape: [10 + i] }));
  const data = async (name: string): Promise<Uint8Array> =>
    new Uint8Array(10 + Number(name.slice(1))).fill(Number(name.slice(1)));

  async function written(shardBytes: number): Promise<MemoryFiles> {
    const folder = new MemoryFiles();
    const { openSink } = folder;
    const names = await writeShardedSafetensors(tensors, data, { openSink, fileName: "model.safetensors", shardBytes });
    expect(names).toEqual([...folder.files.keys()]);
    return folder;
  }

  it("writes one plain file where everything fits", async () => {
    expect([...(await written(1000)).files.keys()]).toEqual(["model.safetensors"]);
  });

  it("splits at the shard size, writes the index last, and reads it all back", async () => {
    const folder = await written(60);
    const names = [...folder.files.keys()];
    expect(names[0]).toBe("model-00001-of-00003.safetensors");
    expect(names).toHaveLength(4);
    expect(names.at(-1)).toBe("model.safetensors.index.json");
    const checkpoint = await openShardedSafetensors(await folder.openSibling(names.at(-1)!), folder.openSibling);
    expect([...checkpoint.tensors.keys()]).toEqual(tensors.map(({ name }) => name));
    for (const entry of checkpoint.tensors.values()) {
      expect((await readTensor(entry)).data).toEqual(await data(entry.name));
    }
  });

  it("shows no file when one tensor fails", async () => {
    const folder = new MemoryFiles();
    const failing = async (name: string): Promise<Uint8Array> => {
      if (name === "t9") throw new Error("disk on fire");
      return data(name);
    };
    const options = { openSink: folder.openSink, fileName: "model.safetensors", shardBytes: 30 };
    await expect(writeShardedSafetensors(tensors, failing, options)).rejects.toThrow("disk on fire");
    expect(folder.files.size).toBe(0);
    expect(folder.aborted).toBeGreaterThan(5);
  });

  it.each(["../secret", "/etc/passwd", "a/b", "a\\b", "C:model", "..", ".", "", "a\u0000b", 7, null, {}])(
    "refuses an index that names the file %j",
    async (name) => {
      const index = new TextEncoder().encode(JSON.stringify({ weight_map: { a: name } }));
      let opened = 0;
      const sibling = async (): Promise<ByteSource> => memorySource(new Uint8Array(opened++));
      expect(await codeOf(() => openShardedSafetensors(memorySource(index), sibling))).toBe("FILE_CORRUPT");
      expect(opened).toBe(0);
    },
  );

  it("closes the shards it opened when a later one fails", async () => {
    const folder = await written(60);
    const [first, second] = folder.files.keys();
    folder.files.set(second!, new Uint8Array(3));
    const closed: string[] = [];
    const sibling = async (name: string): Promise<ByteSource> => ({
      ...(await folder.openSibling(name)),
      close: async () => void closed.push(name),
    });
    const index = await folder.openSibling("model.safetensors.index.json");
    await expect(openShardedSafetensors(index, sibling)).rejects.toThrow("too few for a header");
    expect(closed.sort()).toEqual([first, second]);
  });

  it("refuses an index that names a tensor its shard lacks", async () => {
    const folder = await written(1000);
    const index = new TextEncoder().encode(JSON.stringify({ weight_map: { t11: "model.safetensors" } }));
    await expect(openShardedSafetensors(memorySource(index), folder.openSibling)).rejects.toThrow(
      'lacks the tensor "t11"',
    );
  });
});
