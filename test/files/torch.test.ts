import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ByteSource, memorySource, type NDArray } from "../../src/core/index.ts";
import { type Checkpoint, openSafetensors, openTorch, readTensor, type TorchOptions } from "../../src/files/index.ts";
import { callOf, globalOf, joinBytes, Tuple } from "./pickle-writer.ts";
import { type FakeTensor, f32Bytes, storageOf, tensorOf, torchFile, torchParts } from "./torch-writer.ts";
import { codeOf, readAll } from "./value-or-error.ts";
import { zip } from "./zip-writer.ts";

const golden = (name: string): Uint8Array => readFileSync(new URL(`../goldens/${name}`, import.meta.url));
const open = (bytes: Uint8Array, options?: TorchOptions): Promise<Checkpoint> =>
  openTorch(memorySource(bytes, "x.pt"), options);

async function read(checkpoint: Checkpoint, name: string): Promise<NDArray> {
  const entry = checkpoint.tensors.get(name);
  if (entry === undefined) throw new Error(`no tensor ${name}`);
  return readTensor(entry);
}

/** Four floats 1, 2, 3, 4 in one storage. */
const four: FakeTensor = { key: "0", count: 4, shape: [2, 2], strides: [2, 1] };
const storages = { "0": f32Bytes(1, 2, 3, 4) };
const file = (root: unknown): Uint8Array => torchFile(root, storages);
const dict = (entries: Record<string, unknown>): Map<string, unknown> => new Map(Object.entries(entries));
/** The code that a state dict of this one tensor fails with. */
const codeWith = (members: Partial<FakeTensor>): Promise<string> =>
  codeOf(() => open(file(dict({ w: tensorOf({ ...four, ...members }) }))));

describe("openTorch on the reference's files", () => {
  it("finds the weights of a training checkpoint, without module. and the optimizer", async () => {
    const checkpoint = await open(golden("train/tiny_train_epoch_1.pt"));
    expect(checkpoint.tensors.size).toBe(443);
    expect([...checkpoint.tensors.keys()].some((name) => name.startsWith("module."))).toBe(false);
    expect({ ...checkpoint.metadata }).toEqual({ epoch: 1, name: "golden" });
  });

  it("reads from it what another format holds of the same weights", async () => {
    const trained = await open(golden("train/tiny_train_epoch_1.pt"));
    const after = await openSafetensors(memorySource(golden("train/golden_train.safetensors")));
    const names = [...after.tensors.keys()].filter((name) => name.startsWith("after3."));
    expect(names.length).toBeGreaterThan(50);
    for (const name of names) {
      const [ours, theirs] = [await read(trained, name.slice("after3.".length)), await read(after, name)];
      expect(ours.data).toEqual(theirs.data);
      // The golden keeps its one scalar as a list of one.
      expect(ours.shape.length === 0 ? [1] : ours.shape).toEqual(theirs.shape);
    }
  });

  it("reads a codebook whose normalised rows are the golden's", async () => {
    const checkpoint = await open(golden("tiny/tiny.pt"));
    const expected = await openSafetensors(memorySource(golden("tiny/golden.safetensors")));
    const codebook = (await read(checkpoint, "visual.trunk.vq.quantize.embedding.weight")) as NDArray<"f32">;
    const normalized = (await read(expected, "vq.codebook_normalized")) as NDArray<"f32">;
    expect(codebook.shape).toEqual(normalized.shape);
    const width = codebook.shape[1]!;
    for (let row = 0; row < codebook.shape[0]!; row++) {
      const values = codebook.data.subarray(row * width, (row + 1) * width);
      const norm = Math.hypot(...values);
      for (const [i, value] of values.entries()) {
        expect(value / norm).toBeCloseTo(normalized.data[row * width + i]!, 6);
      }
    }
    expect((await read(checkpoint, "logit_scale")).shape).toEqual([]);
    expect((await read(checkpoint, "logit_bias")).data[0]).toBeCloseTo(-6.3, 6);
  });

  it("has the names and shapes that the key list says, as far as the small model goes", async () => {
    const known = new Set(
      new TextDecoder()
        .decode(golden("keys_256.txt"))
        .split("\n")
        .map((line) => line.split("\t")[0]),
    );
    const shared = [...(await open(golden("tiny/tiny.pt"))).tensors.keys()].filter((name) => !name.includes(".vq."));
    expect(shared.filter((name) => !known.has(name))).toEqual([]);
  });

  it("reads a tokenizer's training file with its arguments as plain data", async () => {
    const checkpoint = await open(golden("ar/vq8_small.pt"));
    const args = { vq_model: "VQ-8", codebook_size: 256, lr: 0.0001 };
    expect(JSON.parse(JSON.stringify(checkpoint.metadata))).toEqual({ steps: 123, args });
  });

  it("reads little more than the directory and the pickle", async () => {
    const bytes = golden("train/tiny_train_epoch_1.pt");
    let total = 0;
    const source: ByteSource = {
      ...memorySource(bytes),
      read: async (offset, length) => {
        total += length;
        return bytes.subarray(offset, offset + length);
      },
    };
    await openTorch(source);
    expect(total).toBeLessThan(300_000);
  });
});

