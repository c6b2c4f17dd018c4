/**
 * Byte pair encoding, learned (Sennrich et al., arXiv 1508.07909): the two tokens that stand side by side most often become
 * one, again and again. Counts are kept up to date word by word, so that a merge costs what the words that hold it cost.
 *
 * Equal counts are decided by the smaller ids, so the result depends on the words and their counts only, not on their
 * order; it is the one that Hugging Face's `tokenizers` gives.
 */
import { MergeQueue } from "./merge-queue.ts";

/** A word as the tokens that it is made of so far, and how often it comes. */
export interface CountedWord {
  readonly tokens: readonly number[];
  readonly count: number;
}

/** What is learned, and when it ends. */
export interface MergeOptions {
  /** The tokens to begin with, by id: words are made of these. */
  readonly alphabet: readonly string[];
  /** No more tokens than these, the alphabet among them. */
  readonly vocabSize: number;
  /** Pairs that come less often stay apart. */
  readonly minFrequency: number;
}

/** Tokens by id, and the merges in the order in which they are to be made. */
export interface LearnedMerges {
  readonly tokens: readonly string[];
  /** Ids of the left and the right token. */
  readonly merges: readonly (readonly [left: number, right: number])[];
}

/** Learns merges from words. */
export function learnMerges(words: Iterable<CountedWord>, options: MergeOptions): LearnedMerges {
  const { alphabet, vocabSize, minFrequency } = options;
  const tokens = [...alphabet];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges = new Map<number, readonly [number, number]>();
  const pairs = new PairCounts(words);
  while (tokens.length < vocabSize) {
    const pair = pairs.takeMostFrequent();
    if (pair === undefined || pair.count < minFrequency) break;
    const { left, right } = pair;
    const joined = tokens[left]! + tokens[right]!;
    // Another pair may have made the same token: "a" "bc" after "ab" "c".
    const id = ids.get(joined) ?? tokens.push(joined) - 1;
    ids.set(joined, id);
    if (!merges.has(keyOf(left, right))) merges.set(keyOf(left, right), [left, right]);
    pairs.merge(left, right, id);
  }
  return { tokens, merges: [...merges.values()] };
}

/** Ids are below 2^26, so that a pair of them is a safe integer. */
const PAIR_BASE = 2 ** 26;

function keyOf(left: number, right: number): number {
  return left * PAIR_BASE + right;
}

interface PairUse {
  count: number;
  /** The words, by place, that hold it, or held it once. */
  readonly words: Set<number>;
}

/** How often which tokens stand side by side, over all words. */
class PairCounts {
  private readonly words: { tokens: readonly number[]; readonly count: number }[] = [];
  private readonly uses = new Map<number, PairUse>();
  private readonly queue = new MergeQueue();

  constructor(words: Iterable<CountedWord>) {
    for (const { tokens, count } of words) {
      this.words.push({ tokens, count });
      for (const key of pairsOf(tokens)) this.change(key, count, this.words.length - 1);
    }
    for (const key of this.uses.keys()) this.enqueue(key);
  }

  /** The pair that comes most often now; undefined when all words are whole. */
  takeMostFrequent(): { left: number; right: number; count: number } | undefined {
    for (let pair = this.queue.pop(); pair !== undefined; pair = this.queue.pop()) {
      const key = keyOf(pair.left, pair.right);
      const count = this.uses.get(key)?.count ?? 0;
      if (count === pair.count) return pair;
      // It has become rarer since it was queued, or was queued again when it became more frequent.
      if (count > 0 && count < pair.count) this.enqueue(key);
    }
    return undefined;
  }

  /** Makes one token of a pair, wherever it stands; from the left where it overlaps with itself. */
  merge(left: number, right: number, id: number): void {
    const key = keyOf(left, right);
    const risen = new Set<number>();
    for (const place of this.uses.get(key)!.words) this.mergeIn(place, left, right, id, risen);
    this.uses.delete(key);
    for (const pair of risen) this.enqueue(pair);
  }

  /** Merges in one word, and counts the pairs that this makes and those it ends. */
  private mergeIn(place: number, left: number, right: number, id: number, risen: Set<number>): void {
    const word = this.words[place]!;
    const { tokens, count } = word;
    const joined: number[] = [];
    const replace = (before: number, after: number) => {
      this.change(before, -count, place);
      this.change(after, count, place);
      risen.add(after);
    };
    for (let at = 0; at < tokens.length; at++) {
      if (tokens[at] !== left || tokens[at + 1] !== right) {
        joined.push(tokens[at]!);
        continue;
      }
      const previous = joined.at(-1);
      const next = tokens[at + 2];
      if (previous !== undefined) replace(keyOf(previous, left), keyOf(previous, id));
      if (next !== undefined) replace(keyOf(right, next), keyOf(id, next));
      joined.push(id);
      at++;
    }
    word.tokens = joined;
  }

  private change(key: number, by: number, place: number): void {
    const use = this.uses.get(key) ?? { count: 0, words: new Set() };
    if (use.words.size === 0) this.uses.set(key, use);
    use.count += by;
    use.words.add(place);
  }

  private enqueue(key: number): void {
    const count = this.uses.get(key)?.count ?? 0;
    if (count > 0) this.queue.push({ left: Math.floor(key / PAIR_BASE), right: key % PAIR_BASE, count });
  }
}

function pairsOf(tokens: readonly number[]): number[] {
  return tokens.slice(1).map((right, i) => keyOf(tokens[i]!, right));
}
