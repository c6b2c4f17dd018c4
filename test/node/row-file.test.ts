import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { memorySource } from "../../src/core/index.ts";
import { readTensor } from "../../src/files/checkpoint.ts";
import { readNpy } from "../../src/files/npy.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { RowFile } from "../../src/node/row-file.ts";

let root: string;

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), "toklip-rows-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const TENSORS = [
  { name: "big", rowShape: [2, 3] },
  { name: "small", rowShape: [2] },
];
const rowOf = (k: number) => ({ big: Float32Array.of(k, 1, 2, 3, 4, 5), small: Float32Array.of(-k, k / 2) });

async function readBack(file: string) {
  const checkpoint = await openSafetensors(memorySource(await readFile(file)));
  const read = async (name: string) => {
    const { shape, data } = await readTensor(checkpoint.tensors.get(name)!);
    return { shape, data: Array.from(data as Float32Array) };
  };
  return { big: await read("big"), small: await read("small"), metadata: checkpoint.metadata };
}

describe("RowFile", () => {
  it("makes a safetensors file of all rows, with their names, and leaves nothing else", async () => {
    const file = path.join(root, "f.safetensors");
    const rows = await RowFile.open(file, TENSORS);
    for (const k of [1, 2, 3]) await rows.append(rowOf(k));
    expect(await readdir(root)).toEqual(["f.safetensors.parts"]);
    await rows.finish({ names: ["a", "b", "c"], metadata: { config: "x" } });
    expect(await readdir(root)).toEqual(["f.safetensors"]);
    const { big, small, metadata } = await readBack(file);
    expect([big.shape, small.shape]).toEqual([
      [3, 2, 3],
      [3, 2],
    ]);
    expect(small.data).toEqual([-1, 0.5, -2, 1, -3, 1.5]);
    expect(big.data.slice(6, 12)).toEqual([2, 1, 2, 3, 4, 5]);
    expect(metadata).toEqual({ config: "x", files: '["a","b","c"]' });
  });

  it("makes a .npy file", async () => {
    const file = path.join(root, "f.npy");
    const rows = await RowFile.open(file, [TENSORS[1]!]);
    for (let k = 0; k < 20; k++) await rows.append({ small: rowOf(k).small });
    await rows.finish();
    const { shape, data } = await readNpy(memorySource(await readFile(file)));
    expect(shape).toEqual([20, 2]);
    expect(Array.from(data as Float32Array).slice(-2)).toEqual([-19, 9.5]);
  });

  it("goes on after the rows that are kept, whatever was torn behind them", async () => {
    const file = path.join(root, "f.safetensors");
    const first = await RowFile.open(file, TENSORS);
    for (const k of [1, 2, 3]) await first.append(rowOf(k));
    await first.close();
    await writeFile(`${file}.parts/big.f32`, Buffer.alloc(5), { flag: "a" });
    const second = await RowFile.open(file, TENSORS, { keepRows: 2 });
    await second.append(rowOf(9));
    await second.finish();
    const { big, small } = await readBack(file);
    expect(small.data).toEqual([-1, 0.5, -2, 1, -9, 4.5]);
    expect(big.shape).toEqual([3, 2, 3]);
    expect(big.data[12]).toBe(9);
  });

  it("refuses to go on without the rows that were promised", async () => {
    const file = path.join(root, "f.safetensors");
    const opened = RowFile.open(file, TENSORS, { keepRows: 1 });
    await expect(opened).rejects.toMatchObject({ code: "RESUME_MISMATCH" });
  });

  it("refuses a row of another size, and a kind of file it cannot write", async () => {
    const rows = await RowFile.open(path.join(root, "f.npy"), [TENSORS[1]!]);
    await expect(rows.append({ small: new Float32Array(3) })).rejects.toMatchObject({ code: "SHAPE_MISMATCH" });
    await rows.close();
    await expect(RowFile.open(path.join(root, "f.bin"), TENSORS)).rejects.toMatchObject({ code: "FILE_UNSUPPORTED" });
  });
});
