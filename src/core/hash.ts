/** A short, stable hash of text: FNV-1a of its UTF-8 bytes, 32 bits (draft-eastlake-fnv). Not for anything secret. */

/** A number in [0, 2^32) that depends on every byte of the text. */
export function fnv1a(text: string): number {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 0x01000193);
  return value >>> 0;
}
