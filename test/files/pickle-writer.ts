/** Writes pickles opcode by opcode, honest and hostile ones. */

type Part = Uint8Array | number[] | string;

/** The parts joined; text is taken as one byte a character. */
export function joinBytes(...parts: Part[]): Uint8Array {
  const arrays = parts.map((part) => (typeof part === "string" ? Array.from(part, (c) => c.charCodeAt(0)) : part));
  const out = new Uint8Array(arrays.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of arrays) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export function u32(value: number): number[] {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
}

export function u64(value: number | bigint): number[] {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return [...bytes];
}

/** A Python tuple, to tell it from a list. */
export class Tuple {
  readonly items: unknown[];
  constructor(...items: unknown[]) {
    this.items = items;
  }
}

/** Bytes to be copied into the pickle as they are. */
export class Raw {
  readonly bytes: Uint8Array;
  constructor(...parts: Part[]) {
    this.bytes = joinBytes(...parts);
  }
}

/** `GLOBAL module name`. */
export function globalOf(module: string, name: string): Raw {
  return new Raw(`c${module}\n${name}\n`);
}

/** A call of a global; `state` is given to the result by BUILD. */
export function callOf(callee: Raw, args: unknown[], state?: unknown): Raw {
  return new Raw(callee.bytes, encode(new Tuple(...args)), "R", ...(state === undefined ? [] : [encode(state), "b"]));
}

/** The opcodes that push one value. */
export function encode(value: unknown): Uint8Array {
  if (value instanceof Raw) return value.bytes;
  if (value === null) return joinBytes("N");
  if (typeof value === "boolean") return joinBytes([value ? 0x88 : 0x89]);
  if (typeof value === "string") {
    const text = new TextEncoder().encode(value);
    return joinBytes("X", u32(text.length), text);
  }
  if (typeof value === "bigint") return joinBytes([0x8a, 8], u64(BigInt.asUintN(64, value)));
  if (typeof value === "number") return encodeNumber(value);
  if (value instanceof Uint8Array) return joinBytes("B", u32(value.length), value);
  if (value instanceof Tuple) return joinBytes("(", ...value.items.map(encode), "t");
  if (Array.isArray(value)) return joinBytes("](", ...value.map(encode), "e");
  if (value instanceof Map) return joinBytes("}(", ...[...value].flat().map(encode), "u");
  throw new Error(`no opcodes for ${String(value)}`);
}

function encodeNumber(value: number): Uint8Array {
  if (Number.isInteger(value) && Math.abs(value) < 2 ** 31) return joinBytes("J", u32(value >>> 0));
  if (Number.isSafeInteger(value)) return encode(BigInt(value));
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value, false);
  return joinBytes("G", bytes);
}

/** A whole pickle of protocol 2. */
export function pickle(value: unknown): Uint8Array {
  return joinBytes([0x80, 2], encode(value), ".");
}
