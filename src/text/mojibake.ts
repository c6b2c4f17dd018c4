/**
 * Mojibake: UTF-8 that something decoded as a single-byte encoding ("cafÃ©" for "café"). Undone when the text looks
 * misdecoded and its bytes in that encoding are valid UTF-8, again and again while that succeeds.
 * Follows what Python's ftfy 6.3.1 does with its default settings; written from its behaviour, not its source.
 */
import { looksMisdecoded } from "./mojibake-evidence.ts";
import {
  CONTROLS,
  encodeSingleByte,
  SINGLE_BYTE_ENCODINGS,
  type SingleByteEncoding,
  WINDOWS_1252,
  windowsCharacters,
} from "./single-byte.ts";
import { decodeUtf8, markLostSequences, restoreNoBreakSpaces } from "./utf8-bytes.ts";

/** Gives misdecoded text its characters back; other text unchanged. */
export function repairMojibake(text: string): string {
  let current = text;
  for (;;) {
    const next = repairOnce(current);
    if (next === current) return current;
    current = next; // ends: each step but the last, which removes C1 controls, makes the text shorter
  }
}

function repairOnce(text: string): string {
  if (!looksMisdecoded(text)) return text;
  for (const encoding of SINGLE_BYTE_ENCODINGS) {
    const decoded = redecode(text, encoding);
    if (decoded !== undefined) return decoded;
  }
  const pieces = repairPieces(text);
  return pieces === text ? readControls(text) : pieces;
}

/** The text read anew as UTF-8, if it was written in UTF-8 and read in `encoding`. */
function redecode(text: string, encoding: SingleByteEncoding): string | undefined {
  let bytes = encodeSingleByte(text, encoding);
  if (bytes === undefined) return undefined;
  if (encoding.name !== "macintosh") bytes = restoreNoBreakSpaces(bytes); // whose no-break space is another byte
  if (encoding.markLost) bytes = markLostSequences(bytes);
  return decodeUtf8(bytes);
}

// UTF-8 sequences as they look in latin-1 and the windows encodings. A lost byte or a space may stand in the longer
// ones; a run does not begin after a character that continues a sequence, unless sound text has it as punctuation.
const CONTINUATIONS = `${windowsCharacters(0x80, 0xbf)}${CONTROLS}`;
const NEXT = classOf(CONTINUATIONS);
const NEXT_OR_LOST = classOf(`${CONTINUATIONS}\ufffd?`);
const NEXT_STRICT = classOf(CONTINUATIONS.replace(/[\u00a0‘-„†‡•…‹›–—]/g, ""));
const UTF8_RUNS = new RegExp(
  `(?<!${NEXT_STRICT})(?:${[
    `${classOf(windowsCharacters(0xc2, 0xdf))}${NEXT}`,
    `${classOf(windowsCharacters(0xe0, 0xef))}${NEXT_OR_LOST}{2}`,
    `${classOf(windowsCharacters(0xe0, 0xe3))}${NEXT} `,
    `${classOf(windowsCharacters(0xe2, 0xe3))} ${NEXT}`,
    `${classOf(windowsCharacters(0xf0, 0xf0))}${NEXT_OR_LOST}{3}`,
  ].join("|")})+`,
  "gu",
);

function classOf(characters: string): string {
  return `[${characters.replace(/[\]\\^-]/g, "\\$&")}]`;
}

/** Repairs runs that look like UTF-8 inside text that is otherwise sound. */
function repairPieces(text: string): string {
  return text.replace(UTF8_RUNS, (run) => (run.length < text.length ? repairMojibake(run) : run));
}

/** Reads control characters U+0080 to U+009F as windows-1252, as HTML does. */
export function readControls(text: string): string {
  return text.replace(/[\x80-\x9f]/g, (control) => WINDOWS_1252[control.charCodeAt(0) - 0x80]!);
}
