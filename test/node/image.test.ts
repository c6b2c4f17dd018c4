// Decoding and encoding picture files. That pixels equal the reference's is in ../image/goldens.test.ts.
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32, deflateSync } from "node:zlib";
import fc from "fast-check";
import sharp, { type Sharp } from "sharp";
import { afterAll, describe, expect, test } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { type Image, preprocessImage, psnr, toRgb } from "../../src/image/index.ts";
import { type DecodeOptions, decodeImage, encodePng } from "../../src/node/image.ts";
import { goldenPath, maxDifference } from "../goldens.ts";
import { anyImage, imageOf } from "../image/pictures.ts";

const folder = mkdtempSync(join(tmpdir(), "toklip-image-"));
afterAll(() => rmSync(folder, { recursive: true }));

const golden = (name: string): string => goldenPath(`preprocess/inputs/${name}`);
const picture = (name: string): string => new URL(`../pictures/${name}`, import.meta.url).pathname;

function fails(input: string | Uint8Array, code: string, options?: DecodeOptions): Promise<void> {
  return expect(decodeImage(input, options)).rejects.toThrow(expect.objectContaining({ name: "ToklipError", code }));
}

/** Small files of every format, all of the same photograph. */
async function samples(): Promise<Record<string, Uint8Array>> {
  const photo = sharp(picture("chelsea.jpg")).resize(48, 32);
  const as = (pipeline: Sharp) => pipeline.toBuffer();
  return {
    jpeg: await as(photo.clone().jpeg()),
    "progressive jpeg": await as(photo.clone().jpeg({ progressive: true })),
    png: await as(photo.clone().png()),
    "interlaced png": await as(photo.clone().png({ progressive: true })),
    "palette png": await as(photo.clone().png({ palette: true })),
    webp: await as(photo.clone().webp()),
    "lossless webp": await as(photo.clone().webp({ lossless: true })),
    gif: await as(photo.clone().gif()),
    avif: await as(photo.clone().avif({ effort: 0 })),
    "plain tiff": await as(photo.clone().tiff({ compression: "none" })),
    "lzw tiff": await as(photo.clone().tiff({ compression: "lzw" })),
    "tiled tiff": await as(photo.clone().tiff({ compression: "deflate", tile: true })),
  };
}

const files = Object.entries(await samples());

describe.each(files)("%s", (name, bytes) => {
  test("is decoded to the photograph", async () => {
    const image = await decodeImage(bytes);
    expect([image.width, image.height, image.indexed ?? false]).toEqual([48, 32, /palette|gif/.test(name)]);
    const original = await decodeImage(await sharp(picture("chelsea.jpg")).resize(48, 32).png().toBuffer());
    expect(psnr(toRgb(image), original)).toBeGreaterThan(25);
  });

  test("cut off anywhere is an error or the whole picture, never a part", async () => {
    const whole = await decodeImage(bytes);
    const cuts = Array.from({ length: 40 }, (_, i) => Math.floor((bytes.length * i) / 40));
    let errors = 0;
    for (const cut of [...cuts, bytes.length - 1, bytes.length - 2, bytes.length - 12]) {
      const result = await decodeImage(bytes.subarray(0, cut)).catch((error: unknown) => error);
      if (result instanceof ToklipError) errors++;
      else expect(maxDifference((result as Image).data, whole.data)).toBe(0);
    }
    expect(errors).toBeGreaterThanOrEqual(40);
  });

  test("with damaged bytes is a picture or an error of ours", async () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(damage, async (changes) => {
        const damaged = bytes.slice();
        for (const [at, value] of changes) damaged[at % damaged.length] = value;
        const result = await decodeImage(damaged, { maxPixels: 1e6 }).catch((error: unknown) => error);
        if (!(result instanceof ToklipError)) expect((result as Image).width).toBeGreaterThan(0);
      }),
      { numRuns: 60 },
    );
  });
});

