/**
 * Repairs text as Python's ftfy 6.3.1 does with its default settings, which the reference runs before its tokenizer:
 * HTML references, mojibake, ligatures, full-width and half-width forms, curly quotes, line breaks, surrogates,
 * terminal escapes, control characters, Unicode NFC. Written from its behaviour, not its source.
 */
import { unescapeClearHtml } from "./html-entities.ts";
import { readControls, repairMojibake } from "./mojibake.ts";

const LIGATURES: Readonly<Record<string, string>> = {
  Ĳ: "IJ",
  ĳ: "ij",
  ŉ: "ʼn",
  Ǆ: "DŽ",
  ǅ: "Dž",
  ǆ: "dž",
  Ǉ: "LJ",
  ǈ: "Lj",
  ǉ: "lj",
  Ǌ: "NJ",
  ǋ: "Nj",
  ǌ: "nj",
  Ǳ: "DZ",
  ǲ: "Dz",
  ǳ: "dz",
  ﬀ: "ff",
  ﬁ: "fi",
  ﬂ: "fl",
  ﬃ: "ffi",
  ﬄ: "ffl",
  ﬅ: "ſt",
  ﬆ: "st",
};

/** One repair each, in this order. */
const REPAIRS: readonly ((text: string) => string)[] = [
  repairMojibake,
  readControls,
  (text) => text.replace(/[ĲĳŉǄ-ǌǱ-ǳﬀ-ﬆ]/g, (character) => LIGATURES[character]!),
  (text) => text.replace(/[\u3000\uff01-\uffef]/g, (character) => character.normalize("NFKC")),
  (text) => text.replace(/[ʼ‘’‚‛]/g, "'").replace(/[“”„‟]/g, '"'),
  (text) => text.replace(/\r\n|[\r\u2028\u2029]/g, "\n"),
  (text) => text.replace(/\p{Cs}/gu, "\ufffd"),
  (text) => text.replace(/\x1b\[[0-9;]*[a-zA-Z]/g, ""),
  (text) => text.replace(/[\0-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/g, ""),
  (text) => text.normalize("NFC"),
];

/** A repair can uncover the next one's work; real text needs two or three rounds, and hostile text gets no more. */
const MAX_ROUNDS = 16;

/** The repaired text. HTML references are replaced up to the first line with a `<`, which is a sign of real HTML. */
export function fixText(text: string): string {
  let unescaping = true;
  const lines = text.split(/(?<=\n)/).map((line) => {
    unescaping &&= !line.includes("<");
    return fixLine(line, unescaping);
  });
  return lines.join("");
}

function fixLine(line: string, unescaping: boolean): string {
  let current = line;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    let next = unescaping ? unescapeClearHtml(current) : current;
    for (const repair of REPAIRS) next = repair(next);
    if (next === current) break;
    current = next;
  }
  return current;
}
