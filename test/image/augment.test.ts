// Augmentation against torchvision on Pillow pictures (interop/augmentation.py made the goldens), and what must hold for any.
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Random } from "../../src/core/index.ts";
import { augmentImage, checkAugmentation } from "../../src/image/augment.ts";
import { randomSquare, resizedCropBox } from "../../src/image/augment-crop.ts";
import { COLOUR_ADJUSTMENTS, type ColourAdjustment, greyOfRgb, hsvOfRgb, rgbOfHsv } from "../../src/image/colour.ts";
import { applyJitter, type JitterStep, jitterSteps } from "../../src/image/colour-jitter.ts";
import { type Image, type ImageMode, preprocessImage, resizeImage } from "../../src/image/index.ts";
import { goldenJson } from "../goldens.ts";
import { anyImage, imageOf } from "./pictures.ts";

interface Made {
  readonly width: number;
  readonly height: number;
  readonly seed: number;
  readonly sha256: string;
}
type Pair = readonly [number, number];
interface Goldens {
  readonly colours: { readonly hsvOfRgb: string; readonly rgbOfHsv: string; readonly greyOfRgb: string };
  readonly adjustments: readonly { name: ColourAdjustment; factor: number; seed: number; sha256: string }[];
  readonly jitters: readonly { seed: number; steps: readonly JitterStep[]; sha256: string }[];
  readonly boxes: readonly { width: number; height: number; scale: Pair; ratio: Pair; draws: number[]; box: object }[];
  readonly resizedCrops: readonly (Made & { mode: ImageMode; size: number; draws: number[] })[];
  readonly randomSquares: readonly (Made & { size: number; draws: number[] })[];
  readonly halvings: readonly (Made & { to: Pair })[];
}
const goldens = goldenJson("augment/augment.json") as Goldens;

/** Gives out the uniform numbers of a golden. */
class ScriptedRandom extends Random {
  readonly draws: number[];
  constructor(draws: readonly number[]) {
    super(0);
    this.draws = [...draws];
  }
  override uniform(): number {
    const draw = this.draws.shift();
    if (draw === undefined) throw new Error("more numbers were drawn than the reference drew");
    return draw;
  }
}

/** The picture that `noise` of interop/augmentation.py makes. */
function noise(mode: ImageMode, width: number, height: number, seed: number): Image {
  return imageOf(mode, width, height, (i) => {
    let x = Math.imul(i + seed, 2654435761);
    x = Math.imul(x ^ (x >>> 15), 2246822507);
    x ^= x >>> 13;
    const level = (x >>> 8) % 384;
    return level < 256 ? level : level < 320 ? 0 : 255;
  });
}

const sha256 = (bytes: Image["data"]): string => createHash("sha256").update(bytes).digest("hex");

/** All 2^24 triples of bytes, the last changing fastest. */
function everyColour(): Uint8Array {
  const all = new Uint8Array(3 * 2 ** 24);
  for (let i = 0, at = 0; i < 2 ** 24; i++) {
    all[at++] = i >> 16;
    all[at++] = i >> 8;
    all[at++] = i;
  }
  return all;
}

describe("colour arithmetic equals Pillow's", () => {
  const all = everyColour();
  test("RGB to HSV, for every colour", () => expect(sha256(hsvOfRgb(all))).toBe(goldens.colours.hsvOfRgb));
  test("HSV to RGB, for every colour", () => expect(sha256(rgbOfHsv(all))).toBe(goldens.colours.rgbOfHsv));
  test("RGB to grey, for every colour", () => {
    const repeated = greyOfRgb(all);
    const grey = new Uint8Array(repeated.length / 3);
    for (let i = 0; i < grey.length; i++) grey[i] = repeated[3 * i]!;
    expect(sha256(grey)).toBe(goldens.colours.greyOfRgb);
  });

  test.each(goldens.adjustments)("$name by $factor", ({ name, factor, seed, sha256: expected }) => {
    const { data } = noise("RGB", 61, 47, seed);
    expect(sha256(COLOUR_ADJUSTMENTS[name](data as Uint8Array, factor))).toBe(expected);
  });

  test.each(goldens.jitters)("all four in torchvision's order, seed $seed", ({ seed, steps, sha256: expected }) => {
    expect(sha256(applyJitter(noise("RGB", 61, 47, seed).data as Uint8Array, steps))).toBe(expected);
  });
});

