/**
 * Beam search for the likeliest text behind each prompt. The beams of a row are branches of one tree in its cache: a new id
 * sees the prompt and its own ancestors, so that no key or value is ever moved when beams are chosen anew.
 *
 * Dim letters: B prompts, W beams, V vocabulary.
 */
import { type LongCallOptions, ndarray, ToklipError, throwIfAborted } from "../core/index.ts";
import { AR_CONTROL, type ArConfig, arVocabulary } from "../models/index.ts";
import type { ArDecoder } from "./ar-decoder.ts";
import type { ArPrompt } from "./ar-prompt.ts";
import type { ArStream } from "./ar-stream.ts";
import { checkCount } from "./input-checks.ts";
import { logSumExp } from "./sampling.ts";

/** How texts are searched. */
export interface BeamOptions extends LongCallOptions {
  /** Texts that are followed at the same time; 4. */
  readonly beams?: number | undefined;
  /** The most ids of a text, fewer where the context has no more room; 64. */
  readonly maxTokens?: number | undefined;
  /** Texts are compared by log p / (ids + 1)^this, their end being the one; 1, the default, compares means, 0 sums. */
  readonly lengthPenalty?: number | undefined;
}

/** A text that was found. */
export interface FoundText {
  /** In the text tokenizer's own numbers, at least one. */
  readonly ids: Int32Array;
  /** The logarithm of its probability, that of its end included. */
  readonly logProbability: number;
  /** What texts are compared by. */
  readonly score: number;
}

/** A text that is followed: its ids in the transformer's vocabulary, and the place of the cache that has each. */
interface Beam {
  readonly ids: readonly number[];
  readonly places: readonly number[];
  readonly logProbability: number;
}

interface Candidate {
  readonly parent: Beam;
  readonly id: number;
  readonly logProbability: number;
}

/** The options with their defaults. */
interface Limits {
  readonly beams: number;
  readonly maxTokens: number;
  readonly lengthPenalty: number;
}

/** Puts an item where it belongs in a list that is sorted downwards and holds so many at most. */
function insert<T>(list: T[], item: T, size: number, rank: (item: T) => number): void {
  if (list.length === size && rank(item) <= rank(list.at(-1)!)) return;
  const place = list.findIndex((other) => rank(other) < rank(item));
  list.splice(place < 0 ? list.length : place, 0, item);
  if (list.length > size) list.pop();
}

const likelihood = ({ logProbability }: { readonly logProbability: number }) => logProbability;

/** The search behind one prompt. */
class RowSearch {
  /** What is followed, likeliest first; nothing when the search has ended. */
  beams: readonly Beam[] = [{ ids: [], places: [], logProbability: 0 }];
  /** What has ended, best first. */
  readonly found: FoundText[] = [];
  private readonly limits: Limits;
  private readonly config: ArConfig;

  constructor(config: ArConfig, limits: Limits) {
    this.config = config;
    this.limits = limits;
  }

  /**
   * Ends each beam, and follows the likeliest of all that may come next.
   * @param logits those after each beam
   * @param end the place of the cache for the next id of the first beam
   * @throws LOGITS_INVALID
   */
  advance(logits: readonly Float32Array[], end: number): void {
    const { textStart, imageStart } = arVocabulary(this.config);
    const { beams: width, maxTokens } = this.limits;
    const best: Candidate[] = [];
    this.beams.forEach((parent, i) => {
      const row = logits[i]!;
      const before = parent.logProbability - logSumExp(row);
      if (parent.ids.length > 0) this.finish(parent, before + row[AR_CONTROL.eos]!);
      if (parent.ids.length === maxTokens) return;
      for (let id = textStart; id < imageStart; id++) {
        insert(best, { parent, id, logProbability: before + row[id]! }, width, likelihood);
      }
    });
    this.beams = this.isOver(best) ? [] : best.map((candidate, i) => extended(candidate, end + i));
  }

  private finish({ ids }: Beam, logProbability: number): void {
    const { textStart } = arVocabulary(this.config);
    const text = Int32Array.from(ids, (id) => id - textStart);
    const found = { ids: text, logProbability, score: this.score(logProbability, ids.length) };
    insert(this.found, found, this.limits.beams, ({ score }) => score);
  }

