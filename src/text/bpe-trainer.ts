/**
 * Makes a text tokenizer of one's own: byte pair encoding over the bytes of cleaned words, as a `tokenizer.json` that
 * `TextTokenizer`, Hugging Face's clients and `transformers` read.
 *
 * The conventions are SigLIP 2's: pad 0, eos 1, no bos, and the text cleaned as `canonicalize` does (the file drops
 * punctuation and lower-cases too, for clients that do not clean; repairing texts is ours alone). A word takes the space
 * before it, and tokens never cross words. All 256 bytes are tokens, so nothing is unknown.
 */
import { ToklipError } from "../core/index.ts";
import { BYTE_SYMBOLS } from "./byte-symbols.ts";
import { canonicalize } from "./canonicalize.ts";
import { type LearnedMerges, learnMerges } from "./merges.ts";
import { LONGEST_TEXT } from "./text-tokenizer.ts";

const PAD = "<pad>";
const EOS = "<eos>";
const SPECIAL = [PAD, EOS] as const;

/** The special tokens, then the bytes in the order of their characters. */
const ALPHABET = [...SPECIAL, ...BYTE_SYMBOLS.toSorted()];

const ID_OF_BYTE = BYTE_SYMBOLS.map((symbol) => ALPHABET.indexOf(symbol));

/** The fewest tokens that a vocabulary has: the special ones and the bytes. */
export const MIN_VOCAB_SIZE = ALPHABET.length;

/** Far beyond any text tower's; keeps the file within what clients read. */
const MAX_VOCAB_SIZE = 1_000_000;

/** What is learned. */
export interface BpeTrainerOptions {
  /** The most tokens: from 258 (special tokens and bytes) to 1,000,000. Fewer come of a text that has no more pairs. */
  readonly vocabSize: number;
  /** How often two tokens stand side by side before they become one. Default 2. */
  readonly minFrequency?: number;
}

/** A tokenizer in the layout of Hugging Face's `tokenizer.json`. */
export interface BpeTokenizerFile {
  readonly version: "1.0";
  readonly model: {
    readonly type: "BPE";
    /** Ids by token, from 0 without gaps. */
    readonly vocab: Readonly<Record<string, number>>;
    /** `"left right"`, the first to be made first. */
    readonly merges: readonly string[];
    readonly [setting: string]: unknown;
  };
  readonly [part: string]: unknown;
}

/**
 * Learns a text tokenizer from texts, which it takes one at a time.
 *
 * @example
 * const trainer = new BpeTrainer({ vocabSize: 4096 });
 * for (const caption of captions) trainer.add(caption);
 * const tokenizer = TextTokenizer.fromJson(trainer.train(), { vocabSize: 4096 });
 */
export class BpeTrainer {
  private readonly vocabSize: number;
  private readonly minFrequency: number;
  private readonly words = new Map<string, number>();

  /** @throws ARGUMENT_INVALID */
  constructor({ vocabSize, minFrequency = 2 }: BpeTrainerOptions) {
    requireInteger("vocabSize", vocabSize, MIN_VOCAB_SIZE, MAX_VOCAB_SIZE);
    requireInteger("minFrequency", minFrequency, 1, Number.MAX_SAFE_INTEGER);
    this.vocabSize = vocabSize;
    this.minFrequency = minFrequency;
  }

  /** How many different words have come. */
  get wordCount(): number {
    return this.words.size;
  }

  /** Counts the words of a text that comes `count` times. Like `TextTokenizer`, it looks at the beginning of a long one. */
  add(text: string, count = 1): void {
    requireInteger("count", count, 1, Number.MAX_SAFE_INTEGER);
    const clean = canonicalize(text.slice(0, LONGEST_TEXT));
    if (clean === "") return;
    for (const word of clean.split(" ")) this.words.set(word, (this.words.get(word) ?? 0) + count);
  }

  /**
   * The tokenizer for the texts so far.
   * @throws DATA_EMPTY when no text has said anything
   */
  train(): BpeTokenizerFile {
    if (this.words.size === 0) throw new ToklipError("DATA_EMPTY", "text tokenizer: no text holds a word");
    const words = Array.from(this.words, ([word, count]) => ({ tokens: bytesOf(` ${word}`), count }));
    const { vocabSize, minFrequency } = this;
    return tokenizerFile(learnMerges(words, { alphabet: ALPHABET, vocabSize, minFrequency }));
  }
}

function requireInteger(name: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`;
  throw new ToklipError("ARGUMENT_INVALID", `text tokenizer: ${name}: expected an integer ${range}, got ${value}`);
}

/** The ids of a text's bytes. */
function bytesOf(text: string): number[] {
  return Array.from(new TextEncoder().encode(text), (byte) => ID_OF_BYTE[byte]!);
}

function tokenizerFile({ tokens, merges }: LearnedMerges): BpeTokenizerFile {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => specialToken(content, id)),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Replace", pattern: { String: "_" }, content: " " },
        { type: "Replace", pattern: { Regex: "[!-/:-@\\[-`{-~]" }, content: "" },
        { type: "Lowercase" },
      ],
    },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: "[ \\t\\r\\n]+" }, behavior: "Removed", invert: false },
        { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: "TemplateProcessing",
      single: [sequence("A"), endOfText],
      pair: [sequence("A"), sequence("B"), endOfText],
      special_tokens: { [EOS]: { id: EOS, ids: [SPECIAL.indexOf(EOS)], tokens: [EOS] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: false },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(([left, right]) => `${tokens[left]} ${tokens[right]}`),
    },
  };
}

const endOfText = { SpecialToken: { id: EOS, type_id: 0 } };

function sequence(id: "A" | "B") {
  return { Sequence: { id, type_id: 0 } };
}

function specialToken(content: string, id: number) {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
}
