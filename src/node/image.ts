/**
 * Picture files in and out, by sharp (libvips).
 *
 * Samples come as the file has them, in the mode that Pillow 9.4, the reference's decoder, would open it in: grey stays
 * grey, CMYK stays CMYK, 16-bit grey becomes int32, 16-bit colour keeps its high bytes, no colour profile is applied.
 * PNG pixels and, with the same libjpeg-turbo arithmetic on both sides, JPEG pixels are equal to the reference's.
 *
 * What differs: EXIF orientation is applied (`exif: false` does as the reference, which turns TIFF files only); a damaged
 * file is an error, never a partial picture; SVG and AVIF are read too. Known differences in rare files: a PNG without
 * alpha that names one transparent colour gets an alpha channel (Pillow ignores that colour), palette TIFFs come as
 * colour, not `indexed`, and GIFs whose palette is a grey ramp come `indexed`, not as grey.
 */
import { readFile, stat } from "node:fs/promises";
import sharp, { type Metadata, type Sharp, type SharpOptions } from "sharp";
import { messageOf, ToklipError, throwIfAborted } from "../core/index.ts";
import { toRgb } from "../image/convert.ts";
import { checkImage, type Image, samplesOf } from "../image/image.ts";
import { readError } from "./file-errors.ts";

// libvips keeps results of recent operations in memory; a picture is decoded once, so that would be memory for nothing.
sharp.cache(false);
// Threads for each picture. Decoders are sequential, and several pictures are decoded at one time already.
sharp.concurrency(1);

export interface DecodeOptions {
  /** Largest width x height. Default 268 million. */
  readonly maxPixels?: number;
  /** Turns the picture by its EXIF orientation. Default true. */
  readonly exif?: boolean;
  readonly signal?: AbortSignal | undefined;
}

const DEFAULT_MAX_PIXELS = 268_000_000;
/** No picture file is this large; a path to something else may be. */
const MAX_FILE_BYTES = 512 * 2 ** 20;

const FORMATS: ReadonlySet<string> = new Set(["jpeg", "png", "webp", "gif", "heif", "tiff", "svg"]);

/** Every sample or an error; the embedded profile is left alone. Limits are checked here, with better messages. */
const STRICT: SharpOptions = { failOn: "warning", ignoreIcc: true, limitInputPixels: false };

/**
 * Decodes a JPEG, PNG, WebP, GIF, AVIF, TIFF or SVG file, the first frame or page of it. Safe to call several at a
 * time: decoding happens off the main thread.
 * @param input the path of a file, or its bytes
 * @throws FILE_NOT_FOUND, FILE_READ_FAILED, IMAGE_UNREADABLE, IMAGE_TOO_LARGE, ABORTED
 */
export async function decodeImage(input: string | Uint8Array, options: DecodeOptions = {}): Promise<Image> {
  const { maxPixels = DEFAULT_MAX_PIXELS, exif = true, signal } = options;
  const name = typeof input === "string" ? input : "image";
  throwIfAborted(signal, name);
  const bytes = typeof input === "string" ? await readPicture(input) : input;
  if (bytes.length === 0) throw new ToklipError("IMAGE_UNREADABLE", `${name}: is empty`);
  const header = await readable(name, () => sharp(bytes, STRICT).metadata());
  checkHeader(name, header, maxPixels);
  throwIfAborted(signal, name);
  const autoOrient = exif || header.format === "tiff";
  const density = densityOf(header, maxPixels);
  const source: Source = { bytes, header, options: { ...STRICT, autoOrient, density } };
  return readable(name, () => samplesAs(layoutOf(header), source));
}

async function readPicture(path: string): Promise<Uint8Array> {
  try {
    const info = await stat(path);
    if (!info.isFile()) throw new ToklipError("IMAGE_UNREADABLE", `${path}: is not a file`);
    if (info.size > MAX_FILE_BYTES) {
      throw new ToklipError("IMAGE_TOO_LARGE", `${path}: ${info.size} bytes are over the limit of ${MAX_FILE_BYTES}`);
    }
    return await readFile(path);
  } catch (error) {
    throw readError(error, path);
  }
}

async function readable<T>(name: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw new ToklipError("IMAGE_UNREADABLE", `${name}: ${reasonOf(error)}`, { cause: error });
  }
}

/** What libvips says, without its repetitions. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const lines = new Set(text.split("\n").map((line) => line.trim()));
  return [...lines]
    .filter((line) => line !== "")
    .slice(0, 2)
    .join("; ");
}

function checkHeader(name: string, { format, width, height }: Metadata, maxPixels: number): void {
  if (!FORMATS.has(format)) throw new ToklipError("IMAGE_UNREADABLE", `${name}: ${format} files are not read`);
  if (width * height > maxPixels) {
    throw new ToklipError("IMAGE_TOO_LARGE", `${name}: ${width}x${height} is over the limit of ${maxPixels} pixels`);
  }
}

/** Pixels an inch at which an SVG is drawn as large as it says. */
const SVG_DENSITY = 72;
/** What the shorter edge of an SVG is drawn at, if that is larger: it has no pixels of its own to be true to. */
const SVG_EDGE = 512;
const SVG_LONGEST_EDGE = 4096;

