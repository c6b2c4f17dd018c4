/**
 * Writing of TensorBoard's event files: records (tensorflow/core/lib/io/record_writer.h) of `Event` messages
 * (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto), whose field numbers are below.
 * Scalars, pictures and the mark of a resumed run. Not here: histograms, graphs, the tensor form of summaries, reading.
 */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { crc32c } from "./crc32c.ts";

/** A PNG picture of a summary. */
export interface EventPicture {
  readonly width: number;
  readonly height: number;
  readonly png: Uint8Array;
}

/** When something was measured. */
export interface EventTime {
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly step: number;
}

type Body = (writer: BinaryWriter) => void;

const FILE_VERSION = "brain.Event:2";
const SESSION_START = 1;
/** RGB, in `Summary.Image.colorspace`. */
const COLORSPACE = 3;

/** The record that every event file begins with. */
export function eventFileHeader(wallTime: number): Uint8Array {
  return eventRecord({ wallTime, step: 0 }, (event) => {
    event.tag(3, WireType.LengthDelimited).string(FILE_VERSION);
  });
}

/** The record that tells TensorBoard to forget what earlier files of the folder say of `step` and the steps after it. */
export function restartRecord(time: EventTime): Uint8Array {
  return eventRecord(time, (event) => message(event, 7, (log) => log.tag(1, WireType.Varint).int32(SESSION_START)));
}

/** A record of numbers by tag, kept as 32-bit floats. */
export function scalarsRecord(time: EventTime, scalars: Readonly<Record<string, number>>): Uint8Array {
  return summaryRecord(time, Object.entries(scalars), (value, scalar) => {
    value.tag(2, WireType.Bit32).float(Math.fround(scalar)); // the encoder throws beyond the range of floats
  });
}

/** A record of pictures by tag. */
export function picturesRecord(time: EventTime, pictures: Readonly<Record<string, EventPicture>>): Uint8Array {
  return summaryRecord(time, Object.entries(pictures), (value, { width, height, png }) => {
    message(value, 4, (image) => {
      image.tag(1, WireType.Varint).int32(height);
      image.tag(2, WireType.Varint).int32(width);
      image.tag(3, WireType.Varint).int32(COLORSPACE);
      image.tag(4, WireType.LengthDelimited).bytes(png);
    });
  });
}

function summaryRecord<T>(
  time: EventTime,
  values: readonly (readonly [tag: string, value: T])[],
  write: (writer: BinaryWriter, value: T) => void,
): Uint8Array {
  return eventRecord(time, (event) =>
    message(event, 5, (summary) => {
      for (const [tag, held] of values) {
        message(summary, 1, (value) => {
          value.tag(1, WireType.LengthDelimited).string(tag);
          write(value, held);
        });
      }
    }),
  );
}

function eventRecord({ wallTime, step }: EventTime, body: Body): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Bit64).double(wallTime);
  writer.tag(2, WireType.Varint).int64(step);
  body(writer);
  return record(writer.finish());
}

function message(writer: BinaryWriter, field: number, body: Body): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  body(writer);
  writer.join();
}

/** Length, its checksum, the bytes, their checksum. */
function record(data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + data.length + 4);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc32c(bytes.subarray(0, 8)), true);
  bytes.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc32c(data), true);
  return bytes;
}

/** Rotated by 15 bits and moved, so that the checksum of bytes that hold checksums is no trivial one. */
function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
