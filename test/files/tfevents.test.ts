import { BinaryReader } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { crc32c } from "../../src/files/crc32c.ts";
import { eventFileHeader, picturesRecord, restartRecord, scalarsRecord } from "../../src/files/tfevents.ts";

/** CRC-32C a bit at a time, from its definition. */
function slowCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

const masked = (bytes: Uint8Array): number => {
  const crc = slowCrc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
};

/** Checks a record's frame and gives its message. */
function payload(record: Uint8Array): Uint8Array {
  const view = new DataView(record.buffer, record.byteOffset);
  const length = Number(view.getBigUint64(0, true));
  expect(record.length).toBe(length + 16);
  expect(view.getUint32(8, true)).toBe(masked(record.subarray(0, 8)));
  const data = record.subarray(12, 12 + length);
  expect(view.getUint32(12 + length, true)).toBe(masked(data));
  return data;
}

/** The fields of a message: numbers and bytes as they come. */
function fields(data: Uint8Array): [field: number, value: unknown][] {
  const reader = new BinaryReader(data);
  const read: Record<number, () => unknown> = {
    0: () => Number(reader.int64()),
    1: () => reader.double(),
    2: () => reader.bytes(),
    5: () => reader.float(),
  };
  const found: [number, unknown][] = [];
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    found.push([field, read[wire]!()]);
  }
  return found;
}

const text = (value: unknown): string => new TextDecoder().decode(value as Uint8Array);

describe("crc32c", () => {
  it("gives the values of RFC 3720, appendix B.4", () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
  });

  it("equals the definition, however the bytes are cut", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, cut) => {
        expect(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)))).toBe(slowCrc32c(bytes));
      }),
    );
  });
});

describe("an event file", () => {
  it("begins with the version that lets TensorBoard forget repeated steps", () => {
    const event = fields(payload(eventFileHeader(1234.5)));
    expect(event.slice(0, 2)).toEqual([
      [1, 1234.5],
      [2, 0],
    ]);
    expect([event[2]![0], text(event[2]![1])]).toEqual([3, "brain.Event:2"]);
  });

  it("holds scalars by tag, as floats", () => {
    const values = { "train/loss": 0.1, größe: Number.NaN, far: 1e300 };
    const event = fields(payload(scalarsRecord({ wallTime: 2, step: 2 ** 40 }, values)));
    expect(event.slice(0, 2)).toEqual([
      [1, 2],
      [2, 2 ** 40],
    ]);
    expect(event[2]![0]).toBe(5);
    const read = fields(event[2]![1] as Uint8Array).map(([field, value]) => {
      const [[tagField, tag], [valueField, scalar]] = fields(value as Uint8Array) as [
        [number, unknown],
        [number, number],
      ];
      expect([field, tagField, valueField]).toEqual([1, 1, 2]);
      return [text(tag), scalar];
    });
    expect(read).toEqual([
      ["train/loss", Math.fround(0.1)],
      ["größe", Number.NaN],
      ["far", Number.POSITIVE_INFINITY],
    ]);
  });

  it("holds pictures", () => {
    const png = Uint8Array.of(1, 2, 3);
    const event = fields(payload(picturesRecord({ wallTime: 1, step: 3 }, { a: { width: 7, height: 5, png } })));
    const value = fields(fields(event[2]![1] as Uint8Array)[0]![1] as Uint8Array);
    expect(value[1]![0]).toBe(4);
    expect(fields(value[1]![1] as Uint8Array)).toEqual([
      [1, 5],
      [2, 7],
      [3, 3],
      [4, png],
    ]);
  });

  it("marks where a resumed run goes on", () => {
    const event = fields(payload(restartRecord({ wallTime: 1, step: 101 })));
    expect(event[1]).toEqual([2, 101]);
    expect(event[2]![0]).toBe(7);
    expect(fields(event[2]![1] as Uint8Array)).toEqual([[1, 1]]);
  });
});
