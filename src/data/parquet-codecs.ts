/**
 * The compressions of Parquet pages. Decoders come from hyparquet-compressors, and for Zstandard from zstddec, which is the
 * format's own decoder as WebAssembly: it keeps to the room it is given and ends on any bytes. What they are given is
 * checked first, since a page's header names the size of the result, and memory of that size is taken before a byte is
 * decoded.
 *
 * Brotli is not here: its decoder grows the result to whatever the data ask for. LZO and the old LZ4 framing are not either.
 */
import { compressors } from "hyparquet-compressors";
import { ZSTDDecoder } from "zstddec";
import { messageOf, ToklipError } from "../core/index.ts";

interface Codec {
  readonly name: string;
  /** The most bytes that one byte of it can stand for. */
  readonly maxRatio: number;
  decompress(bytes: Uint8Array, byteLength: number, where: string): Uint8Array;
}

/** Codecs by their numbers in a file. */
const CODECS: ReadonlyMap<number, Codec> = new Map<number, Codec>([
  [0, { name: "none", maxRatio: 1, decompress: (bytes) => bytes }],
  // A copy of 64 bytes takes 3.
  [1, { name: "snappy", maxRatio: 22, decompress: (bytes, length) => compressors.SNAPPY!(bytes, length) }],
  // A match of 258 bytes takes 2 bits.
  [2, { name: "gzip", maxRatio: 1032, decompress: (bytes, length) => compressors.GZIP!(bytes, length) }],
  // A block of 128 KiB takes 4 bytes.
  [6, { name: "zstd", maxRatio: 32768, decompress: decompressZstd }],
  // A byte lengthens a match by 255.
  [7, { name: "lz4", maxRatio: 255, decompress: (bytes, length) => compressors.LZ4_RAW!(bytes, length) }],
]);

/** What a compressed page may have besides what its ratio allows: headers. */
const SLACK_BYTES = 1024;

const zstd = new ZSTDDecoder();

/** Makes the decoders ready; to be awaited once before pages are read. */
export function prepareCodecs(): Promise<void> {
  return zstd.init();
}

/** Whether pages of this codec can be read. */
export function isKnownCodec(codec: number): boolean {
  return CODECS.has(codec);
}

/**
 * Decompresses a page to exactly `byteLength` bytes.
 * @throws FILE_CORRUPT where the bytes give anything else
 */
export function decompressPage(bytes: Uint8Array, codec: number, byteLength: number, where: string): Uint8Array {
  if (byteLength === 0) return new Uint8Array(0); // a page of nulls alone may have no bytes at all
  const { name, maxRatio, decompress } = CODECS.get(codec)!;
  if (byteLength > bytes.length * maxRatio + SLACK_BYTES) {
    const claim = `${bytes.length} bytes of ${name} cannot hold ${byteLength}`;
    throw new ToklipError("FILE_CORRUPT", `${where}: ${claim}`);
  }
  const page = attempt(() => decompress(bytes, byteLength, where), where, name);
  if (page.length !== byteLength) {
    throw new ToklipError("FILE_CORRUPT", `${where}: ${name} gave ${page.length} bytes, not ${byteLength}`);
  }
  return page;
}

/** Decoders throw what comes to hand on bad data. */
function attempt(decode: () => Uint8Array, where: string, name: string): Uint8Array {
  try {
    return decode();
  } catch (cause) {
    if (cause instanceof ToklipError) throw cause;
    throw new ToklipError("FILE_CORRUPT", `${where}: not ${name} (${messageOf(cause)})`, { cause });
  }
}

const ZSTD_MAGIC = 0xfd2fb528;
const ZSTD_BLOCK_BYTES = 2 ** 17;
/** The sizes of a frame's content-size field, by its flag. */
const ZSTD_SIZE_BYTES = [0, 2, 4, 8] as const;

/** Zstandard (RFC 8878). The frame must first say or show that it keeps to the page. */
function decompressZstd(bytes: Uint8Array, byteLength: number, where: string): Uint8Array {
  checkZstdFrame(bytes, byteLength, where);
  return zstd.decode(bytes, byteLength);
}

function checkZstdFrame(bytes: Uint8Array, byteLength: number, where: string): void {
  const fault = (problem: string) => new ToklipError("FILE_CORRUPT", `${where}: zstd: ${problem}`);
  if (bytes.length < 8) throw fault("too short");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(0, true) !== ZSTD_MAGIC) throw fault("does not begin as a frame does");
  const flags = view.getUint8(4);
  const isSingle = (flags & 32) !== 0;
  if ((flags & 3) !== 0) throw fault("wants a dictionary");
  // The window without a single segment; it is memory that the decoder takes.
  const windowBytes = isSingle ? 0 : 2 ** (10 + (view.getUint8(5) >> 3)) * 1.875;
  if (windowBytes > Math.max(2 ** 24, 4 * byteLength)) throw fault(`a window of ${windowBytes} bytes`);
  const sizeAt = isSingle ? 5 : 6;
  const sizeBytes = flags >> 6 === 0 && isSingle ? 1 : ZSTD_SIZE_BYTES[flags >> 6]!;
  let size = sizeBytes === 2 ? 256 : 0;
  for (let i = 0; i < sizeBytes; i++) size += (bytes[sizeAt + i] ?? 0) * 2 ** (8 * i);
  if (sizeBytes > 0 && size !== byteLength) throw fault(`a frame of ${size} bytes for a page of ${byteLength}`);
  const checksumBytes = flags & 4 ? 4 : 0;
  const most = sizeBytes > 0 ? Number.POSITIVE_INFINITY : 8 * byteLength + 2 ** 24;
  checkZstdBlocks(view, sizeAt + sizeBytes, checksumBytes, most, fault);
}

/** Walks the blocks to the end. `most`: the bytes they may hold where the frame sets no limit itself. */
function checkZstdBlocks(
  view: DataView,
  start: number,
  checksumBytes: number,
  most: number,
  fault: (problem: string) => ToklipError,
): void {
  let at = start;
  let held = 0;
  for (let last = false; !last; ) {
    if (at + 3 > view.byteLength) throw fault("a block is missing");
    const head = view.getUint16(at, true) + view.getUint8(at + 2) * 65536;
    const [type, size] = [(head >> 1) & 3, head >> 3];
    last = (head & 1) === 1;
    if (type === 3 || size > ZSTD_BLOCK_BYTES) throw fault("a block that the format does not allow");
    held += type === 2 ? ZSTD_BLOCK_BYTES : size;
    if (held > most) throw fault("its blocks hold more than the page");
    at += 3 + (type === 1 ? 1 : size);
  }
  if (at + checksumBytes !== view.byteLength) throw fault("its end is not where the page's is");
}
