/**
 * What every checkpoint format gives: named tensors whose bytes stay on disk until they are asked for,
 * and how those bytes are read.
 */
import { type ByteSource, DTYPES, type DType, type NDArray, ToklipError, viewBytes } from "../core/index.ts";
import { quoted } from "./quoted.ts";
import { checkCounts, elementCount, isDense, storagePlaces, storageSpan } from "./tensor-layout.ts";

/** One tensor of a checkpoint: where its bytes are. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** The file that holds it, and the place of its first element in it. */
  readonly source: ByteSource;
  readonly offset: number;
  /** Strides in elements, only where the elements are not dense row-major. */
  readonly strides?: readonly number[];
}

/** An opened checkpoint: headers read, tensors not. */
export interface Checkpoint {
  readonly format: "safetensors" | "torch";
  readonly name: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** What else the file says of itself (epoch, training arguments, safetensors metadata): inert data. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Closes the file. */
  close(): Promise<void>;
}

/** How much of a tensor is held at once while it is streamed. */
export const CHUNK_BYTES = 4 * 2 ** 20;

/** Elements are moved as integers of their size, so that the bits of a NaN survive. */
const BITS = { 1: "u8", 2: "u16", 4: "i32", 8: "i64" } as const;

/** The size of a tensor in bytes once it is dense. */
export function tensorBytes(entry: Pick<TensorEntry, "name" | "dtype" | "shape">): number {
  return elementCount(entry.shape, `tensor ${quoted(entry.name)}: shape`) * DTYPES[entry.dtype].bytes;
}

/**
 * Checks that a tensor lies within its file, and is not larger than the file once it is dense.
 * @throws FILE_CORRUPT
 */
export function checkEntry(entry: TensorEntry): void {
  const { name, shape, strides, offset, source } = entry;
  const where = `(${source.name})`;
  checkCounts(shape, `tensor ${quoted(name)}: shape ${where}`);
  const size = DTYPES[entry.dtype].bytes;
  const bytes = tensorBytes(entry);
  if (
    strides !== undefined &&
    checkCounts(strides, `tensor ${quoted(name)}: strides ${where}`).length !== shape.length
  ) {
    throw new ToklipError(
      "FILE_CORRUPT",
      `tensor ${quoted(name)}: ${strides.length} strides for shape [${shape}] ${where}`,
    );
  }
  const span = strides ? storageSpan(shape, strides) * size : bytes;
  // Zero strides let a few bytes claim any number of elements.
  if (!(offset >= 0 && offset + span <= source.byteLength && bytes <= source.byteLength)) {
    throw new ToklipError(
      "FILE_CORRUPT",
      `tensor ${quoted(name)}: ${entry.dtype} [${shape}] at offset ${offset} needs ${Math.max(span, bytes)} bytes, ` +
        `which the file's ${source.byteLength} do not hold ${where}`,
    );
  }
}

/**
 * Reads one tensor, dense row-major, into memory of its own.
 * @throws FILE_CORRUPT when it does not lie within its file; OUT_OF_MEMORY
 */
export async function readTensor(entry: TensorEntry): Promise<NDArray> {
  checkEntry(entry);
  const data = viewBytes(entry.dtype, await readDense(entry));
  return { dtype: entry.dtype, shape: [...entry.shape], data };
}

async function readDense(entry: TensorEntry): Promise<Uint8Array> {
  const byteLength = tensorBytes(entry);
  if (isContiguous(entry)) {
    const bytes = await entry.source.read(entry.offset, byteLength);
    // A source over memory gives a view of it: what callers do to their array must not reach the file.
    return bytes.buffer.byteLength === byteLength ? bytes : bytes.slice();
  }
  const out = allocateBytes(byteLength, entry.name);
  let at = 0;
  for await (const chunk of streamTensor(entry)) {
    out.set(chunk, at);
    at += chunk.byteLength;
  }
  return out;
}

/**
 * Gives a tensor's bytes in dense row-major order, in pieces of whole elements of at most `chunkBytes` (default
 * 4 MiB), so that memory is bounded by a piece and not by the tensor.
 * @throws FILE_CORRUPT when it does not lie within its file.
 */
export async function* streamTensor(entry: TensorEntry, chunkBytes = CHUNK_BYTES): AsyncGenerator<Uint8Array> {
  checkEntry(entry);
  const size = DTYPES[entry.dtype].bytes;
  const count = tensorBytes(entry) / size;
  const perChunk = Math.max(1, Math.floor(chunkBytes / size));
  const contiguous = isContiguous(entry);
  for (let first = 0; first < count; first += perChunk) {
    const held = Math.min(perChunk, count - first);
    yield contiguous
      ? await entry.source.read(entry.offset + first * size, held * size)
      : await gather(entry, first, held, perChunk);
  }
}

function isContiguous({ shape, strides }: TensorEntry): boolean {
  return strides === undefined || isDense(shape, strides);
}

/** The `count` row-major elements from `first` on, from reads of at most `window` elements of storage each. */
async function gather(entry: TensorEntry, first: number, count: number, window: number): Promise<Uint8Array> {
  const size = DTYPES[entry.dtype].bytes;
  const out = new Uint8Array(count * size);
  const outBits = viewBytes(BITS[size], out);
  const places = storagePlaces(entry.shape, entry.strides!, first, count);
  let low = places.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  while (low !== Number.POSITIVE_INFINITY) {
    const [last, next] = windowOf(places, low, window);
    const bytes = await entry.source.read(entry.offset + low * size, (last - low + 1) * size);
    const bits = viewBytes(BITS[size], bytes);
    for (let i = 0; i < count; i++) {
      const place = places[i]!;
      if (place >= low && place <= last) outBits[i] = bits[place - low]!;
    }
    low = next;
  }
  return out;
}

/** The furthest place within `window` of `low`, and the nearest place beyond. */
function windowOf(places: Float64Array, low: number, window: number): [last: number, next: number] {
  let last = low;
  let next = Number.POSITIVE_INFINITY;
  for (const place of places) {
    if (place >= low + window) next = Math.min(next, place);
    else if (place > last) last = place;
  }
  return [last, next];
}

function allocateBytes(length: number, name: string): Uint8Array {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new ToklipError("OUT_OF_MEMORY", `tensor ${quoted(name)}: ${length} bytes could not be allocated`, { cause });
  }
}