/** The density to draw at: small SVGs are enlarged, so that the model does not see them blurred. */
function densityOf({ format, width, height }: Metadata, maxPixels: number): number {
  if (format !== "svg") return SVG_DENSITY;
  const wanted = SVG_EDGE / Math.min(width, height);
  const allowed = Math.min(SVG_LONGEST_EDGE / Math.max(width, height), Math.sqrt(maxPixels / (width * height)));
  return SVG_DENSITY * Math.max(1, Math.min(wanted, allowed));
}

interface Source {
  readonly bytes: Uint8Array;
  readonly header: Metadata;
  readonly options: SharpOptions;
}

interface Samples {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** How each kind of file becomes an `Image`. The first that holds is taken. */
interface Layout {
  readonly holds: (header: Metadata) => boolean;
  readonly read: (source: Source) => Promise<Image>;
}

const LAYOUTS: readonly Layout[] = [
  { holds: ({ space, depth, channels }) => space === "cmyk" && depth === "uchar" && channels === 4, read: readCmyk },
  { holds: ({ space, channels }) => space === "grey16" && channels === 1, read: readGrey16 },
  { holds: ({ space }) => space === "grey16" || space === "rgb16", read: readHighBytes },
  { holds: ({ space, channels }) => space === "b-w" && channels === 1, read: readGrey },
  { holds: () => true, read: readColour },
];

function layoutOf(header: Metadata): Layout {
  return LAYOUTS.find(({ holds }) => holds(header))!;
}

async function samplesAs(layout: Layout, source: Source): Promise<Image> {
  const image = await layout.read(source);
  checkImage(image);
  // Palette and bilevel files: their samples name colours.
  const indexed = source.header.isPalette || source.header.bitsPerSample === 1;
  return indexed ? { ...image, indexed } : image;
}

function open({ bytes, options }: Source): Sharp {
  return sharp(bytes, options);
}

async function raw(pipeline: Sharp, depth: "uchar" | "ushort" = "uchar"): Promise<Samples> {
  const { data, info } = await pipeline.raw({ depth }).toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height, channels: info.channels };
}

async function readCmyk(source: Source): Promise<Image> {
  const { data, width, height } = await raw(open(source).pipelineColourspace("cmyk").toColourspace("cmyk"));
  return { width, height, mode: "CMYK", data };
}

async function readGrey(source: Source): Promise<Image> {
  const { data, width, height } = await raw(open(source).toColourspace("b-w"));
  return { width, height, mode: "L", data };
}

async function readGrey16(source: Source): Promise<Image> {
  const { data, width, height } = await raw(open(source).toColourspace("grey16"), "ushort");
  return { width, height, mode: "I", data: new Int32Array(shortsOf(data)) };
}

/** 16-bit grey with alpha, and 16-bit colour. */
async function readHighBytes(source: Source): Promise<Image> {
  const { data, ...rest } = await raw(open(source).toColourspace(source.header.space), "ushort");
  return interleaved({ ...rest, data: highBytes(shortsOf(data)) });
}

/** Colour, and grey with alpha (whose alpha only comes along as colour). Other colour spaces are converted to sRGB. */
async function readColour(source: Source): Promise<Image> {
  const samples = await raw(open(source).toColourspace("srgb"));
  const { space, hasAlpha } = source.header;
  const { data, width, height, channels } = samples;
  if (space !== "b-w" || !hasAlpha || channels !== 4) return interleaved(samples);
  const greyAlpha = new Uint8Array(width * height * 2);
  for (let i = 0; i < greyAlpha.length; i += 2) {
    greyAlpha[i] = data[i * 2]!;
    greyAlpha[i + 1] = data[i * 2 + 3]!;
  }
  return { width, height, mode: "LA", data: greyAlpha };
}

const MODES = ["L", "LA", "RGB", "RGBA"] as const;

/** Samples of 1 to 4 channels as they are; what a file has beyond RGBA is left out. */
function interleaved({ data, width, height, channels }: Samples): Image {
  if (channels <= 4) return { width, height, mode: MODES[channels - 1]!, data };
  const rgba = new Uint8Array(width * height * 4);
  for (let i = 0; i < width * height; i++) rgba.set(data.subarray(i * channels, i * channels + 4), i * 4);
  return { width, height, mode: "RGBA", data: rgba };
}

function shortsOf(data: Uint8Array): Uint16Array {
  const { buffer, byteOffset, byteLength } = data.byteOffset % 2 === 0 ? data : data.slice();
  return new Uint16Array(buffer, byteOffset, byteLength / 2);
}

function highBytes(shorts: Uint16Array): Uint8Array {
  const bytes = new Uint8Array(shorts.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = shorts[i]! >> 8;
  return bytes;
}

/**
 * The picture as a PNG file. `I` and `CMYK` pictures are converted to RGB, others keep their mode.
 * @throws ARGUMENT_INVALID, SHAPE_MISMATCH, DTYPE_MISMATCH (the picture), INTERNAL
 */
export async function encodePng(image: Image): Promise<Uint8Array> {
  checkImage(image);
  const plain = image.mode === "I" || image.mode === "CMYK" ? toRgb(image) : image;
  const { width, height } = plain;
  const channels = samplesOf(plain) as 1 | 2 | 3 | 4;
  // sharp makes colour of grey unless told.
  const space = channels < 3 ? "b-w" : "srgb";
  try {
    const pipeline = sharp(plain.data, { raw: { width, height, channels }, limitInputPixels: false });
    return await pipeline.toColourspace(space).png().toBuffer();
  } catch (error) {
    throw new ToklipError("INTERNAL", `a ${width}x${height} PNG could not be made: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
