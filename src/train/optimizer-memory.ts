/**
 * Named f32 arrays that live in the memories of kernels: the moments of an optimizer, the values of an average. They
 * keep their place as long as they live. One WebAssembly memory holds at most 4 GiB, so there are as many as it takes.
 */
import { sizeOf, ToklipError } from "../core/index.ts";
import { createKernel, type Kernel, type KernelOptions, ROOM } from "./optimizer-kernel.ts";
import type { TensorMap } from "./trainer.ts";

/** The arrays of one name: `addresses` in the memory of `kernel`, each of `length` elements. */
export interface Residents {
  readonly kernel: Kernel;
  readonly shape: readonly number[];
  readonly length: number;
  readonly addresses: readonly number[];
}

/** What one memory takes, unless one name alone needs more. */
const MEMORY_BYTES = 2 ** 30;
const LARGEST_MEMORY_BYTES = 2 ** 32 - 65536 - ROOM;
const LINE_BYTES = 64;

/**
 * Makes `each` arrays of zeros for every name.
 * @throws OUT_OF_MEMORY when there is no room for them.
 */
export function allocateResidents(
  shapes: ReadonlyMap<string, readonly number[]>,
  each: number,
  options: KernelOptions,
): Map<string, Residents> {
  const residents = new Map<string, Residents>();
  for (const batch of batchesOf(shapes, each)) {
    const total = batch.reduce((sum, name) => sum + each * paddedBytes(shapes.get(name)!), 0);
    const kernel = createKernel(total, options);
    let next = ROOM;
    for (const name of batch) {
      const shape = shapes.get(name)!;
      const bytes = paddedBytes(shape);
      const addresses = Array.from({ length: each }, (_, i) => next + i * bytes);
      residents.set(name, { kernel, shape, length: sizeOf(shape), addresses });
      next += each * bytes;
    }
  }
  return residents;
}

/** The names, in order, parted so that the arrays of each part share a memory. */
function batchesOf(shapes: ReadonlyMap<string, readonly number[]>, each: number): string[][] {
  const batches: string[][] = [];
  let room = 0;
  for (const [name, shape] of shapes) {
    const bytes = each * paddedBytes(shape);
    if (bytes > LARGEST_MEMORY_BYTES) {
      throw new ToklipError("OUT_OF_MEMORY", `optimizer: ${name} [${shape}] needs ${bytes} bytes, more than 4 GiB`);
    }
    if (batches.length === 0 || bytes > room) {
      batches.push([]);
      room = MEMORY_BYTES;
    }
    batches.at(-1)!.push(name);
    room -= bytes;
  }
  return batches;
}

function paddedBytes(shape: readonly number[]): number {
  return Math.ceil((sizeOf(shape) * 4) / LINE_BYTES) * LINE_BYTES;
}

/** One array of a name as a view of the memory it lives in. */
export function viewOf({ kernel, addresses, length }: Residents, index: number): Float32Array<ArrayBuffer> {
  return new Float32Array(kernel.buffer, addresses[index]!, length);
}

/**
 * The data of one tensor of a saved state.
 * @throws CHECKPOINT_MISMATCH when it is missing, no f32, or of another shape.
 */
export function readResident(tensors: TensorMap, name: string, shape: readonly number[]): Float32Array {
  const tensor = tensors.get(name);
  if (tensor?.dtype === "f32" && `${tensor.shape}` === `${shape}`) return tensor.data as Float32Array;
  const found = tensor === undefined ? "none" : `${tensor.dtype} [${tensor.shape}]`;
  throw new ToklipError("CHECKPOINT_MISMATCH", `optimizer state: expected ${name} as f32 [${shape}], found ${found}`);
}