describe("crops equal the reference's for the same draws", () => {
  test("the boxes of RandomResizedCrop, the fallback among them", () => {
    for (const { draws, box, ...settings } of goldens.boxes) {
      const random = new ScriptedRandom(draws);
      expect(resizedCropBox(settings, settings, random), JSON.stringify(settings)).toEqual(box);
      expect(random.draws).toEqual([]);
    }
    expect(goldens.boxes.some(({ draws }) => draws.length === 20)).toBe(true);
  });

  test.each(goldens.resizedCrops)(
    "$mode $width x $height, cut out and resized",
    ({ draws, sha256: expected, ...made }) => {
      const image = noise(made.mode, made.width, made.height, made.seed);
      const { data } = augmentImage(image, { size: made.size, background: "drop" }, new ScriptedRandom(draws));
      expect(sha256(data)).toBe(expected);
    },
  );

  test.each(goldens.halvings)(
    "a box of $width x $height averaged to $to",
    ({ width, height, to, seed, sha256: expected }) => {
      const half = resizeImage(noise("RGB", width, height, seed), { width: to[0], height: to[1], filter: "box" });
      expect(sha256(half.data)).toBe(expected);
    },
  );

  test.each(goldens.randomSquares)("a random square of $width x $height", ({ draws, sha256: expected, ...made }) => {
    const image = noise("RGB", made.width, made.height, made.seed);
    const random = new ScriptedRandom(draws);
    expect(sha256(randomSquare(image, made.size, [0.8, 1], random).data)).toBe(expected);
    expect(random.draws).toEqual([]);
  });
});

