/**
 * A batch, and how it is put together of samples that are being decoded.
 *
 * Only decoding shows that a picture is damaged, and only the process whose row it is notices. The rule for its place, so
 * that no other row moves and any number of processes makes the same global batch: **it is filled by the nearest sample
 * before it in the global batch that can be decoded, counting round from the first place to the last.** So the batch
 * holds a sample twice; both rows have the same concept, which contrastive losses mask. A global batch of which nothing
 * can be decoded is passed over, by all processes. In a reading that ends (an evaluation) places that cannot be decoded
 * are left out instead, and the batch is smaller.
 *
 * Dim letters: B rows of this process, S image size, T context length.
 */
import { type NDArray, ndarray, ToklipError } from "../core/index.ts";
import { type BadCounts, badSampleOf } from "./bad-samples.ts";
import type { BadSample, DataPosition } from "./dataset.ts";
import type { RecalledPicture } from "./recall.ts";
import type { WalkedSample } from "./sample-walk.ts";

/** What one step of one process takes. */
export interface Batch {
  /** f32 (B, 3, S, S) in [-1, 1]. */
  readonly pixels: NDArray<"f32">;
  /** i32 (B, T); absent without a tokenizer. */
  readonly textIds?: NDArray<"i32">;
  /** The chosen captions; empty texts where samples have none. */
  readonly captions: readonly string[];
  readonly keys: readonly string[];
  /** i32 (B), in [0, 2^31): FNV-1a of the concept, or of the key where there is none. */
  readonly concepts: NDArray<"i32">;
  /** With a memory of pictures: the name of each, and what was known of it. */
  readonly recalled?: readonly RecalledPicture[];
  /** Where reading goes on: the batch after this one, bit for bit. */
  readonly position: DataPosition;
  /** What this process has met up to and including this batch, since its reading began. */
  readonly bad: BadCounts;
}

/** A sample made ready. */
export interface Row {
  readonly key: string;
  readonly caption: string;
  readonly concept: number;
  /** (T). */
  readonly textIds?: Int32Array;
  readonly recalled?: RecalledPicture;
  /** (3, S, S); zeros where the picture is known. Moves into the batch when the batch is made. */
  pixels: Float32Array;
}

/** A sample of a step: made ready when it is first asked for, and once. */
export class Slot {
  private readonly prepare: () => Promise<Row>;
  private readonly key: string;
  private row: Promise<Row | BadSample> | undefined;

  constructor({ sample }: WalkedSample, prepare: () => Promise<Row>) {
    this.key = sample.key;
    this.prepare = prepare;
  }

  /** The row, or why there is none. @throws what is no fault of the sample */
  load(): Promise<Row | BadSample> {
    this.row ??= this.prepare().catch((error: unknown) => badSampleOf(this.key, error));
    return this.row;
  }
}

/** Tells a row from a bad sample. */
export function isRow(result: Row | BadSample): result is Row {
  return "pixels" in result;
}

/** Which places of a step are this process's: from `first`, `count` of them. */
export interface Share {
  readonly first: number;
  readonly count: number;
}

/** The arrays of a batch, and what became of each place of this process. */
export interface Assembled {
  readonly rows: readonly Row[];
  readonly pixels: NDArray<"f32">;
  /** One for each place: the bad sample that was there, if there was one. */
  readonly failures: readonly (BadSample | undefined)[];
}

/** How a batch is assembled. */
export interface AssembleOptions extends Share {
  readonly imageSize: number;
  /** What becomes of places that cannot be decoded: filled by a neighbour, or left out. */
  readonly failed: "fill" | "leave out";
}

/**
 * Makes ready the slots of one process and puts their pixels together. Places stay empty (fewer `rows`) when they are
 * left out, or when no slot of the whole step can be decoded.
 */
export async function assemble(slots: readonly Slot[], options: AssembleOptions): Promise<Assembled> {
  const { first, count, imageSize, failed } = options;
  const stride = 3 * imageSize * imageSize;
  const pixels = new Float32Array(count * stride);
  const viewOf = (place: number) => pixels.subarray(place * stride, (place + 1) * stride);
  const loadInto = async (slot: Slot, place: number) => {
    const result = await slot.load();
    // From here on the batch holds the pixels, and the decoder's array can go. New arrays are zeros already.
    if (isRow(result)) result.pixels = result.recalled?.known ? viewOf(place) : copied(result, viewOf(place));
    return result;
  };
  const results = await settled(slots.slice(first, first + count).map(loadInto));
  const rows: Row[] = [];
  for (const [i, result] of results.entries()) {
    const row = isRow(result) ? result : failed === "fill" ? await rowBefore(slots, first + i) : undefined;
    if (row === undefined) continue;
    if (row !== result || rows.length < i) copied(row, viewOf(rows.length));
    rows.push(row);
  }
  const shape = [rows.length, 3, imageSize, imageSize];
  const failures = results.map((result) => (isRow(result) ? undefined : result));
  return { rows, pixels: ndarray("f32", shape, pixels.subarray(0, rows.length * stride)), failures };
}

/** As `Promise.all`, but when one fails the others have ended too. */
async function settled<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

function copied({ key, pixels }: Row, into: Float32Array): Float32Array {
  if (pixels.length !== into.length) {
    throw new ToklipError(
      "SHAPE_MISMATCH",
      `${key}: the decoder gave ${pixels.length} numbers, expected ${into.length}`,
    );
  }
  into.set(pixels);
  return into;
}

/** The nearest row before a place, counting round. */
async function rowBefore(slots: readonly Slot[], place: number): Promise<Row | undefined> {
  for (let back = 1; back < slots.length; back++) {
    const result = await slots[(place - back + slots.length) % slots.length]!.load();
    if (isRow(result)) return result;
  }
  return undefined;
}

/** What a batch says of its rows beside the pixels. */
export function describeRows(
  rows: readonly Row[],
): Pick<Batch, "captions" | "keys" | "concepts" | "textIds" | "recalled"> {
  const concepts = ndarray(
    "i32",
    [rows.length],
    Int32Array.from(rows, ({ concept }) => concept),
  );
  const recalled = rows.flatMap((row) => row.recalled ?? []);
  const described = {
    captions: rows.map(({ caption }) => caption),
    keys: rows.map(({ key }) => key),
    concepts,
    ...(recalled.length > 0 && { recalled }),
  };
  const length = rows[0]?.textIds?.length;
  if (length === undefined) return described;
  const textIds = ndarray("i32", [rows.length, length]);
  for (const [i, row] of rows.entries()) textIds.data.set(row.textIds!, i * length);
  return { ...described, textIds };
}
