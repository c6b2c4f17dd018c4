/**
 * Resizing as Pillow does it, to the bit: antialiased bicubic (or box), along rows first, with 8-bit samples in between;
 * transparent pictures premultiplied; palette and bilevel pictures (`indexed`) by nearest neighbour, as their
 * numbers are names of colours; int32 grey in double precision.
 *
 * What differs: a `window` of the result can be asked for, and only what it needs is computed. So a picture of
 * 1 x 100000 pixels costs no more than another.
 */
import { ToklipError } from "../core/index.ts";
import { convolveColumnsI32, convolveRowsI32 } from "./convolve-i32.ts";
import { convolveColumnsU8, convolveRowsU8 } from "./convolve-u8.ts";
import { cropImage, sameKind } from "./crop.ts";
import { type Filter, type FilterTaps, filterTaps, fixedPointTaps, type Span } from "./filter-taps.ts";
import { type Box, checkImage, IMAGE_MODES, type Image, samplesOf } from "./image.ts";
import { premultiply, unpremultiply } from "./premultiply.ts";

/** The size to resize to, and what part of the result is wanted. */
export interface ResizeOptions {
  readonly width: number;
  readonly height: number;
  /** The part of the resized picture to give. Default: all of it. */
  readonly window?: Box;
  /** How samples are weighed. Default `bicubic`; indexed pictures take the nearest sample either way. */
  readonly filter?: Filter;
}

/** The largest edge that can be asked for, as in Pillow. */
const MAX_EDGE = 2 ** 31 - 1;

/**
 * Resizes to `width` x `height` pixels, in the picture's own mode. The same size gives the same pixels.
 * @throws ARGUMENT_INVALID, SHAPE_MISMATCH, DTYPE_MISMATCH
 */
export function resizeImage(image: Image, options: ResizeOptions): Image {
  const { width, height, window = { left: 0, top: 0, width, height }, filter = "bicubic" } = options;
  checkImage(image);
  checkTarget(width, height, window);
  if (width === image.width && height === image.height) return cropImage(image, window);
  const target = { width, height, window, filter };
  if (image.indexed) return resizeNearest(image, target);
  if (IMAGE_MODES[image.mode].alpha < 0) return resizeFiltered(image, target);
  return unpremultiply(resizeFiltered(premultiply(image), target));
}

function checkTarget(width: number, height: number, { left, top, ...part }: Box): void {
  const sizes = [width, height, part.width, part.height];
  const inside = left >= 0 && top >= 0 && left + part.width <= width && top + part.height <= height;
  const whole = [left, top, ...sizes].every(Number.isSafeInteger) && sizes.every((n) => n >= 1 && n <= MAX_EDGE);
  if (!inside || !whole) {
    throw new ToklipError(
      "ARGUMENT_INVALID",
      `resize: cannot give ${part.width}x${part.height} at (${left}, ${top}) of ${width}x${height}`,
    );
  }
}

interface Target {
  readonly width: number;
  readonly height: number;
  readonly window: Box;
  readonly filter: Filter;
}

function resizeFiltered(image: Image, { width, height, window, filter }: Target): Image {
  const rows: Span = { first: window.top, length: window.height };
  const columns: Span = { first: window.left, length: window.width };
  const vertical = height === image.height ? undefined : filterTaps(image.height, height, rows, filter);
  const needed = vertical === undefined ? rows : inputsOf(vertical);
  const horizontal = width === image.width ? undefined : filterTaps(image.width, width, columns, filter);
  const { first: left, length: across } = horizontal === undefined ? columns : { first: 0, length: image.width };
  const source = cropRows(image, needed);
  const part = cropImage(source, { left, top: 0, width: across, height: needed.length });
  const narrowed = horizontal === undefined ? part : alongRows(part, horizontal);
  return vertical === undefined ? narrowed : alongColumns(narrowed, shifted(vertical, needed.first));
}

function alongRows(image: Image, taps: FilterTaps): Image {
  const { height, data } = image;
  const samples = samplesOf(image);
  const filtered =
    data instanceof Int32Array
      ? convolveRowsI32(data, height, taps)
      : convolveRowsU8(data, { height, samples }, fixedPointTaps(taps));
  return { ...image, width: taps.start.length, data: filtered };
}

function alongColumns(image: Image, taps: FilterTaps): Image {
  const { width, data } = image;
  const filtered =
    data instanceof Int32Array
      ? convolveColumnsI32(data, width, taps)
      : convolveColumnsU8(data, width * samplesOf(image), fixedPointTaps(taps));
  return { ...image, height: taps.start.length, data: filtered };
}

/** The inputs that any of these outputs needs. Both ends grow with the output. */
function inputsOf({ start, count }: FilterTaps): Span {
  const first = start[0]!;
  return { first, length: start.at(-1)! + count.at(-1)! - first };
}

function shifted(taps: FilterTaps, first: number): FilterTaps {
  return { ...taps, start: taps.start.map((start) => start - first) };
}

/** Some rows, as a view of the same data. */
function cropRows(image: Image, { first, length }: Span): Image {
  const rowLength = image.width * samplesOf(image);
  return { ...image, height: length, data: image.data.subarray(first * rowLength, (first + length) * rowLength) };
}

function resizeNearest(image: Image, { width, height, window }: Omit<Target, "filter">): Image {
  const samples = samplesOf(image);
  const columns = nearestIndices(image.width, width, { first: window.left, length: window.width });
  const rows = nearestIndices(image.height, height, { first: window.top, length: window.height });
  const data = sameKind(image.data, rows.length * columns.length * samples);
  let at = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * image.width + column) * samples;
      for (let c = 0; c < samples; c++) data[at++] = image.data[from + c]!;
    }
  }
  return { ...image, width: window.width, height: window.height, data };
}

/** The input under the centre of each output. The position is summed up, not multiplied: halves round as Pillow's. */
function nearestIndices(inputLength: number, outputLength: number, { first, length }: Span): Int32Array {
  const scale = inputLength / outputLength;
  const indices = new Int32Array(length);
  let position = scale * 0.5;
  for (let i = 0; i < first + length; i++) {
    if (i >= first) indices[i - first] = Math.min(Math.trunc(position), inputLength - 1);
    position += scale;
  }
  return indices;
}
