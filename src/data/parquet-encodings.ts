/**
 * The encodings of values in Parquet pages, read from untrusted bytes.
 * Source: the format's description of its encodings (apache/parquet-format, Encodings.md).
 *
 * Every count is given from outside and was checked there; a run that claims more than is wanted is cut, bytes that end too
 * early are FILE_CORRUPT. Byte stream split and the deprecated bit-packed levels are not here: byte arrays and integers,
 * which is all a data set of pictures and texts has, are not written so.
 */
import { ToklipError } from "../core/index.ts";

/** Byte strings as places in the memory of the page they came in: 12 bytes each, where arrays of views would take ten times that. */
export interface ByteStrings {
  readonly bytes: Uint8Array;
  readonly offsets: Uint32Array;
  readonly lengths: Uint32Array;
}

/** Bytes with a place to read at and a name for messages. */
export class PageReader {
  at = 0;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly where: string;

  constructor(bytes: Uint8Array, where: string) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.where = where;
  }

  /** Moves on by `length` bytes and gives the place before them. @throws FILE_CORRUPT where they are not there */
  skip(length: number): number {
    if (!(length >= 0 && this.at + length <= this.bytes.length)) throw this.fault(`${length} bytes are not there`);
    this.at += length;
    return this.at - length;
  }

  /** A reader of the next `length` bytes, which this one passes. @throws FILE_CORRUPT */
  part(length: number): PageReader {
    const start = this.skip(length);
    return new PageReader(this.bytes.subarray(start, this.at), this.where);
  }

  /** An unsigned integer in groups of 7 bits, of at most 53 bits. @throws FILE_CORRUPT */
  varint(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 56; scale *= 128) {
      const byte = this.view.getUint8(this.skip(1));
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw this.fault("an integer is too long");
  }

  /** A signed integer. @throws FILE_CORRUPT */
  zigzag(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  fault(problem: string): ToklipError {
    return new ToklipError("FILE_CORRUPT", `${this.where}: ${problem} at byte ${this.at} of a page`);
  }
}

/** Runs of one number, and numbers of `width` bits side by side, in turn (RLE and bit-packing hybrid). @throws FILE_CORRUPT */
export function readHybrid(reader: PageReader, width: number, count: number): Uint32Array {
  if (width > 32) throw reader.fault(`numbers of ${width} bits`);
  const values = new Uint32Array(count);
  if (width === 0) return values;
  for (let filled = 0; filled < count; ) {
    const head = reader.varint();
    const length = Math.floor(head / 2);
    if (length === 0) throw reader.fault("a run of nothing");
    if (head % 2 === 0) {
      const end = Math.min(count, filled + length);
      values.fill(readLittle(reader, Math.ceil(width / 8)), filled, end);
      filled = end;
    } else {
      const end = Math.min(count, filled + length * 8);
      // Writers may leave out what lies behind the last number.
      const start = reader.skip(Math.min(length * width, reader.bytes.length - reader.at));
      const bits = new BitReader(reader, start);
      while (filled < end) values[filled++] = bits.take(width);
    }
  }
  return values;
}

function readLittle(reader: PageReader, byteCount: number): number {
  const start = reader.skip(byteCount);
  let value = 0;
  for (let i = 0; i < byteCount; i++) value += reader.bytes[start + i]! * 2 ** (8 * i);
  return value;
}

/** Numbers of any width up to 53 bits, the lowest bit first. */
class BitReader {
  private at: number;
  private bit = 0;
  private readonly reader: PageReader;

  constructor(reader: PageReader, at: number) {
    this.reader = reader;
    this.at = at;
  }

  take(width: number): number {
    let value = 0;
    for (let done = 0; done < width; ) {
      const byte = this.reader.bytes[this.at];
      if (byte === undefined) throw this.reader.fault("packed numbers end too early");
      const count = Math.min(8 - this.bit, width - done);
      value += ((byte >> this.bit) & ((1 << count) - 1)) * 2 ** done;
      done += count;
      this.bit += count;
      if (this.bit === 8) {
        this.bit = 0;
        this.at++;
      }
    }
    return value;
  }
}

