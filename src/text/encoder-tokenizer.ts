/**
 * Text -> text ids exactly as a `tokenizer.json` says, its special tokens included: for text encoders of others, which
 * each have their own way. Nothing is cleaned, cut or padded; `TextTokenizer` is what our own text towers read by.
 */
import { Tokenizer } from "@huggingface/tokenizers";
import { messageOf, ToklipError } from "../core/index.ts";
import { LONGEST_TEXT } from "./text-tokenizer.ts";

/** A function from a text to its ids; at most the first 20,000 characters count. */
export type TextToIds = (text: string) => readonly number[];

/**
 * Reads a parsed `tokenizer.json`.
 * @throws TOKENIZER_INVALID when it is not one; so does the function when the vocabulary cannot express a text
 */
export function encoderTokenizer(json: unknown): TextToIds {
  if (typeof json !== "object" || json === null || !("model" in json)) {
    throw new ToklipError("TOKENIZER_INVALID", "tokenizer: expected the object of a tokenizer.json, with a model");
  }
  const guarded = <T>(work: () => T): T => {
    try {
      return work();
    } catch (thrown) {
      throw new ToklipError("TOKENIZER_INVALID", `tokenizer: ${messageOf(thrown)}`, { cause: thrown });
    }
  };
  const tokenizer = guarded(() => new Tokenizer(json, {}));
  return (text) => guarded(() => tokenizer.encode(text.slice(0, LONGEST_TEXT)).ids);
}
