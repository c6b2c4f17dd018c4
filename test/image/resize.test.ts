// Resizing: what must hold for any picture. That it equals Pillow's is in goldens.test.ts.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cropImage, type Image, type ImageMode, resizeImage, samplesOf } from "../../src/image/index.ts";
import { premultiply, unpremultiply } from "../../src/image/premultiply.ts";
import { maxDifference } from "../goldens.ts";
import { anyImage, imageOf } from "./pictures.ts";

const edge = fc.integer({ min: 1, max: 40 });

test("resizing to the same size gives the same pixels", () => {
  fc.assert(
    fc.property(anyImage(), (image) => {
      expect(resizeImage(image, { width: image.width, height: image.height })).toEqual(image);
    }),
  );
});

test("a picture of one colour stays that colour at any size", () => {
  fc.assert(
    fc.property(edge, edge, edge, edge, fc.integer({ min: 0, max: 255 }), (w, h, width, height, value) => {
      for (const mode of ["L", "RGB", "CMYK", "I"] as const) {
        const { data } = resizeImage(
          imageOf(mode, w, h, () => value),
          { width, height },
        );
        expect(data.every((sample) => sample === value)).toBe(true);
      }
    }),
    { numRuns: 40 },
  );
});

test("a window of a resize is that part of the whole resize", () => {
  const cases = fc.record({
    image: anyImage(),
    width: edge,
    height: edge,
    seed: fc.array(fc.nat(), { minLength: 4, maxLength: 4 }),
  });
  fc.assert(
    fc.property(cases, ({ image, width, height, seed: [a = 0, b = 0, c = 0, d = 0] }) => {
      const left = a % width;
      const top = b % height;
      const window = { left, top, width: 1 + (c % (width - left)), height: 1 + (d % (height - top)) };
      const whole = resizeImage(image, { width, height });
      expect(resizeImage(image, { width, height, window })).toEqual(cropImage(whole, window));
    }),
  );
});

test("each channel is resized as a grey picture of its own", () => {
  fc.assert(
    fc.property(anyImage(["RGB", "CMYK"]), edge, edge, (image, width, height) => {
      const resized = resizeImage(image, { width, height });
      for (let c = 0; c < samplesOf(image); c++) {
        expect(channel(resized, c)).toEqual(resizeImage(channel(image, c), { width, height }));
      }
    }),
  );
});

test("mirroring and resizing can change places", () => {
  fc.assert(
    fc.property(anyImage(["RGB"]), edge, edge, (image, width, height) => {
      const a = mirror(resizeImage(image, { width, height })).data;
      const b = resizeImage(mirror(image), { width, height }).data;
      // Weights are rounded to 22 bits, so a sum just at a half may fall either way.
      expect(maxDifference(a, b)).toBeLessThanOrEqual(1);
    }),
  );
});

test("indexed pictures only ever show the colours they have", () => {
  fc.assert(
    fc.property(anyImage(["RGB"]), edge, edge, (image, width, height) => {
      const colours = new Set(pixelsOf(image));
      const resized = resizeImage({ ...image, indexed: true }, { width, height });
      for (const pixel of pixelsOf(resized)) expect(colours.has(pixel)).toBe(true);
    }),
  );
});

test("hidden colours do not show at the edge of what is visible", () => {
  const red = [255, 0, 0, 255];
  const hiddenGreen = [0, 255, 0, 0];
  const image = imageOf("RGBA", 16, 16, (i) => ((i >> 2) % 16 < 8 ? red : hiddenGreen)[i % 4]!);
  const { data } = resizeImage(image, { width: 5, height: 5 });
  for (let i = 0; i < data.length; i += 4) if (data[i + 3]! > 0) expect([data[i], data[i + 1]]).toEqual([255, 0]);
});

test("a very long picture costs only what is asked of it", () => {
  const image = imageOf("RGB", 1, 100_000, (i) => i % 251);
  const window = { left: 0, top: 12_799_872, width: 256, height: 256 };
  const { width, height } = resizeImage(image, { width: 256, height: 25_600_000, window });
  expect([width, height]).toEqual([256, 256]);
});

test("premultiplying and back keeps opaque pixels, and others but for rounding", () => {
  fc.assert(
    fc.property(anyImage(["RGBA", "LA"]), (image) => {
      const back = unpremultiply(premultiply(image)).data;
      const samples = samplesOf(image);
      for (let i = 0; i < back.length; i++) {
        const alpha = image.data[i - (i % samples) + samples - 1]!;
        if (alpha === 0) continue;
        // Half a level of the product, seen through 255 / alpha, and one for rounding down.
        const allowed = alpha === 255 ? 0 : 127.5 / alpha + 1;
        expect(Math.abs(back[i]! - image.data[i]!)).toBeLessThanOrEqual(allowed);
      }
    }),
  );
});

describe("what cannot be resized", () => {
  const image = imageOf("RGB", 4, 4, () => 0);

  test.each([
    ["no width", { width: 0, height: 4 }],
    ["half a pixel", { width: 4, height: 2.5 }],
    ["NaN", { width: Number.NaN, height: 4 }],
    ["more than 31 bits", { width: 2 ** 31, height: 4 }],
    ["a window outside", { width: 8, height: 8, window: { left: 5, top: 0, width: 4, height: 4 } }],
    ["a window of nothing", { width: 8, height: 8, window: { left: 0, top: 0, width: 0, height: 4 } }],
  ])("%s is refused", (_, options) => {
    expect(() => resizeImage(image, options)).toThrow(expect.objectContaining({ code: "ARGUMENT_INVALID" }));
  });

  test.each<[string, Partial<Image>, string]>([
    ["too few samples", { data: new Uint8Array(47) }, "SHAPE_MISMATCH"],
    ["an unknown mode", { mode: "HSV" as ImageMode }, "ARGUMENT_INVALID"],
    ["a mode of every object", { mode: "constructor" as ImageMode }, "ARGUMENT_INVALID"],
    ["a negative height", { height: -4 }, "ARGUMENT_INVALID"],
    ["int32 samples in RGB", { data: new Int32Array(48) }, "DTYPE_MISMATCH"],
    ["bytes in I", { mode: "I", data: new Uint8Array(16) }, "DTYPE_MISMATCH"],
  ])("a picture with %s is refused", (_, change, code) => {
    expect(() => resizeImage({ ...image, ...change }, { width: 2, height: 2 })).toThrow(
      expect.objectContaining({ code }),
    );
  });

  test("a crop outside the picture is refused", () => {
    for (const box of [
      { left: -1, top: 0, width: 2, height: 2 },
      { left: 3, top: 0, width: 2, height: 2 },
      { left: 0, top: 0, width: 0, height: 2 },
    ]) {
      expect(() => cropImage(image, box)).toThrow(expect.objectContaining({ code: "ARGUMENT_INVALID" }));
    }
  });
});

function channel(image: Image, c: number): Image {
  const samples = samplesOf(image);
  return imageOf("L", image.width, image.height, (i) => image.data[i * samples + c]!);
}

function mirror(image: Image): Image {
  const { width, mode, height, data } = image;
  const samples = samplesOf(image);
  return imageOf(mode, width, height, (i) => {
    const pixel = Math.floor(i / samples);
    const x = pixel % width;
    return data[(pixel - x + width - 1 - x) * samples + (i % samples)]!;
  });
}

function pixelsOf({ data }: Image): string[] {
  return Array.from({ length: data.length / 3 }, (_, i) => data.slice(i * 3, i * 3 + 3).join());
}