describe("layouts", () => {
  const weights = dict({ w: tensorOf(four) });
  const other = dict({ other: tensorOf(four) });

  it.each<[string, Record<string, unknown>, TorchOptions, string]>([
    ["a bare state dict", { w: tensorOf(four) }, {}, "w"],
    ["state_dict", { epoch: 3, state_dict: weights }, {}, "w"],
    ["state_dict before model", { model: other, state_dict: weights }, {}, "w"],
    ["model before module and ema", { ema: other, module: other, model: weights }, {}, "w"],
    ["module", { ema: other, module: weights }, {}, "w"],
    ["ema when asked", { ema: weights, model: other, state_dict: other }, { weights: "ema" }, "w"],
    ["model when asked", { ema: other, model: weights }, { weights: "model" }, "w"],
    ["a parameter called model", { model: tensorOf(four) }, {}, "model"],
  ])("takes the weights of %s", async (_, root, options, name) => {
    expect([...(await open(file(dict(root)), options)).tensors.keys()]).toEqual([name]);
  });

  it("takes module. from the names only where the first has it", async () => {
    const names = async (...keys: string[]): Promise<string[]> => {
      const root = new Map(keys.map((key) => [key, tensorOf(four)]));
      return [...(await open(file(root))).tensors.keys()];
    };
    expect(await names("module.a", "b", "module.c")).toEqual(["a", "b", "c"]);
    expect(await names("a", "module.b")).toEqual(["a", "module.b"]);
    await expect(names("module.a", "a")).rejects.toThrow('two tensors are called "a"');
  });

  it("never gives other weights than were asked for", async () => {
    await expect(open(file(dict({ model: weights })), { weights: "ema" })).rejects.toThrow(
      'holds no ema weights, only the keys "model" (x.pt) [CHECKPOINT_MISMATCH]',
    );
  });

  it("says what a file without weights holds", async () => {
    const code = (root: unknown): Promise<string> => codeOf(() => open(file(root)));
    await expect(open(file(dict({ epoch: 1, ema: weights })))).rejects.toThrow('only the keys "epoch", "ema"');
    await expect(open(file(callOf(globalOf("my.models", "ViT"), [])))).rejects.toThrow("holds a pickled my.models.ViT");
    expect(await code(7)).toBe("FILE_UNSUPPORTED");
    expect(await code(new Map())).toBe("FILE_UNSUPPORTED");
  });

  it("keeps what else the file says as inert plain data", async () => {
    const call = callOf(globalOf("os", "system"), ["touch /tmp/owned"]);
    const root = {
      state_dict: weights,
      call,
      rng: tensorOf(four),
      optimizer: dict({ state: tensorOf(four) }),
      n: 2n ** 62n,
    };
    const { metadata } = await open(file(dict(root)));
    expect(JSON.parse(JSON.stringify(metadata))).toEqual({
      call: { class: "os.system", args: ["touch /tmp/owned"] },
      n: "4611686018427387904",
    });
  });

  it("takes tensors and metadata called __proto__ as any other", async () => {
    const root = new Map<string, unknown>([
      ["__proto__", new Map([["w", 1]])],
      ["state_dict", new Map([["__proto__", tensorOf(four)]])],
    ]);
    const checkpoint = await open(file(root));
    expect([...checkpoint.tensors.keys()]).toEqual(["__proto__"]);
    expect(JSON.stringify(checkpoint.metadata)).toBe('{"__proto__":{"w":1}}');
    expect(({} as Record<string, unknown>).w).toBeUndefined();
  });
});

