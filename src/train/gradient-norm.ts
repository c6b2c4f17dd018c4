/**
 * The size of a gradient: its Euclidean norm over all tensors, whether it is finite, the factor that clips it, and the
 * sum of several. The squares are summed in double precision in an order that depends on the tensors alone, so the norm
 * has the same bits on every machine.
 */
import { ToklipError } from "../core/index.ts";
import {
  copyIn,
  copyOut,
  createKernel,
  forEachPiece,
  type Kernel,
  type KernelOptions,
  SLOTS,
  SUMS,
} from "./optimizer-kernel.ts";

/** What is known of a gradient's size. */
export interface GradientSize {
  /** sqrt of the sum of all squares; NaN or infinite when an element is. */
  readonly norm: number;
  /** The name of the first tensor with an element that is NaN or infinite. */
  readonly firstNonFinite: string | undefined;
}

const kernels = new Map<boolean, Kernel>();

/** The kernel without room, made once. */
function sharedKernel({ simd = true }: KernelOptions): Kernel {
  const kernel = kernels.get(simd) ?? createKernel(0, { simd });
  kernels.set(simd, kernel);
  return kernel;
}

/** Measures gradients, in the map's order. */
export function measureGradients(
  gradients: ReadonlyMap<string, Float32Array>,
  options: KernelOptions = {},
): GradientSize {
  const kernel = sharedKernel(options);
  let total = 0;
  let firstNonFinite: string | undefined;
  for (const [name, gradient] of gradients) {
    const sum = sumOfSquares(kernel, gradient);
    // The square of the largest f32 is 1e77: a sum in double precision is finite as long as its terms are.
    if (!Number.isFinite(sum)) firstNonFinite ??= name;
    total += sum;
  }
  return { norm: Math.sqrt(total), firstNonFinite };
}

function sumOfSquares(kernel: Kernel, array: Float32Array): number {
  const sums = new Float64Array(kernel.buffer, SUMS, 8).fill(0);
  forEachPiece(array.length, (begin, end) => {
    const count = Math.ceil((end - begin) / 8) * 8;
    copyIn(kernel, 0, array, begin, end);
    const at = SLOTS[0] / 4;
    kernel.f32.fill(0, at + end - begin, at + count);
    kernel.squares(count, SLOTS[0], SUMS);
  });
  return sums.reduce((total, sum) => total + sum, 0);
}

/**
 * The factor that brings a gradient of this norm to at most `maxNorm`: `min(1, maxNorm / (norm + 1e-6))`, as
 * `torch.nn.utils.clip_grad_norm_` has it. Without a limit it is 1.
 */
export function clipFactor(norm: number, maxNorm: number | undefined): number {
  return maxNorm === undefined ? 1 : Math.min(1, maxNorm / (norm + 1e-6));
}

/**
 * Adds an array to a sum of the same length, in place: the accumulation of gradients.
 * @throws SHAPE_MISMATCH when the lengths differ.
 */
export function addInto(sum: Float32Array, addend: Float32Array, options: KernelOptions = {}): void {
  if (sum.length !== addend.length) {
    throw new ToklipError("SHAPE_MISMATCH", `addInto: a sum of ${sum.length} elements, an addend of ${addend.length}`);
  }
  const kernel = sharedKernel(options);
  forEachPiece(sum.length, (begin, end) => {
    copyIn(kernel, 0, sum, begin, end);
    copyIn(kernel, 1, addend, begin, end);
    kernel.add(end - begin, SLOTS[0], SLOTS[1]);
    copyOut(kernel, sum, begin, end);
  });
}