describe("what is not a picture", () => {
  test("no bytes, text and noise are unreadable", async () => {
    await fails(new Uint8Array(0), "IMAGE_UNREADABLE");
    await fails(new TextEncoder().encode("This is not a picture."), "IMAGE_UNREADABLE");
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), async (noise) => {
        await fails(noise, "IMAGE_UNREADABLE");
      }),
      { numRuns: 50 },
    );
  });

  test("text in a file named .jpg is unreadable, and the message names the file", async () => {
    const path = join(folder, "note.jpg");
    writeFileSync(path, "hello");
    await expect(decodeImage(path)).rejects.toThrow(/note\.jpg: .*unsupported image format.*\[IMAGE_UNREADABLE\]$/);
  });

  test("an empty file, a folder and a missing file have errors of their own", async () => {
    const path = join(folder, "empty.png");
    writeFileSync(path, "");
    await fails(path, "IMAGE_UNREADABLE");
    await fails(folder, "IMAGE_UNREADABLE");
    await fails(join(folder, "missing.png"), "FILE_NOT_FOUND");
    await fails("a\0b.png", "FILE_NOT_FOUND");
  });

  test("a file of absurd size is not read", async () => {
    const path = join(folder, "huge.png");
    writeFileSync(path, "");
    truncateSync(path, 513 * 2 ** 20);
    await fails(path, "IMAGE_TOO_LARGE");
  });

  test("a request to stop is heard", async () => {
    await fails(picture("chelsea.jpg"), "ABORTED", { signal: AbortSignal.abort() });
  });
});

describe("too many pixels", () => {
  test("in a header of a few bytes are refused by what the header says", async () => {
    await expect(decodeImage(png({ width: 100_000, height: 100_000 }))).rejects.toThrow(
      "image: 100000x100000 is over the limit of 268000000 pixels [IMAGE_TOO_LARGE]",
    );
  });

  test("are those beyond the limit that was given", async () => {
    await fails(picture("chelsea.jpg"), "IMAGE_TOO_LARGE", { maxPixels: 451 * 300 - 1 });
    await expect(decodeImage(picture("chelsea.jpg"), { maxPixels: 451 * 300 })).resolves.toBeDefined();
  });

  test("in an SVG are refused, also by entities that multiply", async () => {
    await fails(svg('width="1000000" height="1000000"'), "IMAGE_TOO_LARGE");
    const levels = Array.from({ length: 12 }, (_, i) => `<!ENTITY e${i + 1} "${`&e${i};`.repeat(10)}">`).join("");
    const bomb = `<!DOCTYPE svg [<!ENTITY e0 "ha">${levels}]><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>&e12;</text></svg>`;
    await fails(new TextEncoder().encode(bomb), "IMAGE_UNREADABLE");
  });

  test("are not believed where the file has fewer", async () => {
    await fails(png({ width: 9000, height: 9000 }), "IMAGE_UNREADABLE");
  });
});

describe("EXIF orientation", () => {
  // What is seen of the 3 x 2 picture [0 1 2 / 3 4 5], for each orientation.
  const SEEN: Record<number, [width: number, seen: number[]]> = {
    1: [3, [0, 1, 2, 3, 4, 5]],
    2: [3, [2, 1, 0, 5, 4, 3]],
    3: [3, [5, 4, 3, 2, 1, 0]],
    4: [3, [3, 4, 5, 0, 1, 2]],
    5: [2, [0, 3, 1, 4, 2, 5]],
    6: [2, [3, 0, 4, 1, 5, 2]],
    7: [2, [5, 2, 4, 1, 3, 0]],
    8: [2, [2, 5, 1, 4, 0, 3]],
  };
  const stored = Uint8Array.from({ length: 18 }, (_, i) => Math.floor(i / 3));

  test.each(Object.entries(SEEN))("%s turns the picture, unless it is ignored", async (orientation, [width, seen]) => {
    const raw = sharp(stored, { raw: { width: 3, height: 2, channels: 3 } });
    const bytes = await raw
      .withMetadata({ orientation: Number(orientation) })
      .png()
      .toBuffer();
    const turned = await decodeImage(bytes);
    expect(turned.width).toBe(width);
    expect([...turned.data].filter((_, i) => i % 3 === 0)).toEqual(seen);
    const ignored = await decodeImage(bytes, { exif: false });
    expect([ignored.width, [...ignored.data]]).toEqual([3, [...stored]]);
  });

  test("of a TIFF is applied always, as Pillow does", async () => {
    const raw = sharp(stored, { raw: { width: 3, height: 2, channels: 3 } });
    const bytes = await raw.withMetadata({ orientation: 6 }).tiff({ compression: "none" }).toBuffer();
    for (const exif of [true, false]) expect((await decodeImage(bytes, { exif })).width).toBe(2);
  });

  test("of the reference's picture changes what the model sees", async () => {
    const upright = await decodeImage(golden("exif_orient6.jpg"));
    const lying = await decodeImage(golden("exif_orient6.jpg"), { exif: false });
    expect([upright.width, upright.height]).toEqual([lying.height, lying.width]);
    const settings = { size: 32, resize: "squash" } as const;
    expect(psnr(preprocessImage(upright, settings), preprocessImage(lying, settings))).toBeLessThan(20);
  });
});