describe("tensors", () => {
  it.each<[string, Partial<FakeTensor>, number[]]>([
    ["dense", {}, [1, 2, 3, 4]],
    ["transposed", { strides: [1, 2] }, [1, 3, 2, 4]],
    ["a column", { shape: [2], strides: [2], offset: 1 }, [2, 4]],
    ["a scalar", { shape: [], strides: [], offset: 3 }, [4]],
    ["expanded", { shape: [2, 2], strides: [0, 1], offset: 1 }, [2, 3, 2, 3]],
    ["empty", { shape: [0, 5], strides: [5, 1], offset: 4 }, []],
  ])("reads one that is %s", async (_, members, expected) => {
    const checkpoint = await open(file(dict({ w: tensorOf({ ...four, ...members }) })));
    expect([...(await read(checkpoint, "w")).data]).toEqual(expected);
  });

  it.each<[string, string, Uint8Array, unknown[]]>([
    ["DoubleStorage", "f64", new Uint8Array(Float64Array.of(1.5, -2).buffer), [1.5, -2]],
    ["HalfStorage", "f16", Uint8Array.of(0, 0x3e, 1, 0), [0x3e00, 1]],
    ["BFloat16Storage", "bf16", Uint8Array.of(0x80, 0x3f, 0, 0), [0x3f80, 0]],
    ["LongStorage", "i64", new Uint8Array(BigInt64Array.of(-1n, 2n ** 60n).buffer), [-1n, 2n ** 60n]],
    ["IntStorage", "i32", new Uint8Array(Int32Array.of(-1, 7).buffer), [-1, 7]],
    ["ShortStorage", "i16", new Uint8Array(Int16Array.of(-1, 7).buffer), [-1, 7]],
    ["CharStorage", "i8", Uint8Array.of(255, 7), [-1, 7]],
    ["ByteStorage", "u8", Uint8Array.of(255, 7), [255, 7]],
    ["BoolStorage", "bool", Uint8Array.of(0, 1), [0, 1]],
  ])("reads a %s", async (storage, dtype, bytes, expected) => {
    const tensor = { key: "k", count: 2, shape: [2], strides: [1], storage };
    const array = await read(await open(torchFile(dict({ w: tensorOf(tensor) }), { k: bytes })), "w");
    expect([array.dtype, [...array.data]]).toEqual([dtype, expected]);
  });

  it("reads tensors of untyped storages, parameters and subclasses", async () => {
    const untyped = callOf(globalOf("torch._utils", "_rebuild_tensor_v3"), [
      storageOf("0", "UntypedStorage", 16),
      1,
      new Tuple(3),
      new Tuple(2),
      false,
      null,
      globalOf("torch", "uint16"),
      false,
    ]);
    const parameter = callOf(globalOf("torch._utils", "_rebuild_parameter"), [tensorOf(four), true, null]);
    const plainArgs = new Tuple(storageOf("0", "FloatStorage", 4), 0, new Tuple(4), new Tuple(1), false, null);
    const subclass = callOf(globalOf("torch._tensor", "_rebuild_from_type_v2"), [
      globalOf("torch._utils", "_rebuild_tensor_v2"),
      globalOf("my", "Tensor"),
      plainArgs,
      null,
    ]);
    const checkpoint = await open(file(dict({ untyped, parameter, subclass })));
    expect(checkpoint.tensors.get("untyped")!.dtype).toBe("u16");
    expect((await read(checkpoint, "untyped")).shape).toEqual([3]);
    expect([...(await read(checkpoint, "parameter")).data]).toEqual([1, 2, 3, 4]);
    expect([...(await read(checkpoint, "subclass")).data]).toEqual([1, 2, 3, 4]);
  });

  it.each<[string, Partial<FakeTensor>, string]>([
    ["a negative dimension", { shape: [-2, 2] }, "FILE_CORRUPT"],
    ["a dimension of 2^60", { shape: [2n ** 60n, 1] }, "FILE_CORRUPT"],
    ["dimensions whose product is 2^80", { shape: [2n ** 40n, 2n ** 40n], strides: [0, 0] }, "FILE_CORRUPT"],
    ["a dimension of NaN", { shape: [Number.NaN, 1] }, "FILE_CORRUPT"],
    ["a fraction of a dimension", { shape: [1.5, 1] }, "FILE_CORRUPT"],
    ["a hundred dimensions", { shape: new Array(100).fill(1), strides: new Array(100).fill(1) }, "FILE_CORRUPT"],
    ["a million copies of one element", { shape: [1000, 1000], strides: [0, 0] }, "FILE_CORRUPT"],
    ["a negative stride", { strides: [-2, 1] }, "FILE_CORRUPT"],
    ["a stride of 2^60", { strides: [2n ** 60n, 1] }, "FILE_CORRUPT"],
    ["a stride past the storage", { strides: [3, 1] }, "FILE_CORRUPT"],
    ["fewer strides than dimensions", { strides: [1] }, "FILE_CORRUPT"],
    ["an offset past the storage", { offset: 1 }, "FILE_CORRUPT"],
    ["a negative offset", { offset: -1 }, "FILE_CORRUPT"],
    ["a storage larger than its record", { count: 5 }, "FILE_CORRUPT"],
    ["a storage smaller than its record", { count: 3, shape: [1], strides: [1] }, "FILE_CORRUPT"],
    ["a storage of another type", { storage: "DoubleStorage" }, "FILE_CORRUPT"],
    ["a storage that is not there", { key: "1" }, "FILE_CORRUPT"],
    ["a storage called __proto__", { key: "__proto__" }, "FILE_CORRUPT"],
    ["a storage outside its folder", { key: "../data.pkl" }, "FILE_CORRUPT"],
    ["complex numbers", { storage: "ComplexFloatStorage" }, "FILE_UNSUPPORTED"],
  ])("refuses %s", async (_, members, code) => {
    expect(await codeWith(members)).toBe(code);
  });

  it("does not mind what is wrong with tensors nobody reads", async () => {
    const broken = tensorOf({ ...four, key: "missing", storage: "ComplexFloatStorage", shape: [-1] });
    const root = dict({ state_dict: dict({ w: tensorOf(four) }), optimizer: dict({ state: broken }) });
    expect((await open(file(root))).tensors.size).toBe(1);
  });
});

