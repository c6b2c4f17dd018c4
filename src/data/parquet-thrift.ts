/**
 * Thrift's compact protocol, as far as Parquet uses it, read from untrusted bytes.
 * Source: the compact protocol's specification of Apache Thrift. Maps, sets and UUIDs are not here: Parquet has none.
 *
 * A struct becomes a Map from field number to value. Integers are Numbers: what a file needs more than 53 bits for is
 * larger than the file, and fails where it is checked against it. Every list element takes a byte at least, so that what
 * is built stays in proportion to what was read.
 */
import { ToklipError } from "../core/index.ts";

/** A value of the compact protocol. */
export type ThriftValue = boolean | number | Uint8Array | ThriftValue[] | ThriftStruct;
/** A struct: its fields by number. */
export type ThriftStruct = ReadonlyMap<number, ThriftValue>;

const MAX_DEPTH = 16;
/** The longest integer: 64 bits in groups of 7. */
const MAX_VARINT_BYTES = 10;
const STOP = 0;
const TRUE = 1;
const FALSE = 2;

/** Reads values one after another. All its methods throw FILE_CORRUPT for bytes that are not what they should be. */
export class ThriftReader {
  /** The offset of the next byte. */
  at: number;
  private readonly bytes: Uint8Array;
  private readonly where: string;

  /** @param where what to call the bytes in messages */
  constructor(bytes: Uint8Array, at: number, where: string) {
    this.bytes = bytes;
    this.at = at;
    this.where = where;
  }

  /** The next struct. */
  struct(depth = 0): ThriftStruct {
    if (depth > MAX_DEPTH) throw this.fault(`nested deeper than ${MAX_DEPTH}`);
    const fields = new Map<number, ThriftValue>();
    let field = 0;
    for (;;) {
      const head = this.byte();
      const type = head & 15;
      if (type === STOP) return fields;
      field = head >> 4 ? field + (head >> 4) : this.zigzag();
      fields.set(field, type === TRUE || type === FALSE ? type === TRUE : this.value(type, depth));
    }
  }

  private value(type: number, depth: number): ThriftValue {
    const read = READERS.get(type);
    if (read === undefined) throw this.fault(`unknown type ${type}`);
    return read(this, depth + 1);
  }

  /** Elements of one type. Booleans take a byte each here. */
  list(depth: number): ThriftValue[] {
    const head = this.byte();
    const count = head >> 4 === 15 ? this.varint() : head >> 4;
    if (count > this.bytes.length - this.at) throw this.fault(`a list of ${count} elements`);
    const type = head & 15;
    const values: ThriftValue[] = [];
    for (let i = 0; i < count; i++) {
      values.push(type === TRUE || type === FALSE ? this.byte() === TRUE : this.value(type, depth));
    }
    return values;
  }

  /** A length and so many bytes. */
  binary(): Uint8Array {
    const length = this.varint();
    return this.take(length);
  }

  /** A signed integer. */
  zigzag(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** An unsigned integer. */
  varint(): number {
    let value = 0;
    for (let i = 0; i < MAX_VARINT_BYTES; i++) {
      const byte = this.byte();
      value += (byte & 127) * 2 ** (7 * i);
      if (byte < 128) return value;
    }
    throw this.fault("an integer of more than 64 bits");
  }

  /** The next byte. */
  byte(): number {
    const byte = this.bytes[this.at];
    if (byte === undefined) throw this.fault("the bytes end too early");
    this.at++;
    return byte;
  }

  /** The next `length` bytes. */
  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.at) throw this.fault(`${length} bytes are not there`);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  private fault(problem: string): ToklipError {
    return new ToklipError("FILE_CORRUPT", `${this.where}: ${problem} at byte ${this.at}`);
  }
}

/** How the value of each type is read. Booleans of a struct stand in the field's head. */
const READERS = new Map<number, (reader: ThriftReader, depth: number) => ThriftValue>([
  [3, (reader) => (reader.byte() << 24) >> 24],
  [4, (reader) => reader.zigzag()],
  [5, (reader) => reader.zigzag()],
  [6, (reader) => reader.zigzag()],
  [7, (reader) => float64(reader.take(8))],
  [8, (reader) => reader.binary()],
  [9, (reader, depth) => reader.list(depth)],
  [12, (reader, depth) => reader.struct(depth)],
]);

function float64(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, true);
}
