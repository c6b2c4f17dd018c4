/**
 * The headers of tar archives: POSIX ustar and GNU, and what precedes them, pax records and GNU's long names. Each takes a
 * block of 512 bytes; see `readTar`.
 */
import type { ToklipError } from "../core/index.ts";

/** Everything in an archive fills whole blocks. */
export const BLOCK_BYTES = 512;

/** What the headers before an entry's own say of it. */
export interface Extension {
  readonly name?: string;
  readonly size?: number;
  readonly sparse?: true;
}

/** What a header says of the entry that follows. */
export interface Header {
  readonly name: string;
  readonly type: string;
  readonly size: number;
}

/** Makes the error of a header that is wrong. */
export type Fault = (problem: string) => ToklipError;
type Extend = (bytes: Uint8Array, fault: Fault) => Extension;

/** Headers that describe the next one: GNU's long name and long link, pax for one entry and for all. */
export const EXTENSIONS: ReadonlyMap<string, Extend> = new Map<string, Extend>([
  ["L", (bytes) => ({ name: cString(bytes) })],
  ["K", () => ({})],
  ["x", paxExtension],
  ["X", paxExtension],
  ["g", () => ({})],
]);

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Text up to the first zero byte. */
function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/**
 * Reads a header of 512 bytes that are not all zero.
 * @throws what `fault` makes: FILE_CORRUPT for a wrong checksum or size
 */
export function parseHeader(block: Uint8Array, fault: Fault): Header {
  const checksum = numberField(block.subarray(148, 156));
  if (!checksumsOf(block).includes(checksum)) throw fault("expected a header, its checksum is wrong");
  const size = numberField(block.subarray(124, 136));
  if (!Number.isSafeInteger(size)) throw fault("a header whose size is no number");
  const isPosix = cString(block.subarray(257, 263)) === "ustar"; // GNU has "ustar  " here, and other fields in the prefix
  const prefix = isPosix ? cString(block.subarray(345, 500)) : "";
  const name = cString(block.subarray(0, 100));
  return { name: prefix === "" ? name : `${prefix}/${name}`, type: String.fromCharCode(block[156]!), size };
}

/** The sum of a header's bytes, its checksum counted as spaces; and as old programs had it, of signed bytes. */
function checksumsOf(block: Uint8Array): [unsigned: number, signed: number] {
  let unsigned = 0;
  let large = 0;
  for (let i = 0; i < BLOCK_BYTES; i++) {
    const byte = i >= 148 && i < 156 ? 0x20 : block[i]!;
    unsigned += byte;
    large += byte >> 7;
  }
  return [unsigned, unsigned - 256 * large];
}

/** Octal digits, or GNU's base 256 after the byte 0x80; NaN for anything else, negative numbers too. */
function numberField(field: Uint8Array): number {
  if (field[0] === 0x80) return field.subarray(1).reduce((value, byte) => value * 256 + byte, 0);
  const digits = cString(field).trim();
  return /^[0-7]*$/.test(digits) ? Number.parseInt(digits || "0", 8) : Number.NaN;
}

/** Records of "length key=value\n", the length in decimal and of the whole record. */
function paxExtension(bytes: Uint8Array, fault: Fault): Extension {
  let extension: Extension = {};
  for (let at = 0; at < bytes.byteLength && bytes[at] !== 0; ) {
    const space = bytes.indexOf(0x20, at);
    const digits = decoder.decode(bytes.subarray(at, Math.max(at, space)));
    const end = at + (/^\d{1,7}$/.test(digits) ? Number(digits) : Number.NaN);
    if (!(end <= bytes.byteLength && end > space + 1) || bytes[end - 1] !== 0x0a) throw fault("a malformed pax header");
    extension = { ...extension, ...paxRecord(decoder.decode(bytes.subarray(space + 1, end - 1)), fault) };
    at = end;
  }
  return extension;
}

function paxRecord(record: string, fault: Fault): Extension {
  const equals = record.indexOf("=");
  const key = record.slice(0, Math.max(equals, 0));
  const value = record.slice(equals + 1);
  if (key.startsWith("GNU.sparse.")) return { sparse: true };
  if (key === "path") return { name: value };
  if (key !== "size") return {};
  if (!/^\d{1,15}$/.test(value)) throw fault("a pax header whose size is no number");
  return { size: Number(value) };
}
