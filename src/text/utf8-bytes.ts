/**
 * Reading UTF-8 out of bytes that text was misread from: strict decoding, and two repairs of common damage.
 * Byte strings are "binary strings": one character a byte.
 */

/** UTF-8 lead byte ranges: how many bytes follow, and the smallest code point that needs so many. */
const LEADS = [
  { first: 0xc0, last: 0xdf, following: 1, smallest: 0x80 },
  { first: 0xe0, last: 0xef, following: 2, smallest: 0x800 },
  { first: 0xf0, last: 0xf4, following: 3, smallest: 0x10000 },
] as const;

/**
 * Decodes UTF-8, also its variant that writes surrogate pairs as two three-byte sequences (CESU-8) and NUL as C0 80.
 * @returns undefined when the bytes are not valid.
 */
export function decodeUtf8(bytes: string): string | undefined {
  let text = "";
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes.charCodeAt(at);
    if (byte < 0x80) {
      text += bytes[at];
      continue;
    }
    const lead = LEADS.find(({ first, last }) => byte >= first && byte <= last);
    if (!lead) return undefined;
    let point = byte & (0x3f >> lead.following);
    for (let count = 0; count < lead.following; count++) {
      const next = bytes.charCodeAt(++at);
      if (!(next >= 0x80 && next < 0xc0)) return undefined;
      point = point * 64 + (next & 0x3f);
    }
    const isLongNul = byte === 0xc0 && point === 0;
    if (point > 0x10ffff || (point < lead.smallest && !isLongNul)) return undefined;
    text += String.fromCodePoint(point);
  }
  return /\p{Cs}/u.test(text) ? undefined : text; // a surrogate without its other half
}

// Sequences with a space where byte A0 (a no-break space in most encodings) would complete them; only the blocks of
// common characters, as a space is likelier to be a space.
const SPACED = new RegExp(
  [
    "[\\xc2\\xc3\\xc5\\xce\\xd0\\xd9] ",
    "[\\xe2\\xe3] [\\x80-\\x84\\x86-\\x9f\\xa1-\\xbf]",
    "[\\xe0-\\xe3][\\x80-\\x84\\x86-\\x9f\\xa1-\\xbf] ",
    "\\xf0 [\\x80-\\xbf][\\x80-\\xbf]",
    "\\xf0[\\x80-\\xbf] [\\x80-\\xbf]",
    "\\xf0[\\x80-\\xbf][\\x80-\\xbf] ",
  ].join("|"),
  "g",
);

// In "voil\xc3 le" the second byte of "à" has merged with the space between the words: one becomes two. Portuguese
// joins "à" to these words ("àquele"), and then the space was the byte alone; so it was before another space.
const JOINED_TO_A_GRAVE = ["quele", "quela", "quilo", "s ", " "];
const A_GRAVE_WORD = new RegExp(`\\xc3 (?!${JOINED_TO_A_GRAVE.join("|")})`, "g");

/** Puts byte A0 back where a text tool has turned it into a space. */
export function restoreNoBreakSpaces(bytes: string): string {
  const words = bytes.replace(A_GRAVE_WORD, "\xc3\xa0 ");
  return words.replace(SPACED, (sequence) => sequence.replace(" ", "\xa0"));
}

const LOST = new RegExp(
  [
    "[\\xc2\\xc3][\\x1a?]",
    "[\\xc4-\\xdf]\\x1a",
    "[\\xe0-\\xef](?:[\\x80-\\xbf][\\x1a?]|[\\x1a?][\\x80-\\xbf]|\\x1a\\x1a)",
    "\\xf0(?:[\\x80-\\xbf][\\x80-\\xbf][\\x1a?]|[\\x80-\\xbf][\\x1a?][\\x80-\\xbf]|[\\x1a?][\\x80-\\xbf][\\x80-\\xbf])",
    "\\xf0(?:[\\x80-\\xbf]\\x1a\\x1a|\\x1a[\\x80-\\xbf]\\x1a|\\x1a\\x1a[\\x80-\\xbf])",
  ].join("|"),
  "g",
);

/** Replaces sequences that lost a byte (0x1a or "?" stands for it) by U+FFFD's three bytes. */
export function markLostSequences(bytes: string): string {
  return bytes.replace(LOST, "\xef\xbf\xbd");
}
