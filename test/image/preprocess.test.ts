// Our own parts of preprocessing: colour conversion, transparency, pixels to floats and back.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ndarray } from "../../src/core/index.ts";
import { fromPixels, type Image, preprocessImage, toPixels, toRgb, writePixels } from "../../src/image/index.ts";
import { anyImage, imageOf } from "./pictures.ts";

const halfRed: Image = { width: 1, height: 1, mode: "RGBA", data: Uint8Array.of(255, 0, 0, 128) };

describe("transparency", () => {
  test("is laid over white unless told otherwise", () => {
    expect([...toRgb(halfRed).data]).toEqual([255, 127, 127]);
  });

  test("is laid over the colour that was asked for", () => {
    expect([...toRgb(halfRed, [0, 0, 255]).data]).toEqual([128, 0, 127]);
  });

  test("is dropped as the reference does it", () => {
    expect([...toRgb(halfRed, "drop").data]).toEqual([255, 0, 0]);
  });

  test("makes what is invisible the background, whatever colour is hidden there", () => {
    fc.assert(
      fc.property(anyImage(["RGBA", "LA"]), (image) => {
        const samples = image.mode === "LA" ? 2 : 4;
        const hidden = imageOf(image.mode, image.width, image.height, (i) =>
          i % samples === samples - 1 ? 0 : image.data[i]!,
        );
        const { data } = preprocessImage(hidden, { size: 8, background: [1, 2, 3] });
        for (let i = 0; i < data.length; i++) expect(data[i]).toBe((i % 3) + 1);
      }),
      { numRuns: 30 },
    );
  });

  test("of an indexed picture is laid over the background too", () => {
    const image = { ...halfRed, data: Uint8Array.of(9, 9, 9, 0), indexed: true };
    expect(new Set(preprocessImage(image, { size: 4 }).data)).toEqual(new Set([255]));
  });

  test("does not matter where there is none", () => {
    fc.assert(
      fc.property(anyImage(["L", "RGB", "CMYK", "I"]), (image) => {
        expect(toRgb(image)).toEqual(toRgb(image, "drop"));
      }),
    );
  });
});

describe("colour", () => {
  test.each<[string, Image, number[]]>([
    ["grey is repeated", { width: 1, height: 1, mode: "L", data: Uint8Array.of(7) }, [7, 7, 7]],
    [
      "16-bit grey is clipped",
      { width: 2, height: 1, mode: "I", data: Int32Array.of(300, 12) },
      [255, 255, 255, 12, 12, 12],
    ],
    ["negative grey is clipped", { width: 1, height: 1, mode: "I", data: Int32Array.of(-5) }, [0, 0, 0]],
    ["no ink is white", { width: 1, height: 1, mode: "CMYK", data: new Uint8Array(4) }, [255, 255, 255]],
    ["all black ink is black", { width: 1, height: 1, mode: "CMYK", data: Uint8Array.of(0, 99, 0, 255) }, [0, 0, 0]],
    ["cyan ink takes red", { width: 1, height: 1, mode: "CMYK", data: Uint8Array.of(255, 0, 0, 55) }, [0, 200, 200]],
  ])("%s", (_, image, expected) => {
    expect([...toRgb(image).data]).toEqual(expected);
  });
});

describe("the square", () => {
  // The colour tells the place: red the column, green the row.
  const place = (width: number, height: number): Image =>
    imageOf("RGB", width, height, (i) => [Math.floor(i / 3) % width, Math.floor(i / 3 / width), 0][i % 3]!);

  test.each([
    // [width, height, first column, first row]: (long - 8) / 2 rounded half to even.
    [8, 13, 0, 2],
    [8, 11, 0, 2],
    [9, 8, 0, 0],
    [15, 8, 4, 0],
    [8, 8, 0, 0],
  ])("of a %i x %i picture begins at column %i, row %i", (width, height, column, row) => {
    const { data } = preprocessImage(place(width, height), { size: 8 });
    expect([data[0], data[1]]).toEqual([column, row]);
  });

  test("has the size that was asked for, in either mode of resizing", () => {
    fc.assert(
      fc.property(
        anyImage(),
        fc.integer({ min: 1, max: 30 }),
        fc.constantFrom("shortest" as const, "squash" as const),
        (image, size, resize) => {
          const square = preprocessImage(image, { size, resize });
          expect([square.width, square.height, square.mode, square.data.length]).toEqual([
            size,
            size,
            "RGB",
            3 * size * size,
          ]);
        },
      ),
    );
  });

  test.each([0, -1, 2.5, Number.NaN, Number.POSITIVE_INFINITY])("of edge %d is refused", (size) => {
    expect(() => preprocessImage(halfRed, { size })).toThrow(expect.objectContaining({ code: "ARGUMENT_INVALID" }));
  });
});

describe("pixels", () => {
  test("are the reference's floats of every byte", () => {
    const image = imageOf("RGB", 256, 1, (i) => Math.floor(i / 3));
    const { data, shape } = toPixels([image]);
    expect(shape).toEqual([1, 3, 1, 256]);
    for (let byte = 0; byte < 256; byte++) {
      const unit = Math.fround(byte / 255);
      expect(data[byte]).toBe(Math.fround(Math.fround(unit - Math.fround(0.5)) / Math.fround(0.5)));
    }
    expect([data[0], data[255]]).toEqual([-1, 1]);
  });

  test("are planes of red, green and blue, one picture after another", () => {
    const a: Image = { width: 2, height: 1, mode: "RGB", data: Uint8Array.of(0, 255, 0, 255, 0, 0) };
    const b: Image = { width: 2, height: 1, mode: "RGB", data: Uint8Array.of(255, 255, 255, 0, 0, 0) };
    expect([...toPixels([a, b]).data]).toEqual([-1, 1, 1, -1, -1, -1, 1, -1, 1, -1, 1, -1]);
  });

  test("become the picture they came from", () => {
    fc.assert(
      fc.property(anyImage(["RGB"]), (image) => {
        const batch = toPixels([image, image]);
        expect(fromPixels(batch, 1)).toEqual(image);
        const alone = ndarray("f32", batch.shape.slice(1), batch.data.subarray(0, image.data.length));
        expect(fromPixels(alone)).toEqual(image);
      }),
    );
  });

  test("outside the range are clamped, and NaN is black", () => {
    const pixels = ndarray("f32", [3, 1, 2], Float32Array.of(-7, 9, Number.NaN, 1e30, Number.NEGATIVE_INFINITY, 0));
    expect([...fromPixels(pixels).data]).toEqual([0, 0, 0, 255, 255, 128]);
  });

  test("of another shape are refused", () => {
    const image = imageOf("RGB", 2, 2, () => 0);
    const refused = (act: () => unknown, code: string) => expect(act).toThrow(expect.objectContaining({ code }));
    refused(() => toPixels([]), "ARGUMENT_INVALID");
    refused(() => toPixels([imageOf("L", 2, 2, () => 0)]), "ARGUMENT_INVALID");
    refused(() => toPixels([image, imageOf("RGB", 1, 4, () => 0)]), "SHAPE_MISMATCH");
    refused(() => writePixels(image, ndarray("f32", [1, 3, 2, 2]), 1), "SHAPE_MISMATCH");
    refused(() => fromPixels(ndarray("f32", [1, 4, 2, 2])), "SHAPE_MISMATCH");
    refused(() => fromPixels(ndarray("f32", [1, 3, 2, 2]), 1), "SHAPE_MISMATCH");
    refused(() => fromPixels(ndarray("f32", [3, 2])), "SHAPE_MISMATCH");
  });
});
