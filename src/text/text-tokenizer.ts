/**
 * Text -> text ids, as SigLIP 2 is trained: canonicalised, no bos, a sticky eos (it stays last when a text is cut), padded
 * to the full context length. The vocabulary is a Hugging Face `tokenizer.json`, read by @huggingface/tokenizers.
 *
 * The tokenizer's own truncation and template are not used: truncation would cut the eos off, and templates of Gemma add
 * the bos that SigLIP 2 leaves out. Special tokens in a user's text cannot occur: canonicalising removes their brackets.
 *
 * Dim letters: B texts, T context length.
 */
import { Tokenizer } from "@huggingface/tokenizers";
import { messageOf, type NDArray, ndarray, ToklipError } from "../core/index.ts";
import { canonicalize } from "./canonicalize.ts";

/** Longer texts, in UTF-16 units, are cut before they are tokenized: no context length comes near, and time stays bounded. */
export const LONGEST_TEXT = 20_000;

const EOS_NAMES = ["<eos>", "</s>", "<|endoftext|>", "[SEP]"];
const PAD_NAMES = ["<pad>", "[PAD]", "<|pad|>"];

/** What a tokenizer is held against. */
export interface TextTokenizerOptions {
  /** The rows of the model's text embedding: a vocabulary with larger ids belongs to another model. */
  readonly vocabSize: number;
}

/** The id of the first of these tokens that the vocabulary has. */
function findSpecial(tokenizer: Tokenizer, names: readonly string[]): number | undefined {
  return names.map((name) => tokenizer.token_to_id(name)).find((id) => id !== undefined);
}

/** The largest id that the vocabulary or its added tokens name. */
function largestId(json: unknown): number {
  const { model, added_tokens } = json as { model?: { vocab?: unknown }; added_tokens?: unknown };
  const vocab = model?.vocab;
  // BPE and WordPiece map tokens to ids; Unigram lists [token, score] in the order of the ids.
  const listed = Array.isArray(vocab) ? [vocab.length - 1] : Object.values(vocab ?? {});
  const added = Array.isArray(added_tokens) ? added_tokens.map((token) => (token as { id?: unknown } | null)?.id) : [];
  let largest = -1;
  for (const id of [...listed, ...added]) largest = Math.max(largest, typeof id === "number" ? id : -1);
  return largest;
}

/** A vocabulary, and how it makes ids of texts. */
export class TextTokenizer {
  private readonly tokenizer: Tokenizer;
  /** The id that ends every text. */
  readonly eosId: number;
  /** The id that fills the rest. */
  readonly padId: number;

  private constructor(tokenizer: Tokenizer, eosId: number, padId: number) {
    this.tokenizer = tokenizer;
    this.eosId = eosId;
    this.padId = padId;
  }

  /**
   * Reads a parsed `tokenizer.json`.
   * @throws TOKENIZER_INVALID when it is not one, or has no end-of-text token; TOKENIZER_MISMATCH when it names ids that
   * the model has no row for
   */
  static fromJson(json: unknown, { vocabSize }: TextTokenizerOptions): TextTokenizer {
    if (typeof json !== "object" || json === null || !("model" in json)) {
      throw new ToklipError("TOKENIZER_INVALID", "tokenizer: expected the object of a tokenizer.json, with a model");
    }
    let tokenizer: Tokenizer;
    let largest: number;
    try {
      tokenizer = new Tokenizer(json, {});
      largest = largestId(json);
    } catch (thrown) {
      throw new ToklipError("TOKENIZER_INVALID", `tokenizer: ${messageOf(thrown)}`, { cause: thrown });
    }
    if (largest >= vocabSize) {
      throw new ToklipError(
        "TOKENIZER_MISMATCH",
        `tokenizer: it has id ${largest}, the model's vocabulary ends at ${vocabSize - 1}`,
      );
    }
    const eosId = findSpecial(tokenizer, EOS_NAMES);
    if (eosId === undefined) {
      throw new ToklipError(
        "TOKENIZER_INVALID",
        `tokenizer: it has none of the end-of-text tokens ${EOS_NAMES.join(" ")}`,
      );
    }
    return new TextTokenizer(tokenizer, eosId, findSpecial(tokenizer, PAD_NAMES) ?? 0);
  }

  /**
   * Cleans and tokenizes texts: i32 (B, T), each row ids, eos, padding.
   * @throws ARGUMENT_INVALID when a text is not a string; TOKENIZER_INVALID when the vocabulary cannot express one
   */
  encode(texts: readonly string[], { contextLength }: { readonly contextLength: number }): NDArray<"i32"> {
    const out = ndarray("i32", [texts.length, contextLength]);
    out.data.fill(this.padId);
    texts.forEach((text, row) => {
      const ids = this.idsOf(text).slice(0, contextLength - 1);
      out.data.set([...ids, this.eosId], row * contextLength);
    });
    return out;
  }

  /**
   * Cleans and tokenizes one text: its ids, without eos and padding. Empty where cleaning leaves nothing.
   * @throws as `encode`
   */
  idsOf(text: string): number[] {
    if (typeof text !== "string")
      throw new ToklipError("ARGUMENT_INVALID", `text: expected a string, got ${typeof text}`);
    const clean = canonicalize(text.slice(0, LONGEST_TEXT));
    if (clean === "") return [];
    try {
      return this.tokenizer.encode(clean, { add_special_tokens: false }).ids;
    } catch (thrown) {
      throw new ToklipError("TOKENIZER_INVALID", `tokenizer: ${messageOf(thrown)}`, { cause: thrown });
    }
  }

  /**
   * The text of ids, without special tokens, without space around it. Bytes of a character that is not complete are U+FFFD;
   * ids that the vocabulary does not have say nothing.
   * @throws TOKENIZER_INVALID when the vocabulary cannot be read backwards
   */
  textOf(ids: ArrayLike<number>): string {
    const known = Array.from(ids).filter((id) => this.tokenizer.id_to_token(id) !== undefined);
    if (known.length === 0) return "";
    const options = { skip_special_tokens: true, clean_up_tokenization_spaces: false };
    try {
      return this.tokenizer.decode(known, options).trim();
    } catch (thrown) {
      throw new ToklipError("TOKENIZER_INVALID", `tokenizer: ${messageOf(thrown)}`, { cause: thrown });
    }
  }
}