describe("modes", () => {
  const row = (...bytes: number[]) => Uint8Array.of(0, ...bytes);

  test.each<[string, PngParts, Partial<Image>]>([
    ["1-bit grey", { bits: 1, data: row(0b10_000000) }, { mode: "L", indexed: true, data: Uint8Array.of(255, 0) }],
    ["2-bit grey", { bits: 2, data: row(0b01_10_0000) }, { mode: "L", data: Uint8Array.of(85, 170) }],
    ["16-bit grey", { bits: 16, data: row(1, 2, 255, 254) }, { mode: "I", data: Int32Array.of(258, 65534) }],
    [
      "16-bit grey and alpha",
      { bits: 16, colour: 4, data: row(1, 2, 3, 4, 5, 6, 7, 8) },
      { mode: "LA", data: Uint8Array.of(1, 3, 5, 7) },
    ],
    ["grey and alpha", { colour: 4, data: row(1, 2, 3, 4) }, { mode: "LA", data: Uint8Array.of(1, 2, 3, 4) }],
    [
      "16-bit colour",
      { bits: 16, colour: 2, data: row(1, 255, 2, 255, 3, 255, 4, 0, 5, 0, 6, 0) },
      { mode: "RGB", data: Uint8Array.of(1, 2, 3, 4, 5, 6) },
    ],
    [
      "colour and alpha",
      { colour: 6, data: row(1, 2, 3, 0, 5, 6, 7, 8) },
      { mode: "RGBA", data: Uint8Array.of(1, 2, 3, 0, 5, 6, 7, 8) },
    ],
  ])("%s PNG samples come as they are", async (_, parts, expected) => {
    const { data, ...rest } = await decodeImage(png({ width: 2, height: 1, ...parts }));
    expect({ ...rest, data: [...data] }).toEqual({ width: 2, height: 1, ...expected, data: [...expected.data!] });
  });

  test("a palette with transparency is indexed and keeps its hidden colours", async () => {
    const image = await decodeImage(golden("palette_trns.png"));
    expect([image.mode, image.indexed]).toEqual(["RGBA", true]);
    const settings = { size: 64 } as const;
    const white = preprocessImage(image, settings);
    const dropped = preprocessImage(image, { ...settings, background: "drop" });
    expect(maxDifference(white.data, dropped.data)).toBeGreaterThan(0);
  });

  test("an embedded colour profile is not applied", async () => {
    const plain = await decodeImage(picture("chelsea.jpg"));
    const tagged = await sharp(await encodePng(plain))
      .withMetadata({ icc: "p3" })
      .png()
      .toBuffer();
    const raw = await sharp(tagged, { ignoreIcc: true }).raw().toBuffer();
    expect((await sharp(tagged).metadata()).hasProfile).toBe(true);
    expect(maxDifference((await decodeImage(tagged)).data, raw)).toBe(0);
  });

  test("of an animation the first frame is taken", async () => {
    const frames = await sharp(Buffer.from([255, 0, 0, 0, 0, 255]), {
      raw: { width: 1, height: 2, channels: 3, pageHeight: 1 },
    })
      .gif({ delay: [9, 9], loop: 0 })
      .toBuffer();
    expect((await sharp(frames).metadata()).pages).toBe(2);
    const { width, height, data } = toRgb(await decodeImage(frames));
    expect([width, height, ...data]).toEqual([1, 1, 255, 0, 0]);
  });
});

