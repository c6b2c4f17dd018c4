/**
 * The passes of `convolve-u8.ts` as a WebAssembly SIMD module, about five times as fast, with the same bytes. Its source
 * is `convolve-kernel.wat`, its assembled bytes are `convolve-kernel-bytes.ts`. Pictures go through its memory.
 */
import { CONVOLVE_KERNEL_BYTES } from "./convolve-kernel-bytes.ts";
import type { FilterTaps } from "./filter-taps.ts";

/** What the module exports; its parameters are explained in `convolve-kernel.wat`. */
interface KernelExports {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  rows(
    input: number,
    inputStride: number,
    height: number,
    samples: number,
    ...tapsAndOutput: [starts: number, counts: number, weights: number, tapBytes: number, width: number, output: number]
  ): void;
  columns(
    input: number,
    rowLength: number,
    ...tapsAndOutput: [
      starts: number,
      counts: number,
      weights: number,
      tapBytes: number,
      height: number,
      output: number,
    ]
  ): void;
}

/** The part of the WebAssembly interface that is used here: the platform-free folders compile without its types. */
interface WebAssemblyInterface {
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  readonly Instance: new (module: object) => { readonly exports: KernelExports };
  validate(bytes: Uint8Array<ArrayBuffer>): boolean;
}

/** Larger pictures are left to the plain loops: the memory that a module has had it keeps. */
const MAX_BYTES = 2 ** 26;
const PAGE_BYTES = 65536;
/** What is read and written past an end. */
const SLACK = 16;

let kernel: KernelExports | undefined;
let isKnown = false;

/** The module, made when it is first needed; absent where the platform has none. */
function findKernel(): KernelExports | undefined {
  if (isKnown) return kernel;
  isKnown = true;
  const platform = (globalThis as unknown as { WebAssembly?: WebAssemblyInterface }).WebAssembly;
  if (platform?.validate(CONVOLVE_KERNEL_BYTES)) {
    kernel = new platform.Instance(new platform.Module(CONVOLVE_KERNEL_BYTES)).exports;
  }
  return kernel;
}

type Samples = Uint8Array | Uint8ClampedArray;

/** As `convolveRowsU8`; undefined where it must be computed without SIMD. */
export function simdRows(
  input: Samples,
  { height, samples }: { readonly height: number; readonly samples: number },
  taps: FilterTaps<Int32Array>,
): Uint8Array | undefined {
  const width = taps.start.length;
  return through(input, taps, samples, height * width * samples, (exports, at) =>
    exports.rows(at.input, input.length / height, height, samples, ...at.taps, width, at.output),
  );
}

/** As `convolveColumnsU8`; undefined where it must be computed without SIMD. */
export function simdColumns(input: Samples, rowLength: number, taps: FilterTaps<Int32Array>): Uint8Array | undefined {
  const height = taps.start.length;
  return through(input, taps, rowLength, height * rowLength, (exports, at) =>
    exports.columns(at.input, rowLength, ...at.taps, height, at.output),
  );
}

/** Makes the memory at least `bytes` large, if that much can be had. */
function hasRoom({ memory }: KernelExports, bytes: number): boolean {
  const missing = bytes - memory.buffer.byteLength;
  if (missing <= 0) return true;
  try {
    memory.grow(Math.ceil(missing / PAGE_BYTES));
    return true;
  } catch {
    return false;
  }
}

/** Where things lie in the module's memory. */
interface Addresses {
  readonly input: number;
  readonly output: number;
  readonly taps: readonly [starts: number, counts: number, weights: number, tapBytes: number];
}

/** Copies samples and taps in, lets `run` work, copies the result out. Starts are put down in bytes, `unit` an input. */
function through(
  input: Samples,
  { start, count, weights, stride }: FilterTaps<Int32Array>,
  unit: number,
  outputLength: number,
  run: (exports: KernelExports, at: Addresses) => void,
): Uint8Array | undefined {
  const counts = start.byteLength;
  const tapsAt = 2 * counts;
  const inputAt = tapsAt + weights.byteLength;
  const outputAt = inputAt + input.length + SLACK;
  const needed = outputAt + outputLength + SLACK;
  const exports = needed <= MAX_BYTES ? findKernel() : undefined;
  if (exports === undefined || !hasRoom(exports, needed)) return undefined;
  const { buffer } = exports.memory;
  const starts = new Int32Array(buffer, 0, start.length);
  for (let i = 0; i < starts.length; i++) starts[i] = start[i]! * unit;
  new Int32Array(buffer, counts, count.length).set(count);
  new Int32Array(buffer, tapsAt, weights.length).set(weights);
  const bytes = new Uint8Array(buffer);
  bytes.set(input, inputAt);
  run(exports, { input: inputAt, output: outputAt, taps: [0, counts, tapsAt, 4 * stride] });
  return bytes.slice(outputAt, outputAt + outputLength);
}
