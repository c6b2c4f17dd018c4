/**
 * Tar archives, read once from front to back: what the shards of a WebDataset are.
 * Formats: POSIX ustar and pax (IEEE 1003.1, "pax"), and GNU tar's long names and wide numbers
 * (https://www.gnu.org/software/tar/manual/html_node/Standard.html). What differs from `tar`: only files are given;
 * links, folders and devices are passed over. An archive must end with its mark, a block of zeros: one without it was
 * cut, perhaps between two files that belong together. Not here: sparse files, archives of several volumes, compression.
 */
import { ToklipError } from "../core/index.ts";
import { quoted } from "./quoted.ts";
import { BLOCK_BYTES, EXTENSIONS, type Extension, type Header, parseHeader } from "./tar-header.ts";

/** One file of an archive. Its bytes can be had until the next entry is asked for. */
export interface TarEntry {
  /** As the archive has it, folders included. Bytes that are not UTF-8 are shown as U+FFFD. */
  readonly name: string;
  /** Where its first header begins: from here on it can be read again. */
  readonly offset: number;
  /** Where the next entry begins. */
  readonly end: number;
  /** The number of its bytes. */
  readonly size: number;
  /** Reads its bytes, once. @throws FILE_CORRUPT when they are not all there, or more than `maxEntryBytes` */
  read(): Promise<Uint8Array>;
  /** Passes over its bytes, if they were not read. @throws FILE_CORRUPT when they are not all there */
  skip(): Promise<void>;
}

/** How an archive is read. */
export interface TarOptions {
  /** What to call the archive in messages. */
  readonly name: string;
  /** Where in the archive the bytes begin; an entry must begin there. Default 0. */
  readonly start?: number | undefined;
  /** The most bytes of an entry that are read into memory. Default 256 MiB. */
  readonly maxEntryBytes?: number | undefined;
  /** The bytes are a part of an archive, and may end after any entry. */
  readonly part?: boolean | undefined;
}

/** A FILE_CORRUPT: the archive ends too early. */
export class TruncatedTar extends ToklipError {}

const MAX_ENTRY_BYTES = 2 ** 28;
/** The most that the name and the attributes of an entry may take. */
const MAX_EXTENSION_BYTES = 2 ** 20;
/** Files: POSIX, before POSIX, contiguous. */
const FILES = new Set(["0", "\0", "7"]);
/** Links, devices, folders, pipes: whatever their size field says, no bytes follow. */
const WITHOUT_BYTES = new Set(["1", "2", "3", "4", "5", "6"]);
const SPARSE = "S";

/**
 * Reads the files of an archive in order. Holds one chunk, and the bytes of one entry while they are read.
 * @param chunks the archive's bytes, in pieces of any length; closed when the reading ends
 * @throws FILE_CORRUPT with the archive's name and the offset, `TruncatedTar` where it ends early; FILE_UNSUPPORTED for
 * sparse files and gzip; what `chunks` throws
 */
export async function* readTar(
  chunks: AsyncIterable<Uint8Array>,
  options: TarOptions,
): AsyncGenerator<TarEntry, void, undefined> {
  const reader = new TarReader(chunks, options);
  try {
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      yield entry;
      await entry.skip();
    }
  } finally {
    await reader.close();
  }
}

class TarReader {
  private readonly feed: ByteFeed;
  private readonly options: TarOptions;

  constructor(chunks: AsyncIterable<Uint8Array>, options: TarOptions) {
    this.feed = new ByteFeed(chunks, options.start ?? 0);
    this.options = options;
  }

  close(): Promise<void> {
    return this.feed.close();
  }

  /** The next file, or undefined at the archive's end. */
  async next(): Promise<TarEntry | undefined> {
    let start = this.feed.offset;
    let extension: Extension = {};
    for (;;) {
      const at = this.feed.offset;
      const header = await this.header();
      if (header === undefined) return undefined;
      const extend = EXTENSIONS.get(header.type);
      if (extend !== undefined) {
        extension = { ...extension, ...extend(await this.extensionBytes(header, at), (p) => this.fault(p, at)) };
        continue;
      }
      if (header.type === SPARSE || extension.sparse) throw this.unsupported("holds a sparse file", at);
      const { name, type, size } = { ...header, ...extension };
      if (!Number.isSafeInteger(this.feed.offset + padded(size))) throw this.fault(`an entry of ${size} bytes`, at);
      if (FILES.has(type) && !name.endsWith("/")) return new OpenEntry(name, start, size, this);
      if (!WITHOUT_BYTES.has(type)) await this.skip(padded(size), name);
      start = this.feed.offset;
      extension = {};
    }
  }

