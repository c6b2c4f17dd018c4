/** The bytes of a pickle, read in order: numbers, counted bytes and lines. */
import { ToklipError } from "../core/index.ts";
import { decodeUtf8 } from "./utf8.ts";

/** A cursor over bytes that never reads past their end. */
export class PickleBytes {
  at = 0;
  readonly where: string;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;

  constructor(bytes: Uint8Array, where: string) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.where = where;
  }

  fault(problem: string, code: "FILE_CORRUPT" | "FILE_UNSUPPORTED" = "FILE_CORRUPT"): ToklipError {
    return new ToklipError(code, `pickle: ${problem} (${this.where}, offset ${this.at})`);
  }

  /** Moves past `length` bytes and gives the place where they begin. */
  private skip(length: number): number {
    const begin = this.at;
    if (length > this.bytes.byteLength - begin) {
      throw this.fault(`${length} bytes expected, ${this.bytes.byteLength - begin} left`);
    }
    this.at += length;
    return begin;
  }

  u8(): number {
    return this.view.getUint8(this.skip(1));
  }

  u16(): number {
    return this.view.getUint16(this.skip(2), true);
  }

  i32(): number {
    return this.view.getInt32(this.skip(4), true);
  }

  u32(): number {
    return this.view.getUint32(this.skip(4), true);
  }

  /** Exact up to 2^53, which is more than any file has bytes. */
  u64(): number {
    return Number(this.view.getBigUint64(this.skip(8), true));
  }

  /** Alone among a pickle's numbers, floats are big-endian. */
  f64(): number {
    return this.view.getFloat64(this.skip(8), false);
  }

  take(length: number): Uint8Array {
    const begin = this.skip(length);
    return this.bytes.subarray(begin, begin + length);
  }

  text(length: number): string {
    return decodeUtf8(this.take(length), `pickle (${this.where}, offset ${this.at - length})`);
  }

  /** Code points 0 to 255, one a byte. */
  latin1(length: number): string {
    return latin1(this.take(length));
  }

  /** A signed little-endian integer of any length. */
  integer(length: number): bigint {
    const digits = Array.from(this.take(length), (byte) => byte.toString(16).padStart(2, "0"));
    const value = BigInt(`0x${digits.reverse().join("") || "0"}`);
    return BigInt.asIntN(length * 8, value);
  }

  /** The bytes up to the next line feed, which is passed over. */
  line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) throw this.fault("unterminated line");
    const line = this.latin1(end - this.at);
    this.at++;
    return line;
  }
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.byteLength; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}