describe("SVG", () => {
  test.each([
    ["small", 'width="24" height="24"', 512, 512],
    ["small and wide", 'width="48" height="24"', 1024, 512],
    ["without a size", 'viewBox="0 0 16 32"', 512, 1024],
    ["large enough", 'width="700" height="600"', 700, 600],
    ["very long", 'width="30" height="3000"', 41, 4096],
  ])("%s is drawn at a size that is not blurred", async (_, attributes, width, height) => {
    const image = await decodeImage(svg(attributes));
    expect(image.mode).toBe("RGBA");
    expect(Math.abs(image.width - width)).toBeLessThanOrEqual(1);
    expect(Math.abs(image.height - height)).toBeLessThanOrEqual(1);
  });

  test("stays inside the limit of pixels", async () => {
    const { width, height } = await decodeImage(svg('width="24" height="24"'), { maxPixels: 10_000 });
    expect(width * height).toBeLessThanOrEqual(10_000);
  });

  test("shows no other file", async () => {
    const secret = join(folder, "secret.png");
    writeFileSync(secret, await encodePng(imageOf("RGB", 24, 24, () => 77)));
    const size = 'xmlns="http://www.w3.org/2000/svg" width="24" height="24"';
    const showing = (link: string) => `<svg ${size}><image href="${link}" width="24" height="24"/></svg>`;
    const isBlank = async (input: string | Uint8Array) =>
      (await decodeImage(input)).data.every((sample) => sample === 0);
    const path = join(folder, "thief.svg");
    writeFileSync(path, showing("secret.png"));
    expect(await isBlank(path)).toBe(true);
    expect(await isBlank(Buffer.from(showing(`file://${secret}`)))).toBe(true);
    // What it carries in itself is shown.
    const embedded = `data:image/png;base64,${readFileSync(secret).toString("base64")}`;
    expect(await isBlank(Buffer.from(showing(embedded)))).toBe(false);
  });
});

describe("at one time", () => {
  test("many pictures come out as they do one by one", async () => {
    const paths = ["chelsea.jpg", "coffee.jpg", "camera.png", "rocket.jpg", "china.jpg", "flower.jpg"].map(picture);
    const alone: Image[] = [];
    for (const path of paths) alone.push(await decodeImage(path));
    const together = await Promise.all([...paths, ...paths].map((path) => decodeImage(path)));
    for (const [i, image] of together.entries()) {
      expect(maxDifference(image.data, alone[i % paths.length]!.data)).toBe(0);
    }
  });

  test("a damaged one does not disturb the others", async () => {
    const good = readFileSync(picture("rocket.jpg"));
    const results = await Promise.allSettled([good, good.subarray(0, 5000), good].map((bytes) => decodeImage(bytes)));
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  });
});

describe("PNG files of ours", () => {
  test("hold the picture exactly", async () => {
    await fc.assert(
      fc.asyncProperty(anyImage(["L", "LA", "RGB", "RGBA"]), async (image) => {
        const { data, ...rest } = await decodeImage(await encodePng(image));
        expect(rest).toEqual({ width: image.width, height: image.height, mode: image.mode });
        expect(maxDifference(data, image.data)).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  test("hold CMYK and 16-bit grey as RGB", async () => {
    for (const mode of ["CMYK", "I"] as const) {
      const image = imageOf(mode, 3, 2, (i) => i * 20);
      const { data } = await decodeImage(await encodePng(image));
      expect(maxDifference(data, toRgb(image).data)).toBe(0);
    }
  });

  test("are not made of a picture that is none", async () => {
    const image: Image = { width: 2, height: 2, mode: "RGB", data: new Uint8Array(11) };
    await expect(encodePng(image)).rejects.toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
  });
});

interface PngParts {
  readonly bits?: number;
  /** PNG's colour type: 0 grey, 2 colour, 4 grey and alpha, 6 colour and alpha. */
  readonly colour?: number;
  /** Rows, each after its filter byte. Default: a single row's worth of nothing. */
  readonly data?: Uint8Array;
}

/** A PNG file, its header saying what we want. */
function png({
  width,
  height,
  bits = 8,
  colour = 0,
  data = new Uint8Array(8),
}: PngParts & { width: number; height: number }): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([bits, colour], 8);
  const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(data)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(data.length, 0);
  frame.writeUInt32BE(crc32(body) >>> 0, 4);
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
}

function svg(attributes: string): Uint8Array {
  return new TextEncoder().encode(
    `<svg xmlns="http://www.w3.org/2000/svg" ${attributes}><rect x="2" y="2" width="9" height="9" fill="#c00"/></svg>`,
  );
}
