/** Writes zip archives of stored entries, honest and hostile ones. */
import { joinBytes, u32, u64 } from "./pickle-writer.ts";

export interface ZipPart {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly method?: number;
  readonly flags?: number;
  readonly disk?: number;
  /** What the directory claims, where it lies. */
  readonly claimedSize?: number;
  readonly claimedStoredSize?: number;
  readonly claimedOffset?: number;
  /** The name in the local header, where it differs. */
  readonly localName?: string;
  /** Length of the local header's extra field, which only the local header knows. */
  readonly padding?: number;
}

export interface ZipOptions {
  readonly comment?: string;
  readonly claimedCount?: number;
  readonly disk?: number;
  /** Puts all numbers into the 64-bit fields. */
  readonly zip64?: boolean;
}

const u16 = (value: number): number[] => [value & 255, (value >> 8) & 255];

export function zip(parts: readonly ZipPart[], options: ZipOptions = {}): Uint8Array {
  const pieces: Uint8Array[] = [];
  const offsets: number[] = [];
  let at = 0;
  for (const part of parts) {
    const local = joinBytes(localHeader(part), part.bytes);
    offsets.push(at);
    pieces.push(local);
    at += local.length;
  }
  const directory = joinBytes(...parts.map((part, i) => centralHeader(part, offsets[i]!, options)));
  return joinBytes(...pieces, directory, end(parts.length, directory.length, at, options));
}

function localHeader(part: ZipPart): Uint8Array {
  const name = new TextEncoder().encode(part.localName ?? part.name);
  const size = u32(part.bytes.length);
  const extra = new Uint8Array(part.padding ?? 0);
  const fields = [...u16(0), ...u16(part.flags ?? 0), ...u16(part.method ?? 0), ...u32(0), ...u32(0), ...size, ...size];
  return joinBytes("PK\x03\x04", fields, u16(name.length), u16(extra.length), name, extra);
}

function centralHeader(part: ZipPart, offset: number, { zip64 = false }: ZipOptions): Uint8Array {
  const name = new TextEncoder().encode(part.name);
  const numbers = [
    part.claimedSize ?? part.bytes.length,
    part.claimedStoredSize ?? part.claimedSize ?? part.bytes.length,
    part.claimedOffset ?? offset,
  ];
  const extra = zip64 ? joinBytes(u16(1), u16(24), ...numbers.map(u64)) : new Uint8Array(0);
  const [size, storedSize, place] = numbers.map((number) => u32(zip64 ? 0xffffffff : number));
  return joinBytes(
    "PK\x01\x02",
    [...u16(0), ...u16(0), ...u16(part.flags ?? 0), ...u16(part.method ?? 0), ...u32(0), ...u32(0)],
    [...storedSize!, ...size!, ...u16(name.length), ...u16(extra.length), ...u16(0), ...u16(part.disk ?? 0)],
    [...u16(0), ...u32(0), ...place!],
    name,
    extra,
  );
}

function end(count: number, size: number, offset: number, options: ZipOptions): Uint8Array {
  const { comment = "", claimedCount = count, disk = 0, zip64 = false } = options;
  const tail = [...u16(comment.length)];
  if (!zip64) {
    const counts = [...u16(disk), ...u16(0), ...u16(claimedCount), ...u16(claimedCount)];
    return joinBytes("PK\x05\x06", counts, u32(size), u32(offset), tail, comment);
  }
  const counts = [...u32(disk), ...u32(0), ...u64(claimedCount), ...u64(claimedCount), ...u64(size), ...u64(offset)];
  const end64 = joinBytes("PK\x06\x06", u64(44), u16(45), u16(45), counts);
  const locator = joinBytes("PK\x06\x07", u32(0), u64(offset + size), u32(1));
  return joinBytes(end64, locator, "PK\x05\x06", new Uint8Array(16).fill(255), tail, comment);
}
