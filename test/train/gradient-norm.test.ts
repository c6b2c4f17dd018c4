import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Random } from "../../src/core/index.ts";
import { addInto, clipFactor, measureGradients } from "../../src/train/gradient-norm.ts";
import { SLOT_LENGTH } from "../../src/train/optimizer-kernel.ts";

const noise = (random: Random, length: number) => Float32Array.from({ length }, () => random.normal());

describe("the norm", () => {
  test("is that of all tensors together", () => {
    const gradients = new Map([
      ["a", Float32Array.of(3)],
      ["b", Float32Array.of(0, 4, 12)],
      ["none", new Float32Array(0)],
    ]);
    expect(measureGradients(gradients)).toEqual({ norm: 13, firstNonFinite: undefined });
    expect(measureGradients(new Map())).toEqual({ norm: 0, firstNonFinite: undefined });
  });

  test("is summed in double precision, over arrays longer than a scratch slot, with the same bits from either kernel", () => {
    const random = new Random(5);
    const gradients = new Map([
      ["long", noise(random, 2 * SLOT_LENGTH + 5)],
      ["short", noise(random, 3)],
    ]);
    const { norm } = measureGradients(gradients);
    expect(measureGradients(gradients, { simd: false }).norm).toBe(norm);
    let sum = 0;
    for (const gradient of gradients.values()) for (const x of gradient) sum += x * x;
    expect(Math.abs(norm / Math.sqrt(sum) - 1)).toBeLessThan(1e-13);
  });

  test("has the same bits from either kernel, whatever the numbers", () => {
    fc.assert(
      fc.property(fc.array(fc.float32Array({ maxLength: 30 }), { maxLength: 4 }), (arrays) => {
        const gradients = new Map(arrays.map((array, i) => [`t${i}`, array]));
        const simd = measureGradients(gradients, { simd: true });
        expect(simd).toEqual(measureGradients(gradients, { simd: false }));
        const guilty = arrays.findIndex((array) => array.some((x) => !Number.isFinite(x)));
        expect(simd.firstNonFinite).toBe(guilty < 0 ? undefined : `t${guilty}`);
        expect(Number.isFinite(simd.norm)).toBe(guilty < 0);
      }),
    );
  });

  test("of the largest numbers is still finite", () => {
    const largest = 3.4028234663852886e38;
    const { norm, firstNonFinite } = measureGradients(new Map([["w", new Float32Array(1000).fill(largest)]]));
    expect(firstNonFinite).toBeUndefined();
    expect(norm / (largest * Math.sqrt(1000))).toBeCloseTo(1, 12);
  });
});

test("the clip factor is PyTorch's", () => {
  expect(clipFactor(0.5, 1)).toBe(1);
  expect(clipFactor(4, 1)).toBe(1 / (4 + 1e-6));
  expect(clipFactor(1, 1)).toBe(1 / (1 + 1e-6));
  expect(clipFactor(1e9, undefined)).toBe(1);
});

describe("addInto", () => {
  test("adds in place as f32 does, whatever the length", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.float(), fc.float()), { maxLength: 40 }), fc.boolean(), (pairs, simd) => {
        const sum = Float32Array.from(pairs, ([a]) => a);
        addInto(
          sum,
          Float32Array.from(pairs, ([, b]) => b),
          { simd },
        );
        expect([...sum]).toEqual(pairs.map(([a, b]) => Math.fround(a + b)));
      }),
    );
  });

  test("adds arrays longer than a scratch slot, and views into others", () => {
    const random = new Random(2);
    const whole = noise(random, SLOT_LENGTH + 9);
    const before = whole.slice();
    const addend = noise(random, SLOT_LENGTH + 7);
    addInto(whole.subarray(1, -1), addend);
    expect(whole[0]).toBe(before[0]);
    expect(whole.at(-1)).toBe(before.at(-1));
    const wrong = addend.findIndex((x, i) => whole[i + 1] !== Math.fround(before[i + 1]! + x));
    expect(wrong).toBe(-1);
  });

  test("refuses arrays of different lengths", () => {
    expect(() => addInto(new Float32Array(2), new Float32Array(3))).toThrow(
      expect.objectContaining({ code: "SHAPE_MISMATCH" }),
    );
  });
});
