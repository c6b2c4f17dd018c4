/**
 * Reading one protobuf message field by field (https://protobuf.dev/programming-guides/encoding), over the reader of
 * @bufbuild/protobuf. A message is described by a table from field number to what is done with the field; fields that the
 * table lacks are skipped. What is read is untrusted: nothing is allocated by a length before its bytes are there.
 */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/** What is done with one field. The reader stands behind the tag. */
export type Field = (reader: BinaryReader, wire: WireType) => void;

/** Reads a message. @throws Error or RangeError when the bytes are none: the caller says what they should have been. */
export function readFields(bytes: Uint8Array, fields: Readonly<Record<number, Field>>): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    const read = fields[field];
    if (read === undefined) reader.skip(wire, field);
    else read(reader, wire);
    if (reader.pos > reader.len) throw new RangeError(`field ${field} goes on past the end`);
  }
}

function expectWire(wire: WireType, expected: WireType): void {
  if (wire !== expected) throw new Error(`wire type ${wire} where ${expected} was expected`);
}

/** A field of text. */
export const textField =
  (take: (value: string) => void): Field =>
  (reader, wire) => {
    expectWire(wire, WireType.LengthDelimited);
    take(reader.string(true));
  };

/** A field of bytes, given as a view; a message within the message is one. */
export const bytesField =
  (take: (value: Uint8Array) => void): Field =>
  (reader, wire) => {
    expectWire(wire, WireType.LengthDelimited);
    take(reader.bytes());
  };

/** How a number is written. */
interface NumberKind {
  readonly wire: WireType;
  read(reader: BinaryReader): number;
}

const KINDS = {
  /** A signed whole number; what lies beyond 2^53 is rounded. */
  int64: { wire: WireType.Varint, read: (reader) => Number(reader.int64()) },
  float: { wire: WireType.Bit32, read: (reader) => reader.float() },
  double: { wire: WireType.Bit64, read: (reader) => reader.double() },
} as const satisfies Record<string, NumberKind>;

/** A number, or one of many: alone or packed. */
export const numberField =
  (kind: keyof typeof KINDS, take: (value: number) => void): Field =>
  (reader, wire) => {
    const { wire: expected, read }: NumberKind = KINDS[kind];
    if (wire === WireType.LengthDelimited) {
      const packed = new BinaryReader(reader.bytes());
      while (packed.pos < packed.len) take(read(packed));
    } else {
      expectWire(wire, expected);
      take(read(reader));
    }
  };
