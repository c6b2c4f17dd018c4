// Preprocessing against the reference's own output, file by file: through our decoder, and from Pillow's pixels.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { bytesOf, memorySource } from "../../src/core/index.ts";
import { type Checkpoint, readTensor } from "../../src/files/checkpoint.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { cropImage, type Image, preprocessImage, resizeImage, toPixels } from "../../src/image/index.ts";
import { decodeImage } from "../../src/node/image.ts";
import { goldenJson, goldenPath, maxDifference } from "../goldens.ts";

interface Output {
  readonly sha256_f32_chw: string;
  readonly sha256_u8_chw: string;
  readonly stored: boolean;
}
interface Manifest {
  readonly train_crops: readonly { file: string; top: number; left: number; h: number; w: number; key: string }[];
  readonly files: Readonly<
    Record<
      string,
      { pil_mode: string; size_wh: [number, number]; decoded_sha256: string; outputs: Record<string, Output> }
    >
  >;
}

const manifest = goldenJson("preprocess/manifest.json") as Manifest;
const FILES = Object.entries(manifest.files);
const REFERENCE = { background: "drop" } as const;

/** What our decoder calls the mode that Pillow opens each file in. Palette and bilevel files are `indexed`. */
const INDEXED = new Set(["P", "1"]);

let outputs: Checkpoint;
let jpegs: Checkpoint;

async function openGz(name: string): Promise<Checkpoint> {
  return openSafetensors(memorySource(gunzipSync(readFileSync(goldenPath(`preprocess/${name}.safetensors.gz`))), name));
}

beforeAll(async () => {
  outputs = await openGz("outputs_u8_chw");
  jpegs = await openGz("decoded_jpeg_u8_hwc");
});

function decodeGolden(file: string): Promise<Image> {
  return decodeImage(goldenPath(`preprocess/inputs/${file}`), { exif: false });
}

function planesOf({ width, height, data }: Image): Uint8Array {
  const area = width * height;
  return Uint8Array.from({ length: 3 * area }, (_, i) => data[(i % area) * 3 + Math.floor(i / area)]!);
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function storedBytes(checkpoint: Checkpoint, name: string): Promise<Uint8Array> {
  const entry = checkpoint.tensors.get(name);
  if (entry === undefined) throw new Error(`no golden ${name}`);
  return (await readTensor(entry)).data as Uint8Array;
}

async function expectGolden(image: Image, file: string, output: string): Promise<void> {
  const [size, resize] = output.split(".") as [string, "shortest" | "squash"];
  const expected = manifest.files[file]!.outputs[output]!;
  const result = preprocessImage(image, { size: Number(size), resize, ...REFERENCE });
  const planes = planesOf(result);
  if (expected.stored) expect(maxDifference(planes, await storedBytes(outputs, `${file}.${output}`))).toBe(0);
  expect(sha256(planes)).toBe(expected.sha256_u8_chw);
  expect(sha256(bytesOf(toPixels([result]).data))).toBe(expected.sha256_f32_chw);
}

describe.each(FILES)("%s", (file, { pil_mode: pilMode, size_wh: size, outputs: variants }) => {
  test("is decoded in the reference's mode and size", async () => {
    const image = await decodeGolden(file);
    expect([image.width, image.height]).toEqual(size);
    expect(image.indexed ?? false).toBe(INDEXED.has(pilMode));
    if (!INDEXED.has(pilMode)) expect(image.mode).toBe(pilMode);
  });

  test.each(Object.keys(variants))("gives the reference's bytes and floats at %s", async (output) => {
    await expectGolden(await decodeGolden(file), file, output);
  });
});

const JPEGS = FILES.filter(([file]) => file.endsWith(".jpg"));

test.each(JPEGS)("the JPEG %s is decoded to Pillow's very samples", async (file, { decoded_sha256: expected }) => {
  expect(sha256((await decodeGolden(file)).data as Uint8Array)).toBe(expected);
});

// The same without our decoder, so that a failure tells which of the two is to blame.
const STORED_JPEGS = JPEGS.filter(([file]) => file !== "face_large.jpg");

test.each(STORED_JPEGS)("Pillow's samples of %s give the reference's bytes", async (file, golden) => {
  const [width, height] = golden.size_wh;
  const image: Image = { width, height, mode: golden.pil_mode as Image["mode"], data: await storedBytes(jpegs, file) };
  for (const output of Object.keys(golden.outputs)) await expectGolden(image, file, output);
});

test.each(manifest.train_crops)("the training crop of $file is the reference's", async (crop) => {
  const image = await decodeGolden(crop.file);
  const part = cropImage(image, { left: crop.left, top: crop.top, width: crop.w, height: crop.h });
  const resized = resizeImage(part, { width: 256, height: 256 });
  expect(maxDifference(planesOf(resized), await storedBytes(outputs, crop.key))).toBe(0);
});

test("all 21 files, both resize modes and both sizes are covered", () => {
  expect(FILES.length).toBe(21);
  for (const [, { outputs: variants }] of FILES) {
    expect(Object.keys(variants).sort()).toEqual(["256.shortest", "256.squash", "384.shortest", "384.squash"]);
  }
});
