/**
 * The arithmetic of the optimizer as plain loops: what `optimizer-kernel.wat` computes four elements at a time, one
 * element at a time, with the same operations in the same order and so the same bits. It serves where WebAssembly or
 * its SIMD is missing, and it is what the tests hold the kernel to.
 *
 * JavaScript computes in double precision. The sum, difference, product, quotient and square root of f32 numbers,
 * computed in double precision and then rounded to single, are what single precision gives (53 >= 2 * 24 + 2 bits), so
 * one `Math.fround` an operation is exact.
 */
import type { KernelFunctions } from "./optimizer-kernel.ts";

const { fround, sqrt } = Math;

/** The kernel's functions over a buffer; addresses are in bytes. */
export function createLoops(buffer: ArrayBuffer): KernelFunctions {
  const f32 = new Float32Array(buffer);
  return {
    adamw(count, parameters, first, second, gradients, ...constants) {
      const [scale, decay, keep1, take1, keep2, take2, correction, epsilon, rate] = constants.map(
        fround,
      ) as typeof constants;
      const [p, m, v, g] = [parameters >>> 2, first >>> 2, second >>> 2, gradients >>> 2];
      for (let i = 0; i < count; i++) {
        const gradient = fround(f32[g + i]! * scale);
        const mean = fround(fround(f32[m + i]! * keep1) + fround(gradient * take1));
        const square = fround(fround(f32[v + i]! * keep2) + fround(fround(gradient * gradient) * take2));
        const divisor = fround(fround(fround(sqrt(square)) * correction) + epsilon);
        f32[m + i] = mean;
        f32[v + i] = square;
        f32[p + i] = fround(f32[p + i]! * decay) - fround(rate * fround(mean / divisor));
      }
    },
    average(count, mean, values, keep, take) {
      const [kept, taken, m, v] = [fround(keep), fround(take), mean >>> 2, values >>> 2];
      for (let i = 0; i < count; i++) f32[m + i] = fround(f32[m + i]! * kept) + fround(f32[v + i]! * taken);
    },
    add(count, sum, addend) {
      const [s, a] = [sum >>> 2, addend >>> 2];
      for (let i = 0; i < count; i++) f32[s + i]! += f32[a + i]!;
    },
    squares(count, values, sums) {
      const eight = new Float64Array(buffer, sums, 8);
      const v = values >>> 2;
      for (let i = 0; i < count; i++) eight[i % 8]! += f32[v + i]! ** 2;
    },
  };
}
