/**
 * HTML character references, as Python's `html.unescape` reads them. The table of names is the `entities` package's;
 * numeric references are ours, since Python drops the invalid ones.
 * @see https://html.spec.whatwg.org/multipage/parsing.html#character-reference-state
 */
import { decodeHTML } from "entities/decode";
import { WINDOWS_1252 } from "./single-byte.ts";

/** Replaces every character reference; names need no semicolon where HTML allows it, longest name first. */
export function unescapeHtml(text: string): string {
  return text.replace(/&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[a-zA-Z][a-zA-Z0-9]{1,31};?)/g, (reference) =>
    reference[1] === "#" ? numericReference(reference) : decodeHTML(reference),
  );
}

/**
 * Replaces references that end in a semicolon, and names written in capitals ("&EACUTE;"): what is safe in text that
 * may not be HTML at all.
 */
export function unescapeClearHtml(text: string): string {
  return text.replace(/&#?[0-9A-Za-z]{1,24};/g, (reference) => {
    const plain = unescapeHtml(reference);
    if (!plain.includes(";") || reference === "&semi;") return plain;
    if (reference !== reference.toUpperCase()) return reference;
    const lower = unescapeHtml(reference.toLowerCase());
    return lower.includes(";") ? reference : lower.toUpperCase();
  });
}

function numericReference(reference: string): string {
  const hex = reference[2] === "x" || reference[2] === "X";
  const point = Number.parseInt(reference.slice(hex ? 3 : 2), hex ? 16 : 10);
  if (point === 0 || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return "\ufffd";
  if (point >= 0x80 && point < 0xa0) return WINDOWS_1252[point - 0x80]!;
  return isInvalid(point) ? "" : String.fromCodePoint(point);
}

/** Control characters other than white space, and the code points that are no characters. */
function isInvalid(point: number): boolean {
  const isControl = point < 0x20 ? ![0x9, 0xa, 0xc, 0xd].includes(point) : point === 0x7f;
  return isControl || (point >= 0xfdd0 && point <= 0xfdef) || (point & 0xfffe) === 0xfffe;
}