  /** The next header, or undefined where the archive ends. */
  private async header(): Promise<Header | undefined> {
    const at = this.feed.offset;
    const block = await this.feed.take(BLOCK_BYTES);
    if (block.byteLength === 0 && this.options.part) return undefined;
    if (block.byteLength === 0) throw this.truncated("ends without its end mark", at);
    if (block.byteLength < BLOCK_BYTES) throw this.truncated("ends within a header", at);
    if (block.every((byte) => byte === 0)) return undefined;
    if (at === 0 && block[0] === 0x1f && block[1] === 0x8b) throw this.unsupported("is compressed with gzip", at);
    return parseHeader(block, (problem) => this.fault(problem, at));
  }

  private async extensionBytes({ type, size }: Header, at: number): Promise<Uint8Array> {
    if (size > MAX_EXTENSION_BYTES) throw this.fault(`a header of type ${quoted(type)} with ${size} bytes`, at);
    const bytes = await this.feed.take(padded(size));
    if (bytes.byteLength < padded(size)) throw this.truncated("ends within a header", at);
    return bytes.subarray(0, size);
  }

  async read(entry: { readonly name: string; readonly offset: number; readonly size: number }): Promise<Uint8Array> {
    const { name, offset, size } = entry;
    const { maxEntryBytes = MAX_ENTRY_BYTES } = this.options;
    if (size > maxEntryBytes)
      throw this.fault(`${quoted(name)} has ${size} bytes, the limit is ${maxEntryBytes}`, offset);
    const bytes = await this.feed.take(size);
    if (bytes.byteLength < size) throw this.truncated(`ends within ${quoted(name)}`, this.feed.offset);
    await this.skip(padded(size) - size, name);
    return bytes;
  }

  async skip(length: number, name: string): Promise<void> {
    const skipped = await this.feed.skip(length);
    if (skipped < length) throw this.truncated(`ends within ${quoted(name)}`, this.feed.offset);
  }

  /** Where the data of the entry begins whose header was read last. */
  get offset(): number {
    return this.feed.offset;
  }

  private where(problem: string, offset: number): string {
    return `tar: ${problem} (${this.options.name}, offset ${offset})`;
  }

  private fault(problem: string, offset: number): ToklipError {
    return new ToklipError("FILE_CORRUPT", this.where(problem, offset));
  }

  private truncated(problem: string, offset: number): ToklipError {
    return new TruncatedTar("FILE_CORRUPT", this.where(problem, offset));
  }

  private unsupported(problem: string, offset: number): ToklipError {
    return new ToklipError("FILE_UNSUPPORTED", this.where(`${problem}: expected plain tar`, offset));
  }
}

class OpenEntry implements TarEntry {
  readonly name: string;
  readonly offset: number;
  readonly end: number;
  readonly size: number;
  private readonly reader: TarReader;
  private passed = false;

  constructor(name: string, offset: number, size: number, reader: TarReader) {
    this.name = name;
    this.offset = offset;
    this.size = size;
    this.end = reader.offset + padded(size);
    this.reader = reader;
  }

  async read(): Promise<Uint8Array> {
    if (this.passed) throw new ToklipError("INTERNAL", `tar: ${quoted(this.name)} was already passed`);
    const bytes = this.reader.read(this);
    // Too large to be read is no reason why it cannot be passed over.
    this.passed = await bytes.then(
      () => true,
      (thrown) => thrown instanceof TruncatedTar,
    );
    return bytes;
  }

  async skip(): Promise<void> {
    if (this.passed) return;
    this.passed = true;
    await this.reader.skip(padded(this.size), this.name);
  }
}

/** Chunks as one stream of bytes, taken in the lengths that the reader wants. */
class ByteFeed {
  /** Of the next byte. */
  offset: number;
  private chunk: Uint8Array = new Uint8Array(0);
  private readonly chunks: AsyncIterator<Uint8Array>;

  constructor(chunks: AsyncIterable<Uint8Array>, offset: number) {
    this.chunks = chunks[Symbol.asyncIterator]();
    this.offset = offset;
  }

  /** A copy of the next bytes: fewer than `length` where the stream ends. Allocates no more than came. */
  async take(length: number): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for (let missing = length; missing > 0 && (await this.more()); ) {
      const piece = this.advance(missing);
      pieces.push(piece);
      missing -= piece.byteLength;
    }
    return joined(pieces);
  }

  /** Drops the next bytes. @returns how many there were */
  async skip(length: number): Promise<number> {
    let missing = length;
    while (missing > 0 && (await this.more())) missing -= this.advance(missing).byteLength;
    return length - missing;
  }

  async close(): Promise<void> {
    await this.chunks.return?.();
  }

  private async more(): Promise<boolean> {
    while (this.chunk.byteLength === 0) {
      const next = await this.chunks.next();
      if (next.done) return false;
      this.chunk = next.value;
    }
    return true;
  }

  private advance(atMost: number): Uint8Array {
    const piece = this.chunk.subarray(0, atMost);
    this.chunk = this.chunk.subarray(piece.byteLength);
    this.offset += piece.byteLength;
    return piece;
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  return bytes;
}

/** Data fills whole blocks. */
function padded(size: number): number {
  return Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
}
