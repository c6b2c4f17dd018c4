// MS-SSIM against a direct PyTorch implementation in float64: a 2-D convolution with the window, then the paper's formulas.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Image, multiScaleSsim, ssim, ssimScales } from "../../src/image/index.ts";
import { imageOf } from "./pictures.ts";

type Colour = (x: number, y: number) => readonly [number, number, number];

function drawn(width: number, height: number, colour: Colour): Image {
  return imageOf("RGB", width, height, (i) => colour(Math.floor(i / 3) % width, Math.floor(i / 3 / width))[i % 3]!);
}

const original: Colour = (x, y) => [(x * 7 + y * 3) % 256, (x * y) % 256, (x * x + y * 5) % 256];
const changed: Colour = (x, y) => [
  (x * 7 + y * 3 + ((x * y) % 17)) % 256,
  Math.min(255, ((x * y) % 256) + 9),
  Math.floor(((x * x + y * 5) % 256) / 2),
];

describe("the similarity at several scales is PyTorch's", () => {
  test.each([
    [53, 37, 2, 0.8453174927393662],
    [128, 128, 4, 0.8991143720821357],
    [181, 197, 5, 0.9116976681296592],
    [176, 256, 5, 0.9124276967810135],
  ])("for %i x %i pixels, which have %i scales", (width, height, scales, value) => {
    const [a, b] = [drawn(width, height, original), drawn(width, height, changed)];
    expect(ssimScales(a)).toBe(scales);
    expect(multiScaleSsim(a, b)).toBeCloseTo(value, 12);
  });
});

test("five scales begin at 161 pixels", () => {
  expect([160, 161].map((edge) => ssimScales({ width: edge, height: 500 }))).toEqual([4, 5]);
  expect(ssimScales({ width: 10, height: 500 })).toBe(0);
});

test("at one scale it is SSIM itself, where that is not negative", () => {
  const [a, b] = [drawn(11, 30, original), drawn(11, 30, changed)];
  expect(ssimScales(a)).toBe(1);
  expect(multiScaleSsim(a, b)).toBeCloseTo(ssim(a, b), 12);
});

test("it is within [0, 1], the same both ways, and 1 for equal pictures", () => {
  const noise = fc.integer().map((seed) => imageOf("RGB", 27, 23, (i) => Math.imul(i + 1, seed * 2 + 1) >>> 24));
  fc.assert(
    fc.property(noise, noise, (x, y) => {
      const value = multiScaleSsim(x, y);
      expect(value).toBeGreaterThanOrEqual(0);
      expect(value).toBeLessThanOrEqual(1 + 1e-12);
      expect(multiScaleSsim(y, x)).toBeCloseTo(value, 12);
      expect(multiScaleSsim(x, x)).toBeCloseTo(1, 12);
    }),
    { numRuns: 20 },
  );
});

test("contrast turned round counts as none", () => {
  const stripes = imageOf("L", 40, 40, (i) => (i % 2) * 255);
  const turned = imageOf("L", 40, 40, (i) => 255 - (i % 2) * 255);
  expect(ssim(stripes, turned)).toBeLessThan(0);
  expect(multiScaleSsim(stripes, turned)).toBe(0);
});

test("pictures too small for one window are refused", () => {
  const small = imageOf("RGB", 10, 30, () => 0);
  expect(() => multiScaleSsim(small, small)).toThrow(expect.objectContaining({ code: "ARGUMENT_INVALID" }));
});
