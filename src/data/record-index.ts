/**
 * Where the records of a text file lie: 12 bytes of memory a record, however long it is, so that a manifest of many
 * millions of rows is read row by row when its turn comes. The file is passed over once, in pieces.
 */
import { type ByteSource, type LongCallOptions, ToklipError, throwIfAborted } from "../core/index.ts";
import type { DataFiles } from "./data-files.ts";

/** A record longer than this is taken for a quote that was not closed. */
export const MAX_RECORD_BYTES = 2 ** 22;

const PIECE_BYTES = 2 ** 20;
const QUOTE = 34;
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf] as const;

/** The records of a file: lines, or rows of which quoted fields may span lines. Empty lines are none. */
export class RecordIndex {
  /** How long the file was. */
  readonly byteLength: number;
  size = 0;
  private starts = new Float64Array(1024);
  private lengths = new Uint32Array(1024);

  constructor(byteLength: number) {
    this.byteLength = byteLength;
  }

  /** Adds a record. Lengths beyond 32 bits are kept as the largest there is. */
  push(start: number, length: number): void {
    if (this.size === this.starts.length) {
      this.starts = doubled(this.starts, new Float64Array(2 * this.size));
      this.lengths = doubled(this.lengths, new Uint32Array(2 * this.size));
    }
    this.starts[this.size] = start;
    this.lengths[this.size++] = Math.min(length, 2 ** 32 - 1);
  }

  /** Where a record begins, in bytes, and its length without the line end. */
  at(record: number): { start: number; length: number } {
    return { start: this.starts[record]!, length: this.lengths[record]! };
  }
}

function doubled<T extends Float64Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/**
 * Finds the records of a file.
 * @param separator the byte between fields that may be quoted; undefined where a record is a line
 * @throws FILE_NOT_FOUND, FILE_READ_FAILED, ABORTED
 */
export async function indexRecords(
  source: ByteSource,
  separator: number | undefined,
  { signal, onProgress }: LongCallOptions,
): Promise<RecordIndex> {
  const { name, byteLength } = source;
  const index = new RecordIndex(byteLength);
  const start = await markLength(source);
  const scanner = new RecordScanner(index, separator, start);
  for (let at = start; at < byteLength; at += PIECE_BYTES) {
    throwIfAborted(signal, name);
    scanner.scan(await source.read(at, Math.min(PIECE_BYTES, byteLength - at)), at);
    onProgress?.({
      stage: "index",
      item: name,
      done: Math.min(at + PIECE_BYTES, byteLength),
      total: byteLength,
      unit: "bytes",
    });
  }
  scanner.end(byteLength);
  return index;
}

async function markLength(source: ByteSource): Promise<number> {
  const head = await source.read(0, Math.min(BYTE_ORDER_MARK.length, source.byteLength));
  return BYTE_ORDER_MARK.every((byte, i) => head[i] === byte) ? BYTE_ORDER_MARK.length : 0;
}

/** Tells line ends that end a record from those inside quotes. */
class RecordScanner {
  private readonly index: RecordIndex;
  private readonly separator: number | undefined;
  private recordStart: number;
  private previous = 0;
  private atFieldStart = true;
  /** The field began with a quote, so that quotes in it mean something. */
  private isQuotedField = false;
  /** An odd number of quotes of a quoted field has come. Doubled quotes close and open again. */
  private isQuoted = false;

  constructor(index: RecordIndex, separator: number | undefined, start: number) {
    this.index = index;
    this.separator = separator;
    this.recordStart = start;
  }

  scan(bytes: Uint8Array, offset: number): void {
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i]!;
      if (byte === LINE_FEED && !(this.isQuoted && offset + i - this.recordStart < MAX_RECORD_BYTES)) {
        this.end(offset + i);
        this.recordStart = offset + i + 1;
      } else if (this.separator !== undefined) this.field(byte);
      this.previous = byte;
    }
  }

  /** The record ends before a place. */
  end(at: number): void {
    const end = this.previous === CARRIAGE_RETURN && at > this.recordStart ? at - 1 : at;
    if (end > this.recordStart) this.index.push(this.recordStart, end - this.recordStart);
    this.isQuoted = false;
    this.isQuotedField = false;
    this.atFieldStart = true;
  }

  private field(byte: number): void {
    if (byte === QUOTE && (this.atFieldStart || this.isQuotedField)) {
      this.isQuotedField = true;
      this.isQuoted = !this.isQuoted;
      this.atFieldStart = false;
    } else if (byte === this.separator && !this.isQuoted) {
      this.isQuotedField = false;
      this.atFieldStart = true;
    } else this.atFieldStart = false;
  }
}

/**
 * The bytes of a record.
 * @throws DATA_INVALID when the file's length is another than it was; FILE_NOT_FOUND, FILE_READ_FAILED
 */
export async function readRecord(files: DataFiles, path: string, index: RecordIndex, at: number): Promise<Uint8Array> {
  const source = await files.open(path);
  try {
    if (source.byteLength !== index.byteLength) {
      throw new ToklipError("DATA_INVALID", `${path}: was changed while it was in use`);
    }
    const { start, length } = index.at(at);
    return await source.read(start, length);
  } finally {
    await source.close?.();
  }
}
