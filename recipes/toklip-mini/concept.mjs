// What a picture is of, as one key: pictures of one concept never meet as negatives, and never lie on both sides of a split.
import { createHash } from "node:crypto";

const ARTICLES = /^(?:a|an|the)\s+/;
// How a set numbers or styles its drawings of one thing: "carrot flat", "arrow two", "tulip (b and w)".
const STYLE_WORDS = /(\S)\s+(?:flat|duo|one|two|three|four|b and w|bw)$/;
const KIND_WORDS = /\s+(?:face|button|sign|symbol|icon|flag)$/;
const NO_PLURAL = /(?:ss|us|is|as|ics|ies|glasses|scissors|pants|shorts|jeans|news|chess|gas|bus|lens|series)$/;

/** "carrot flat" -> "carrot". @param {string} name In lower case. */
export const withoutStyle = (name) => name.replace(STYLE_WORDS, "$1");

/** "The Red Apples" -> "red apple". @param {string} name */
export function conceptKey(name) {
  const words = name
    .toLowerCase()
    .normalize("NFKD")
    .replace(/[\u0300-\u036f’']/g, "")
    .replace(/[^\p{L}\p{N}]+/gu, " ")
    .trim()
    .replace(ARTICLES, "");
  const plain = withoutStyle(words).replace(KIND_WORDS, "");
  return plain.endsWith("s") && plain.length > 3 && !NO_PLURAL.test(plain) ? plain.slice(0, -1) : plain;
}

/** Where the pictures of a concept go: 8 % are never trained on, 4 % watch the training. @param {string} key */
export function splitOf(key) {
  const bucket = createHash("sha1").update(key).digest().readUInt32BE(0) % 100;
  if (bucket < 8) return "test-concept";
  return bucket < 12 ? "val" : "train";
}
