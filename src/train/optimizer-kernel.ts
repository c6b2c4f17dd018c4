/**
 * Arithmetic over long f32 arrays: a WebAssembly SIMD module where the platform has it, plain loops elsewhere, with the
 * same bits from either. Its source is `optimizer-kernel.wat`, its assembled bytes are `optimizer-kernel-bytes.ts`.
 *
 * A kernel computes in a memory of its own: two scratch slots, through which arrays from outside pass piece by piece,
 * and room for arrays that stay. Each copy of an array costs a quarter of what an AdamW step costs, so the optimizer
 * keeps its moments here. Slots of half a megabyte were the fastest of those tried (4 KiB to 1 MiB).
 */
import { ToklipError } from "../core/index.ts";
import { KERNEL_BYTES } from "./optimizer-kernel-bytes.ts";
import { createLoops } from "./optimizer-loops.ts";

/** What a kernel computes. Addresses are in bytes and multiples of 16, counts in elements. */
export interface KernelFunctions {
  /** One step of AdamW over parameters, both moments and gradients; its constants are named as in `optimizer-kernel.wat`. */
  adamw(
    count: number,
    parameters: number,
    first: number,
    second: number,
    gradients: number,
    ...constants: AdamWConstants
  ): void;
  /** `mean = mean * keep + values * take`. */
  average(count: number, mean: number, values: number, keep: number, take: number): void;
  /** `sum = sum + addend`. */
  add(count: number, sum: number, addend: number): void;
  /** Adds the square of element i to number `i % 8` of eight f64; computes on, up to a multiple of 8 elements. */
  squares(count: number, values: number, sums: number): void;
}

/** The numbers of an AdamW step, each rounded to f32. */
export type AdamWConstants = [
  scale: number,
  decay: number,
  keep1: number,
  take1: number,
  keep2: number,
  take2: number,
  correction: number,
  epsilon: number,
  rate: number,
];

/** A kernel and its memory: eight f64 sums, the scratch slots, then the room for arrays that stay. */
export interface Kernel extends KernelFunctions {
  readonly buffer: ArrayBuffer;
  /** The whole memory. */
  readonly f32: Float32Array<ArrayBuffer>;
}

/** How kernels are made. */
export interface KernelOptions {
  /** False computes with the plain loops. Default: true where the platform can. */
  readonly simd?: boolean;
}

/** The elements of one scratch slot. */
export const SLOT_LENGTH = 131072;
/** The address of the eight sums. */
export const SUMS = 0;
/** The addresses of the scratch slots. */
export const SLOTS = [64, 64 + SLOT_LENGTH * 4] as const;
/** The address of the room for arrays that stay. */
export const ROOM = 64 + 2 * SLOT_LENGTH * 4;

const PAGE_BYTES = 65536;

/** The part of the WebAssembly interface that is used here: the platform-free folders compile without its types. */
interface WebAssemblyInterface {
  readonly Memory: new (limits: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: KernelFunctions };
  validate(bytes: Uint8Array<ArrayBuffer>): boolean;
}

/**
 * Makes a kernel with room for `bytes` bytes of arrays that stay, all zero.
 * @throws OUT_OF_MEMORY when the memory cannot be had.
 */
export function createKernel(bytes: number, { simd = true }: KernelOptions = {}): Kernel {
  const platform = (globalThis as unknown as { WebAssembly?: WebAssemblyInterface }).WebAssembly;
  const pages = Math.ceil((ROOM + bytes) / PAGE_BYTES);
  try {
    if (simd && platform?.validate(KERNEL_BYTES)) return simdKernel(platform, pages);
    const buffer = new ArrayBuffer(pages * PAGE_BYTES);
    return { ...createLoops(buffer), buffer, f32: new Float32Array(buffer) };
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new ToklipError("OUT_OF_MEMORY", `optimizer: no memory of ${pages * PAGE_BYTES} bytes to be had`, { cause });
  }
}

function simdKernel(platform: WebAssemblyInterface, pages: number): Kernel {
  const memory = new platform.Memory({ initial: pages, maximum: pages });
  const instance = new platform.Instance(new platform.Module(KERNEL_BYTES), { host: { memory } });
  return { ...instance.exports, buffer: memory.buffer, f32: new Float32Array(memory.buffer) };
}

/** Calls `visit` with the bounds of each piece of a length that fits a scratch slot. */
export function forEachPiece(length: number, visit: (begin: number, end: number) => void): void {
  for (let begin = 0; begin < length; begin += SLOT_LENGTH) visit(begin, Math.min(length, begin + SLOT_LENGTH));
}

/** Copies elements `begin` to `end` of an array into a scratch slot. */
export function copyIn(kernel: Kernel, slot: 0 | 1, array: Float32Array, begin: number, end: number): void {
  kernel.f32.set(array.subarray(begin, end), SLOTS[slot] / 4);
}

/** Copies scratch slot 0 over elements `begin` to `end` of an array. */
export function copyOut(kernel: Kernel, array: Float32Array, begin: number, end: number): void {
  const at = SLOTS[0] / 4;
  array.set(kernel.f32.subarray(at, at + end - begin), begin);
}