/** Byte strings, each behind its length. @throws FILE_CORRUPT */
export function readPlainBytes(reader: PageReader, count: number): ByteStrings {
  const offsets = new Uint32Array(count);
  const lengths = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    const length = reader.view.getUint32(reader.skip(4), true);
    offsets[i] = reader.skip(length);
    lengths[i] = length;
  }
  return { bytes: reader.bytes, offsets, lengths };
}

/** Integers of 4 or 8 bytes. @throws FILE_CORRUPT */
export function readPlainIntegers(reader: PageReader, count: number, width: 4 | 8): Float64Array {
  const { view } = reader;
  const start = reader.skip(count * width);
  return Float64Array.from({ length: count }, (_, i) =>
    width === 4 ? view.getInt32(start + i * 4, true) : Number(view.getBigInt64(start + i * 8, true)),
  );
}

/**
 * Integers by their differences, in blocks of miniblocks of one width each (DELTA_BINARY_PACKED).
 * @throws FILE_CORRUPT, also for numbers or differences beyond 53 bits
 */
export function readDeltaIntegers(reader: PageReader, count: number): Float64Array {
  const blockSize = reader.varint();
  const miniblocks = reader.varint();
  const total = reader.varint();
  const perMiniblock = blockSize / miniblocks;
  if (total !== count || !(perMiniblock >= 8 && perMiniblock <= 2 ** 20 && perMiniblock % 8 === 0)) {
    throw reader.fault(`${total} of ${count} integers in blocks of ${blockSize} in ${miniblocks} parts`);
  }
  const values = new Float64Array(count);
  let value = reader.zigzag();
  let filled = 0;
  if (count > 0) values[filled++] = value;
  while (filled < count) {
    const smallest = reader.zigzag();
    const widths = reader.part(miniblocks).bytes;
    for (let i = 0; i < miniblocks && filled < count; i++) {
      const width = widths[i]!;
      if (width > 53) throw reader.fault(`differences of ${width} bits`);
      const start = reader.skip(Math.min((perMiniblock * width) / 8, reader.bytes.length - reader.at));
      const bits = new BitReader(reader, start);
      for (const end = Math.min(count, filled + perMiniblock); filled < end; ) {
        value += smallest + bits.take(width);
        values[filled++] = value;
      }
    }
  }
  return values;
}

/** All lengths, then all bytes (DELTA_LENGTH_BYTE_ARRAY). @throws FILE_CORRUPT */
export function readDeltaLengthBytes(reader: PageReader, count: number): ByteStrings {
  const lengths = readDeltaIntegers(reader, count);
  const offsets = Uint32Array.from(lengths, (length) => reader.skip(length));
  return { bytes: reader.bytes, offsets, lengths: Uint32Array.from(lengths) };
}

/**
 * Each byte string by what it shares with the one before and what is new (DELTA_BYTE_ARRAY).
 * @param maxBytes how much they may become, written out
 * @throws FILE_CORRUPT
 */
export function readDeltaBytes(reader: PageReader, count: number, maxBytes: number): ByteStrings {
  const shared = readDeltaIntegers(reader, count);
  const suffixes = readDeltaLengthBytes(reader, count);
  const lengths = Uint32Array.from(shared, (prefix, i) => prefix + suffixes.lengths[i]!);
  const total = shared.reduce((sum, prefix, i) => sum + prefix + suffixes.lengths[i]!, 0);
  if (!(total <= maxBytes)) throw reader.fault(`byte strings of ${total} bytes`);
  const bytes = new Uint8Array(total);
  const offsets = new Uint32Array(count);
  for (let i = 0, at = 0; i < count; at += lengths[i]!, i++) {
    const prefix = shared[i]!;
    if (!(prefix >= 0 && prefix <= (i === 0 ? 0 : lengths[i - 1]!))) throw reader.fault(`a prefix of ${prefix} bytes`);
    offsets[i] = at;
    if (i > 0) bytes.copyWithin(at, offsets[i - 1]!, offsets[i - 1]! + prefix);
    const start = suffixes.offsets[i]!;
    bytes.set(suffixes.bytes.subarray(start, start + suffixes.lengths[i]!), at + prefix);
  }
  return { bytes, offsets, lengths };
}