describe("a training picture", () => {
  const settings = {
    size: 8,
    flip: 0.5,
    colorJitter: { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
    grayscale: 0.2,
    background: "random",
  } as const;
  const crops = [{ kind: "resized-crop" }, { kind: "random-crop" }, { kind: "shortest" }, { kind: "squash" }] as const;

  test("is an RGB square, the same for the same seed, of a picture in any mode and size", () => {
    fc.assert(
      fc.property(anyImage(), fc.constantFrom(...crops), fc.integer(), (image, crop, seed) => {
        const make = () => augmentImage(image, { ...settings, crop }, new Random(seed));
        const { width, height, mode, data } = make();
        expect([width, height, mode, data.length]).toEqual([8, 8, "RGB", 192]);
        expect(make().data).toEqual(data);
      }),
      { numRuns: 150 },
    );
  });

  test("leaves the picture it is made of as it was", () => {
    const image = noise("RGB", 8, 8, 1);
    const before = image.data.slice();
    for (let seed = 0; seed < 30; seed++)
      augmentImage(image, { ...settings, crop: { kind: "squash" } }, new Random(seed));
    expect(image.data).toEqual(before);
  });

  test("is the evaluation's where nothing is random", () => {
    const image = noise("RGBA", 40, 30, 3);
    for (const resize of ["shortest", "squash"] as const) {
      const { data } = augmentImage(image, { size: 16, crop: { kind: resize } }, new Random(1));
      expect(data).toEqual(preprocessImage(image, { size: 16, resize }).data);
    }
  });

  test("lies on white every other time where backgrounds are mixed, and on many colours else", () => {
    const clear = { width: 8, height: 8, mode: "RGBA", data: new Uint8Array(256) } as const;
    const colours = Array.from({ length: 400 }, (_, seed) => {
      const { data } = augmentImage(
        clear,
        { size: 8, crop: { kind: "squash" }, background: "mixed" },
        new Random(seed),
      );
      return [...data.subarray(0, 3)].join();
    });
    const white = colours.filter((colour) => colour === "255,255,255").length;
    expect(white).toBeGreaterThan(160);
    expect(white).toBeLessThan(240);
    expect(new Set(colours).size).toBeGreaterThan(150);
  });

  test("differs from seed to seed", () => {
    const image = noise("RGB", 40, 30, 3);
    const made = Array.from({ length: 20 }, (_, seed) => sha256(augmentImage(image, settings, new Random(seed)).data));
    expect(new Set(made).size).toBe(20);
  });

  test("is mirrored when told to be, pixel by pixel", () => {
    const image = noise("RGB", 9, 5, 3);
    const crop = { kind: "squash" } as const;
    const plain = augmentImage(image, { size: 6, crop }, new Random(1));
    const flipped = augmentImage(image, { size: 6, crop, flip: 1 }, new Random(1));
    const pixel = ({ data }: Image, x: number, y: number) => [...data.subarray((y * 6 + x) * 3, (y * 6 + x) * 3 + 3)];
    for (let i = 0; i < 36; i++) {
      const [x, y] = [i % 6, Math.floor(i / 6)];
      expect(pixel(flipped, x, y)).toEqual(pixel(plain, 5 - x, y));
    }
  });

  test("loses its colour when told to", () => {
    const { data } = augmentImage(noise("RGB", 20, 20, 3), { size: 6, grayscale: 1 }, new Random(1));
    for (let i = 0; i < data.length; i += 3) expect(new Set(data.subarray(i, i + 3)).size).toBe(1);
  });

  test("shows white, a colour or a random colour where the picture is transparent", () => {
    const clear = imageOf("RGBA", 5, 5, (i) => (i % 4 === 3 ? 0 : 77));
    const colourOf = (background: "white" | "random" | "drop" | [number, number, number], seed: number) => {
      const { data } = augmentImage(clear, { size: 4, background }, new Random(seed));
      const colours = new Set(Array.from({ length: 16 }, (_, i) => data.subarray(i * 3, i * 3 + 3).join()));
      expect(colours.size).toBe(1);
      return [...colours][0];
    };
    expect(colourOf("white", 1)).toBe("255,255,255");
    expect(colourOf([1, 2, 3], 1)).toBe("1,2,3");
    expect(new Set(Array.from({ length: 20 }, (_, seed) => colourOf("random", seed))).size).toBe(20);
  });

  test("of an enormous aspect ratio takes no more memory than another", () => {
    const thin = imageOf("L", 1, 100_000, (i) => i % 256);
    for (const crop of crops) expect(augmentImage(thin, { size: 4, crop }, new Random(1)).data.length).toBe(48);
  });
});

describe("jitter", () => {
  test("draws every order, and factors inside their ranges", () => {
    const orders = new Set<string>();
    for (let seed = 0; seed < 600; seed++) {
      const steps = jitterSteps({ brightness: 0.4, contrast: 1.5, saturation: 0.2, hue: 0.1 }, new Random(seed));
      orders.add(steps.map(({ name }) => name).join());
      const factor = Object.fromEntries(steps.map((step) => [step.name, step.factor]));
      expect(Math.abs(factor.brightness! - 1)).toBeLessThanOrEqual(0.4);
      expect(factor.contrast).toBeGreaterThanOrEqual(0);
      expect(factor.contrast).toBeLessThanOrEqual(2.5);
      expect(Math.abs(factor.saturation! - 1)).toBeLessThanOrEqual(0.2);
      expect(Math.abs(factor.hue!)).toBeLessThanOrEqual(0.1);
    }
    expect(orders.size).toBe(24);
  });

  test("leaves out what has no amount", () => {
    expect(jitterSteps({ hue: 0.1 }, new Random(1)).map(({ name }) => name)).toEqual(["hue"]);
    expect(jitterSteps({}, new Random(1))).toEqual([]);
  });

  test("happens as often as it should", () => {
    const image = noise("RGB", 8, 8, 1);
    const settings = { size: 8, crop: { kind: "squash" }, colorJitter: { brightness: 0.5, probability: 0.3 } } as const;
    let changed = 0;
    for (let seed = 0; seed < 1000; seed++) {
      if (sha256(augmentImage(image, settings, new Random(seed)).data) !== sha256(image.data)) changed++;
    }
    expect(Math.abs(changed / 1000 - 0.3)).toBeLessThan(0.05);
  });
});

test.each<[object, string]>([
  [{ flip: 2 }, "flip must be a number from 0 to 1, got 2"],
  [{ grayscale: Number.NaN }, "grayscale must be"],
  [{ colorJitter: { hue: 0.7 } }, "colorJitter.hue must be a number from 0 to 0.5, got 0.7"],
  [{ colorJitter: { brightness: -1 } }, "colorJitter.brightness must be a number from 0, got -1"],
  [{ crop: { kind: "center" } }, "crop.kind must be one of resized-crop, random-crop, shortest, squash"],
  [{ crop: { kind: "resized-crop", scale: [0.9, 0.5] } }, "crop.scale must be [min, max] with 0 < min <= max <= 1"],
  [{ crop: { kind: "random-crop", fraction: [0, 1] } }, "crop.fraction must be"],
  [{ background: [1, 2, 300] }, "background must be"],
])("the settings %j are refused", (settings, message) => {
  expect(() => checkAugmentation(settings)).toThrow(message);
});

describe("a crop that is expanded", () => {
  const red = imageOf("RGBA", 20, 20, () => 0);
  for (let i = 0; i < red.data.length; i += 4) red.data.set([255, 0, 0, 255], i);
  const settings = (expand: Pair) =>
    ({
      size: 24,
      background: [0, 0, 255],
      crop: { kind: "resized-crop", scale: [1, 1], ratio: [1, 1], expand },
    }) as const;

  test("lies whole and that much smaller on the background, at any place", () => {
    const places = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      const { data } = augmentImage(red, settings([2, 2]), new Random(seed));
      const inside = Array.from({ length: 24 * 24 }, (_, i) => i).filter((i) => data[3 * i] === 255);
      expect(inside).toHaveLength(12 * 12);
      const [first, last] = [inside[0]!, inside.at(-1)!];
      expect(last - first).toBe(11 * 24 + 11);
      for (let i = 0; i < 24 * 24; i++) expect(data[3 * i + 2]).toBe(data[3 * i] === 255 ? 0 : 255);
      places.add(first);
    }
    expect(places.size).toBeGreaterThan(25);
  });

  test("by 1 is the crop as it is", () => {
    const { expand: _, ...crop } = settings([1, 1]).crop;
    const plain = augmentImage(red, { ...settings([1, 1]), crop }, new Random(3));
    expect(augmentImage(red, settings([1, 1]), new Random(3))).toEqual(plain);
  });

  test("is refused where it would enlarge, or shrink to nothing", () => {
    for (const expand of [
      [0.5, 2],
      [2, 1],
      [1, 5],
      [1, Number.NaN],
    ] as Pair[]) {
      expect(() => checkAugmentation(settings(expand)), String(expand)).toThrow("[ARGUMENT_INVALID]");
    }
  });
});
