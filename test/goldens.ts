// Reading the goldens: numbers of the reference at every stage.
import { readFileSync } from "node:fs";
import { memorySource, type NDArray, toF32 } from "../src/core/index.ts";
import { type Checkpoint, readTensor } from "../src/files/checkpoint.ts";
import { openSafetensors } from "../src/files/safetensors.ts";
import { parseConfig, type ToklipConfig } from "../src/models/index.ts";

export function goldenPath(path: string): string {
  return new URL(`./goldens/${path}`, import.meta.url).pathname;
}

export function goldenJson(path: string): unknown {
  return JSON.parse(readFileSync(goldenPath(path), "utf8"));
}

export function goldenConfig(name: string): ToklipConfig {
  return parseConfig(goldenJson(`model_configs/${name}.json`), name);
}

/** The tensors of a golden file; `i64` ids as i32, which is what our models take. */
export async function goldenTensors(path: string): Promise<(name: string) => Promise<NDArray>> {
  const file = await openSafetensors(memorySource(readFileSync(goldenPath(path)), path));
  return async (name) => {
    const entry = file.tensors.get(name);
    if (entry === undefined) throw new Error(`${path} has no tensor ${name}`);
    const array = await readTensor(entry);
    if (array.dtype !== "i64") return array;
    return { dtype: "i32", shape: array.shape, data: Int32Array.from(array.data as BigInt64Array, Number) };
  };
}

/** All tensors of a checkpoint as f32 arrays, by name. */
export async function readAll(checkpoint: Checkpoint): Promise<Map<string, NDArray<"f32">>> {
  const arrays = new Map<string, NDArray<"f32">>();
  for (const [name, entry] of checkpoint.tensors) {
    const { dtype, shape, data } = await readTensor(entry);
    arrays.set(name, { dtype: "f32", shape, data: toF32(dtype, data) });
  }
  return arrays;
}

/** The largest absolute difference of two arrays of one size. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`lengths ${a.length} and ${b.length} differ`);
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}
