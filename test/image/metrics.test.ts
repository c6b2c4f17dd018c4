// PSNR and SSIM against scikit-image 0.19.3 (gaussian_weights, sigma 1.5, use_sample_covariance False, data_range 255).
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Image,
  meanAbsoluteDifference,
  meanSquaredDifference,
  psnr,
  psnrOf,
  ssim,
} from "../../src/image/index.ts";
import { decodeImage } from "../../src/node/image.ts";
import { imageOf } from "./pictures.ts";

/** A picture by formula, so that any language can make it: `colour(x, y)` gives red, green, blue. */
function drawn(colour: (x: number, y: number) => readonly [number, number, number]): Image {
  const [width, height] = [53, 37];
  return imageOf("RGB", width, height, (i) => colour(Math.floor(i / 3) % width, Math.floor(i / 3 / width))[i % 3]!);
}

const a = drawn((x, y) => [(x * 7 + y * 3) % 256, (x * y) % 256, (x * x + y * 5) % 256]);
const b = drawn((x, y) => [
  (x * 7 + y * 3 + ((x * y) % 17)) % 256,
  Math.min(255, ((x * y) % 256) + 9),
  Math.floor(((x * x + y * 5) % 256) / 2),
]);

const red = ({ width, height, data }: Image): Image => imageOf("L", width, height, (i) => data[i * 3]!);

const noise = fc.integer().map((seed) => imageOf("RGB", 16, 13, (i) => Math.imul(i + 1, seed * 2 + 1) >>> 24));

describe("scikit-image's numbers", () => {
  test("of a drawn colour picture", () => {
    expect(ssim(a, b)).toBeCloseTo(0.8101190147174813, 12);
    expect(psnr(a, b)).toBeCloseTo(14.686211181415882, 12);
  });

  test("of a drawn grey picture", () => {
    expect(ssim(red(a), red(b))).toBeCloseTo(0.7918675395405111, 12);
  });

  test("of a photograph in 8 shades of grey", async () => {
    const photo = await decodeImage(new URL("../pictures/camera.png", import.meta.url).pathname);
    const shades = imageOf("L", photo.width, photo.height, (i) => (photo.data[i]! & 0xe0) + 16);
    expect(ssim(photo, shades)).toBeCloseTo(0.8345573346360622, 12);
    expect(psnr(photo, shades)).toBeCloseTo(28.70063044741591, 12);
  });
});

test("a picture is wholly like itself", () => {
  fc.assert(
    fc.property(noise, (image) => {
      expect(ssim(image, image)).toBeCloseTo(1, 12);
      expect(psnr(image, image)).toBe(Number.POSITIVE_INFINITY);
    }),
    { numRuns: 20 },
  );
});

test("the order of the two does not matter, and SSIM never leaves [-1, 1]", () => {
  fc.assert(
    fc.property(noise, noise, (x, y) => {
      expect(ssim(x, y)).toBeCloseTo(ssim(y, x), 12);
      expect(Math.abs(ssim(x, y))).toBeLessThanOrEqual(1);
      expect(psnr(x, y)).toBe(psnr(y, x));
    }),
    { numRuns: 20 },
  );
});

test("PSNR of one level everywhere is 20 log10 255", () => {
  expect(
    psnr(
      imageOf("L", 3, 2, () => 7),
      imageOf("L", 3, 2, () => 8),
    ),
  ).toBeCloseTo(20 * Math.log10(255), 12);
});

test("pictures that cannot be compared are refused", () => {
  const small = imageOf("RGB", 10, 30, () => 0);
  expect(() => ssim(small, small)).toThrow(expect.objectContaining({ code: "ARGUMENT_INVALID" }));
  expect(() => psnr(small, a)).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
  expect(() => psnr(red(a), a)).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
  const alpha = imageOf("RGBA", 20, 20, () => 0);
  expect(() => ssim(alpha, alpha)).toThrow(expect.objectContaining({ code: "ARGUMENT_INVALID" }));
});

test("differences are means over all samples", () => {
  const [x, y] = [imageOf("RGB", 2, 1, (i) => 10 * i), imageOf("RGB", 2, 1, (i) => (i === 4 ? 28 : 10 * i + 3))];
  expect(meanAbsoluteDifference(x, y)).toBeCloseTo((5 * 3 + 12) / 6, 12);
  expect(meanSquaredDifference(x, y)).toBeCloseTo((5 * 9 + 144) / 6, 12);
  expect(psnrOf(meanSquaredDifference(x, y))).toBe(psnr(x, y));
});
