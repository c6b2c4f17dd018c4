/**
 * Bytes as characters that can be seen: byte-level BPE (GPT-2's) writes its vocabulary so, since JSON holds texts and not
 * every run of bytes is one. Printable bytes of Latin-1 stand for themselves, the others for U+0100 and on; a space is "Ġ".
 */

/** The printable bytes, from first to last. */
const PRINTABLE = [
  [0x21, 0x7e],
  [0xa1, 0xac],
  [0xae, 0xff],
] as const;

/** The character of each of the 256 bytes. */
export const BYTE_SYMBOLS: readonly string[] = byteSymbols();

function byteSymbols(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = PRINTABLE.some(([first, last]) => byte >= first && byte <= last);
    return String.fromCharCode(isPrintable ? byte : next++);
  });
}
