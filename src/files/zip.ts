/**
 * The directory of a zip archive whose entries are stored, not compressed, so that they can be read where they lie.
 * Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, with the 64-bit extensions (4.3.14, 4.5.3).
 * Refused, since a checkpoint never has them and they serve to deceive: compression, encryption, several disks, two
 * entries of one name or over the same bytes, entries outside the file. Checksums are not verified.
 */
import { type ByteSource, ToklipError } from "../core/index.ts";
import { quoted } from "./quoted.ts";
import { decodeUtf8 } from "./utf8.ts";

/** One stored file of the archive. */
export interface ZipEntry {
  readonly name: string;
  /** The number of its bytes. */
  readonly size: number;
  /** Where its local header begins, and where the next thing in the archive does. */
  readonly headerOffset: number;
  readonly limit: number;
}

const END_BYTES = 22;
const MAX_COMMENT_BYTES = 0xffff;
const LOCATOR64_BYTES = 20;
const END64_BYTES = 56;
const CENTRAL_BYTES = 46;
const LOCAL_BYTES = 30;
/** A million entries of a hundred bytes. */
const MAX_DIRECTORY_BYTES = 100_000_000;

const SIGNATURES = {
  local: 0x04034b50,
  central: 0x02014b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator64: 0x07064b50,
};
const ZIP64_FIELD = 1;
const ENCRYPTED = 1;
const FULL_16 = 0xffff;
const FULL_32 = 0xffffffff;

interface Directory {
  readonly offset: number;
  readonly size: number;
  readonly count: number;
  /** Where the directory must have ended. */
  readonly limit: number;
}

