/** Writes tar archives, honest and hostile ones. */
import { joinBytes } from "./pickle-writer.ts";

export interface TarPart {
  readonly name: string;
  readonly bytes?: Uint8Array;
  readonly type?: string;
  /** The size field as it stands in the header, where it differs. */
  readonly sizeField?: Uint8Array;
  readonly checksum?: number;
  readonly magic?: string;
  readonly prefix?: string;
}

const encode = (text: string) => new TextEncoder().encode(text);

/** An archive with its end mark. */
export function tar(parts: readonly TarPart[]): Uint8Array {
  return joinBytes(...parts.map(tarPart), new Uint8Array(1024));
}

/** A header and its data, filled up to whole blocks. */
export function tarPart(part: TarPart): Uint8Array {
  const { name, bytes = new Uint8Array(0), type = "0", magic = "ustar\0", prefix = "" } = part;
  const block = new Uint8Array(512);
  const put = (text: string, at: number) => block.set(encode(text), at);
  put(name, 0);
  put("0000644\0", 100);
  block.set(part.sizeField ?? encode(`${bytes.length.toString(8).padStart(11, "0")}\0`), 124);
  put("        ", 148);
  put(type, 156);
  put(`${magic}00`, 257);
  put(prefix, 345);
  const sum = part.checksum ?? block.reduce((total, byte) => total + byte, 0);
  put(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return joinBytes(block, bytes, new Uint8Array((512 - (bytes.length % 512)) % 512));
}

/** Pax records for the entry that follows. */
export function paxPart(fields: Readonly<Record<string, string>>, type = "x"): TarPart {
  const records = Object.entries(fields).map(([key, value]) => paxRecord(` ${key}=${value}\n`));
  return { name: "PaxHeaders/0", type, bytes: encode(records.join("")) };
}

/** A record whose length counts its own digits. */
function paxRecord(rest: string): string {
  const bytes = encode(rest).length;
  let length = bytes + 1;
  while (String(length).length + bytes !== length) length++;
  return `${length}${rest}`;
}

/** GNU's long name for the entry that follows. */
export function longNamePart(name: string): TarPart {
  return { name: "././@LongLink", type: "L", bytes: encode(`${name}\0`), magic: "ustar  " };
}

/** Bytes in pieces of the given length. */
export async function* inPieces(bytes: Uint8Array, length = 1000): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}