describe("archives", () => {
  const parts = torchParts(dict({ w: tensorOf(four) }), storages);

  it("refuses what is no checkpoint, and other byte orders", async () => {
    const big = parts.map((part) => (part.name.endsWith("byteorder") ? { ...part, bytes: joinBytes("big") } : part));
    await expect(open(zip(big))).rejects.toThrow("byte order is not little-endian (x.pt) [FILE_UNSUPPORTED]");
    const script = [...parts, { name: "archive/constants.pkl", bytes: joinBytes(")") }];
    await expect(open(zip(script))).rejects.toThrow("a TorchScript archive");
    await expect(open(zip([]))).rejects.toThrow("without one data.pkl");
    await expect(open(zip([...parts, { ...parts[0]!, name: "b/data.pkl" }]))).rejects.toThrow("without one data.pkl");
    const withoutOrder = parts.filter((part) => !part.name.endsWith("byteorder"));
    expect((await open(zip(withoutOrder))).tensors.size).toBe(1);
  });

  it("gives a value or a ToklipError for every truncation and every flipped bit of a small file", async () => {
    const bytes = zip(parts);
    for (let length = 0; length < bytes.length; length++) {
      expect(await codeOf(() => open(bytes.subarray(0, length)))).toBe("FILE_CORRUPT");
    }
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      await readAll((source) => openTorch(source), flipped);
    }
  });

  it("gives a value or a ToklipError for any bytes as data.pkl", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
        await readAll((source) => openTorch(source), zip([{ name: "a/data.pkl", bytes }]));
      }),
      { numRuns: 500 },
    );
  });
});
