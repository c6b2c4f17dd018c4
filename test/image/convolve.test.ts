// The SIMD module against the plain loops, and against its own source.
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import loadWabt from "wabt";
import { simdColumns, simdRows } from "../../src/image/convolve-kernel.ts";
import { CONVOLVE_KERNEL_BYTES } from "../../src/image/convolve-kernel-bytes.ts";
import { plainColumns, plainRows } from "../../src/image/convolve-u8.ts";
import { filterTaps, fixedPointTaps } from "../../src/image/filter-taps.ts";

const cases = fc.record({
  from: fc.integer({ min: 1, max: 90 }),
  to: fc.integer({ min: 1, max: 60 }),
  first: fc.integer({ min: 0, max: 5 }),
  other: fc.integer({ min: 1, max: 40 }),
  samples: fc.integer({ min: 1, max: 4 }),
  filter: fc.constantFrom("bicubic" as const, "box" as const),
  seed: fc.integer(),
});

/** Bytes of 0 and 255 for the most part: where sums leave 0 to 255. */
function bytes(length: number, seed: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) | 0;
    return Math.max(0, Math.min(255, ((state >>> 8) & 0x3ff) - 384));
  });
}

test("both passes give the bytes of the plain loops", () => {
  fc.assert(
    fc.property(cases, ({ from, to, first, other, samples, filter, seed }) => {
      const span = { first: Math.min(first, to - 1), length: to - Math.min(first, to - 1) };
      const taps = fixedPointTaps(filterTaps(from, to, span, filter));
      const rows = bytes(other * from * samples, seed);
      expect(simdRows(rows, { height: other, samples }, taps)).toEqual(
        plainRows(rows, { height: other, samples }, taps),
      );
      const columns = bytes(from * other * samples, seed);
      expect(simdColumns(columns, other * samples, taps)).toEqual(plainColumns(columns, other * samples, taps));
    }),
    { numRuns: 400 },
  );
});

test("pictures too large for the module are left to the plain loops", () => {
  const taps = fixedPointTaps(filterTaps(2 ** 20, 1, { first: 0, length: 1 }, "box"));
  const row = new Uint8Array(2 ** 20 * 64).fill(9);
  expect(simdRows(row, { height: 64, samples: 1 }, taps)).toBeUndefined();
});

test("the committed bytes are the assembled source", async () => {
  const source = readFileSync(new URL("../../src/image/convolve-kernel.wat", import.meta.url), "utf8");
  const module = (await loadWabt()).parseWat("convolve-kernel.wat", source, { simd: true });
  expect(CONVOLVE_KERNEL_BYTES).toEqual(Uint8Array.from(module.toBinary({}).buffer));
});
