import { describe, expect, it } from "vitest";
import {
  bytesOf,
  type DType,
  fromF32,
  memorySource,
  type ProgressEvent,
  type TypedArray,
} from "../../src/core/index.ts";
import { type Checkpoint, openCheckpoint, readTensor, type TensorEntry } from "../../src/files/index.ts";
import { type ConvertOptions, convertCheckpoint } from "../../src/pipelines/convert.ts";
import { MemoryFiles } from "../files/memory-files.ts";

function checkpointOf(tensors: Record<string, [DType, number[], TypedArray, number[]?]>): Checkpoint {
  const entries = Object.entries(tensors).map(([name, [dtype, shape, data, strides]]): [string, TensorEntry] => [
    name,
    { name, dtype, shape, source: memorySource(bytesOf(data), name), offset: 0, ...(strides && { strides }) },
  ]);
  return { format: "torch", name: "x.pt", tensors: new Map(entries), metadata: { epoch: 1 }, close: async () => {} };
}

async function convert(checkpoint: Checkpoint, options: Partial<ConvertOptions> = {}) {
  const folder = new MemoryFiles();
  const result = await convertCheckpoint(checkpoint, { openSink: folder.openSink, ...options });
  const last = await folder.openSibling(result.files.at(-1)!);
  return { folder, result, checkpoint: await openCheckpoint(last, folder.openSibling) };
}

const values = Float32Array.of(0, -1.5, 1 / 3, 65519, 1e-7, Number.POSITIVE_INFINITY);
const small = checkpointOf({
  f32: ["f32", [2, 3], values],
  f16: ["f16", [6], fromF32("f16", values)],
  bf16: ["bf16", [6], fromF32("bf16", values)],
  f64: ["f64", [6], Float64Array.from(values)],
  ids: ["i64", [2], BigInt64Array.of(-1n, 2n ** 60n)],
  flags: ["bool", [2], Uint8Array.of(0, 1)],
  transposed: ["f32", [3, 2], values, [1, 3]],
});

describe("convertCheckpoint", () => {
  it("keeps every tensor bit by bit, strided ones made dense", async () => {
    const { checkpoint, result } = await convert(small);
    expect(new Set(checkpoint.tensors.keys())).toEqual(new Set(small.tensors.keys()));
    for (const [name, entry] of small.tensors) {
      expect(await readTensor(checkpoint.tensors.get(name)!)).toEqual(await readTensor(entry));
    }
    expect({ ...checkpoint.metadata }).toEqual({ format: "pt" });
    expect(result).toEqual({ files: ["model.safetensors"], tensors: 7, bytes: 138, overflowed: [] });
  });

  it.each([
    ["fp32", "f32"],
    ["fp16", "f16"],
    ["bf16", "bf16"],
  ] as const)("makes all floats %s and keeps integers", async (precision, dtype) => {
    const { checkpoint } = await convert(small, { precision });
    const at = async (name: string) => readTensor(checkpoint.tensors.get(name)!);
    for (const name of ["f32", "f16", "bf16", "f64", "transposed"]) expect((await at(name)).dtype).toBe(dtype);
    expect((await at("f32")).data).toEqual(fromF32(dtype, values));
    expect((await at("f64")).data).toEqual(fromF32(dtype, values));
    expect((await at("ids")).data).toEqual(BigInt64Array.of(-1n, 2n ** 60n));
    expect((await at("flags")).dtype).toBe("bool");
  });

  it("names the tensors that a half float cannot hold", async () => {
    const checkpoint = checkpointOf({
      fine: ["f32", [2], Float32Array.of(65519.9, Number.NEGATIVE_INFINITY)],
      large: ["f32", [2], Float32Array.of(1, -65520)],
    });
    expect((await convert(checkpoint, { precision: "fp16" })).result.overflowed).toEqual(["large"]);
    expect((await convert(checkpoint, { precision: "bf16" })).result.overflowed).toEqual([]);
  });

  it("takes the tensors asked for, splits, and keeps the strings of a safetensors file", async () => {
    const first = await convert(small, { metadata: { made_by: "test" } });
    const second = await convert(first.checkpoint, { filter: ({ name }) => name !== "flags", shardBytes: 40 });
    expect(second.result.files.at(-1)).toBe("model.safetensors.index.json");
    expect([...second.folder.files.keys()]).toEqual(second.result.files);
    expect(second.checkpoint.tensors.size).toBe(6);
    expect(second.checkpoint.metadata).toMatchObject({ format: "pt", made_by: "test" });
  });

  it("holds a piece of a tensor at a time", async () => {
    const count = 5_000_000;
    const large = checkpointOf({
      dense: ["f32", [count], new Float32Array(count)],
      strided: ["f16", [1000, 5000], new Uint16Array(count), [1, 1000]],
    });
    const { folder } = await convert(large, { precision: "fp32" });
    expect(folder.largestWrite).toBeLessThanOrEqual(8 * 2 ** 20);
  });

  it("tells its progress in bytes", async () => {
    const events: ProgressEvent[] = [];
    await convert(small, { onProgress: (event) => events.push(event) });
    expect(events.at(-1)).toMatchObject({ stage: "convert", done: 138, total: 138, unit: "bytes" });
    expect(events.map(({ done }) => done)).toEqual(events.map(({ done }) => done).sort((a, b) => a - b));
  });

  it("stops on request and shows no file", async () => {
    const controller = new AbortController();
    const folder = new MemoryFiles();
    const options = { openSink: folder.openSink, signal: controller.signal, onProgress: () => controller.abort() };
    await expect(convertCheckpoint(small, options)).rejects.toThrow("[ABORTED]");
    expect([folder.files.size, folder.aborted]).toEqual([0, 1]);
  });
});