function corrupt(source: ByteSource, problem: string): ToklipError {
  return new ToklipError("FILE_CORRUPT", `zip: ${problem} (${source.name})`);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Past 2^53 it is not exact, but still larger than any file. */
function u64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

/**
 * Reads the directory at the end of an archive.
 * @returns the entries by name, in the directory's order.
 * @throws FILE_CORRUPT; FILE_UNSUPPORTED for compression, encryption and several disks.
 */
export async function readZipDirectory(source: ByteSource): Promise<Map<string, ZipEntry>> {
  const directory = await findDirectory(source);
  const { offset, size, count, limit } = directory;
  if (offset + size > limit || size > MAX_DIRECTORY_BYTES || count * CENTRAL_BYTES > size) {
    throw corrupt(source, `a directory of ${count} entries in ${size} bytes at offset ${offset} does not fit`);
  }
  const found = parseDirectory(await source.read(offset, size), directory, source);
  const entries = new Map<string, ZipEntry>();
  const limits = checkDisjoint(found, offset, source);
  for (const entry of found) {
    if (entries.has(entry.name)) throw corrupt(source, `two entries are called ${quoted(entry.name)}`);
    entries.set(entry.name, { ...entry, limit: limits.get(entry)! });
  }
  return entries;
}

/**
 * Reads an entry's local header.
 * @returns the offset of the entry's first byte in the archive.
 * @throws FILE_CORRUPT when the header is not the directory's, or the entry runs into the next.
 */
export async function locateZipEntry(source: ByteSource, entry: ZipEntry): Promise<number> {
  const name = new TextEncoder().encode(entry.name);
  const header = await source.read(entry.headerOffset, LOCAL_BYTES + name.byteLength);
  const view = viewOf(header);
  const sameName =
    view.getUint16(26, true) === name.byteLength && name.every((byte, i) => header[LOCAL_BYTES + i] === byte);
  if (view.getUint32(0, true) !== SIGNATURES.local || !sameName) {
    throw corrupt(source, `the header at offset ${entry.headerOffset} is not that of ${quoted(entry.name)}`);
  }
  const offset = entry.headerOffset + LOCAL_BYTES + name.byteLength + view.getUint16(28, true);
  if (offset + entry.size > entry.limit) {
    throw corrupt(source, `entry ${quoted(entry.name)} overlaps what follows it`);
  }
  return offset;
}

async function findDirectory(source: ByteSource): Promise<Directory> {
  const tailOffset = Math.max(0, source.byteLength - END_BYTES - MAX_COMMENT_BYTES);
  const view = viewOf(await source.read(tailOffset, source.byteLength - tailOffset));
  for (let at = view.byteLength - END_BYTES; at >= 0; at--) {
    const ends = view.getUint32(at, true) === SIGNATURES.end;
    if (!ends || at + END_BYTES + view.getUint16(at + 20, true) !== view.byteLength) continue;
    const limit = tailOffset + at;
    const [disk, directoryDisk, , count] = [4, 6, 8, 10].map((field) => view.getUint16(at + field, true));
    const [size, offset] = [12, 16].map((field) => view.getUint32(at + field, true));
    if (disk === FULL_16 || count === FULL_16 || size === FULL_32 || offset === FULL_32) {
      return findDirectory64(source, limit);
    }
    checkOneDisk(source, disk!, directoryDisk!);
    return { offset: offset!, size: size!, count: count!, limit };
  }
  throw corrupt(source, "no directory at the end of the file: it may be cut short");
}

async function findDirectory64(source: ByteSource, limit: number): Promise<Directory> {
  const locatorOffset = limit - LOCATOR64_BYTES;
  if (locatorOffset < END64_BYTES) throw corrupt(source, "no room for a 64-bit directory");
  const locator = viewOf(await source.read(locatorOffset, LOCATOR64_BYTES));
  const endOffset = u64(locator, 8);
  if (locator.getUint32(0, true) !== SIGNATURES.locator64 || endOffset > locatorOffset - END64_BYTES) {
    throw corrupt(source, "no 64-bit directory where it should be");
  }
  const end = viewOf(await source.read(endOffset, END64_BYTES));
  if (end.getUint32(0, true) !== SIGNATURES.end64) throw corrupt(source, "no 64-bit directory where it should be");
  checkOneDisk(source, end.getUint32(16, true), end.getUint32(20, true));
  return { count: u64(end, 32), size: u64(end, 40), offset: u64(end, 48), limit: endOffset };
}

function checkOneDisk(source: ByteSource, ...disks: number[]): void {
  if (disks.some((disk) => disk !== 0)) {
    throw new ToklipError("FILE_UNSUPPORTED", `zip: an archive over several disks (${source.name})`);
  }
}

type DirectoryEntry = Omit<ZipEntry, "limit">;

function parseDirectory(bytes: Uint8Array, { count }: Directory, source: ByteSource): DirectoryEntry[] {
  const view = viewOf(bytes);
  const entries: DirectoryEntry[] = [];
  let at = 0;
  while (at < bytes.byteLength) {
    if (at + CENTRAL_BYTES > bytes.byteLength || view.getUint32(at, true) !== SIGNATURES.central) break;
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    const end = at + CENTRAL_BYTES + nameBytes! + extraBytes! + commentBytes!;
    if (end > bytes.byteLength) break;
    const extra = bytes.subarray(end - commentBytes! - extraBytes!, end - commentBytes!);
    const name = decodeUtf8(
      bytes.subarray(at + CENTRAL_BYTES, at + CENTRAL_BYTES + nameBytes!),
      `zip entry name (${source.name})`,
    );
    entries.push(parseEntry(name, new DataView(view.buffer, view.byteOffset + at, CENTRAL_BYTES), extra, source));
    at = end;
  }
  if (at !== bytes.byteLength || entries.length !== count) throw corrupt(source, "malformed directory");
  return entries;
}

function parseEntry(name: string, fixed: DataView, extra: Uint8Array, source: ByteSource): DirectoryEntry {
  const what = `entry ${quoted(name)}`;
  const flags = fixed.getUint16(8, true);
  const method = fixed.getUint16(10, true);
  if ((flags & ENCRYPTED) !== 0 || method !== 0) {
    const problem = method !== 0 ? `compressed (method ${method})` : "encrypted";
    throw new ToklipError("FILE_UNSUPPORTED", `zip: ${what} is ${problem}, expected stored bytes (${source.name})`);
  }
  // The 64-bit field holds only the numbers that did not fit, in this order.
  const wide = wideNumbers(extra);
  const widen = (value: number): number => (value === FULL_32 ? (wide.shift() ?? Number.NaN) : value);
  const size = widen(fixed.getUint32(24, true));
  const storedSize = widen(fixed.getUint32(20, true));
  const headerOffset = widen(fixed.getUint32(42, true));
  if (size !== storedSize || !Number.isSafeInteger(size) || !Number.isSafeInteger(headerOffset)) {
    throw corrupt(source, `${what} has ${storedSize} stored bytes of ${size} at offset ${headerOffset}`);
  }
  const disk = fixed.getUint16(34, true);
  checkOneDisk(source, disk === FULL_16 ? 0 : disk);
  return { name, size, headerOffset };
}

/** The numbers of an entry's 64-bit field. */
function wideNumbers(extra: Uint8Array): number[] {
  const view = viewOf(extra);
  for (let at = 0; at + 4 <= extra.byteLength; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== ZIP64_FIELD) continue;
    const end = Math.min(extra.byteLength, at + 4 + view.getUint16(at + 2, true));
    const numbers: number[] = [];
    for (let field = at + 4; field + 8 <= end; field += 8) numbers.push(u64(view, field));
    return numbers;
  }
  return [];
}

/** Where each entry must have ended: at the next entry's header, the last at the directory. */
function checkDisjoint(
  entries: readonly DirectoryEntry[],
  directoryOffset: number,
  source: ByteSource,
): Map<DirectoryEntry, number> {
  const sorted = [...entries].sort((a, b) => a.headerOffset - b.headerOffset);
  const limits = new Map<DirectoryEntry, number>();
  for (const [i, entry] of sorted.entries()) {
    const limit = sorted[i + 1]?.headerOffset ?? directoryOffset;
    const least = LOCAL_BYTES + new TextEncoder().encode(entry.name).byteLength + entry.size;
    if (entry.headerOffset + least > limit) {
      throw corrupt(source, `entry ${quoted(entry.name)} overlaps what follows it, or lies outside the file`);
    }
    limits.set(entry, limit);
  }
  return limits;
}