  private score(logProbability: number, length: number): number {
    return logProbability / (length + 1) ** this.limits.lengthPenalty;
  }

  /** Whether nothing that is followed can still be better than what was found: it can only become less likely. */
  private isOver([first]: readonly Candidate[]): boolean {
    if (first === undefined) return true;
    const { beams, maxTokens } = this.limits;
    return this.found.length === beams && this.score(first.logProbability, maxTokens) <= this.found.at(-1)!.score;
  }
}

function extended({ parent, id, logProbability }: Candidate, place: number): Beam {
  return { ids: [...parent.ids, id], places: [...parent.places, place], logProbability };
}

/** Logits of the beams of each row after their last ids, one list for each row. */
async function stepBeams(
  stream: ArStream,
  rows: readonly RowSearch[],
  { width, promptEnd, vocabulary }: { readonly width: number; readonly promptEnd: number; readonly vocabulary: number },
  options: LongCallOptions,
): Promise<Float32Array[][]> {
  const ids = ndarray("i32", [rows.length, width]);
  const positions = ndarray("i32", ids.shape);
  rows.forEach(({ beams }, row) => {
    beams.forEach((beam, i) => {
      ids.data[row * width + i] = beam.ids.at(-1)!;
      positions.data[row * width + i] = promptEnd - stream.padding[row]! + beam.ids.length - 1;
    });
  });
  const entering = {
    ids,
    positions,
    seesNew: () => false,
    seesPlace: (row: number, i: number, place: number) =>
      place < promptEnd
        ? place >= stream.padding[row]!
        : rows[row]!.beams[i]?.places[Math.floor((place - promptEnd) / width)] === place,
  };
  const wanted = Array.from({ length: width }, (_, i) => i);
  const logits = await stream.cache.logits(entering, wanted, options);
  stream.cache.keep(width);
  return rows.map((_, row) =>
    wanted.map((i) => logits.subarray((row * width + i) * vocabulary).subarray(0, vocabulary)),
  );
}

function limitsOf({ beams = 4, maxTokens = 64, lengthPenalty = 1 }: BeamOptions, room: number): Limits {
  checkCount("beams", beams);
  checkCount("the most ids of a text,", maxTokens);
  if (lengthPenalty >= 0 && Number.isFinite(lengthPenalty)) {
    return { beams, maxTokens: Math.max(1, Math.min(maxTokens, room)), lengthPenalty };
  }
  throw new ToklipError("ARGUMENT_INVALID", `length penalty ${lengthPenalty}: expected 0 or more`);
}

/**
 * The best texts behind each prompt, best first: as many as there are beams, or fewer where there are not as many texts.
 * @throws ABORTED; ARGUMENT_INVALID; LOGITS_INVALID where the model gives no numbers; what `ArDecoder.start` throws
 */
export async function searchTexts(
  decoder: ArDecoder,
  prompts: readonly ArPrompt[],
  options: BeamOptions = {},
): Promise<FoundText[][]> {
  const { signal, onProgress } = options;
  const limits = limitsOf(options, decoder.roomAfter(prompts));
  const { beams: width, maxTokens } = limits;
  throwIfAborted(signal, "search");
  const stream = await decoder.start(prompts, { room: maxTokens, places: width * maxTokens, signal });
  try {
    const vocabulary = arVocabulary(decoder.config).size;
    const rows = prompts.map(() => new RowSearch(decoder.config, limits));
    const promptEnd = stream.cache.end;
    let logits = rows.map((_, row) => [stream.first.subarray(row * vocabulary, (row + 1) * vocabulary)]);
    for (let done = 0; ; ) {
      for (const [row, search] of rows.entries()) search.advance(logits[row]!, stream.cache.end);
      onProgress?.({ stage: "search", done: ++done, total: maxTokens + 1, unit: "steps" });
      if (rows.every(({ beams }) => beams.length === 0)) return rows.map(({ found }) => found);
      throwIfAborted(signal, "search");
      logits = await stepBeams(stream, rows, { width, promptEnd, vocabulary }, { signal });
    }
  } finally {
    await stream.dispose();
  }
}
