/**
 * How likely given texts are behind a prompt: what labels of a picture are chosen by. All texts stand behind one another in
 * one step over the cache of the prompt, each of which sees the prompt and itself.
 *
 * Dim letters: B prompts, S ids of some texts together, V vocabulary.
 */
import { type LongCallOptions, ndarray, ToklipError, throwIfAborted } from "../core/index.ts";
import { AR_CONTROL, arVocabulary } from "../models/index.ts";
import type { ArDecoder } from "./ar-decoder.ts";
import { type ArPrompt, textTokens } from "./ar-prompt.ts";
import type { ArStream } from "./ar-stream.ts";
import { logSumExp } from "./sampling.ts";

/** How likely a text is. */
export interface TextLikelihood {
  /** The logarithm of its probability, that of its end included. */
  readonly logProbability: number;
  /** The mean over its ids and its end. */
  readonly perToken: number;
}

/** Positions of one step: their logits are held at once. */
const POSITIONS_OF_STEP = 512;

/** Some texts behind one another: of each position the text it is of, and its place in that text. */
interface Run {
  readonly texts: readonly number[];
  readonly ids: readonly number[];
  readonly targets: readonly number[];
  readonly textOf: readonly number[];
  readonly placeOf: readonly number[];
}

/** Texts in runs of at most so many ids, but for a text that is longer. */
function runsOf(texts: readonly (readonly number[])[], size: number): Run[] {
  const groups: number[][] = [];
  let length = Number.POSITIVE_INFINITY;
  for (const [i, ids] of texts.entries()) {
    length += ids.length;
    if (length > size) {
      groups.push([]);
      length = ids.length;
    }
    groups.at(-1)!.push(i);
  }
  return groups.map((group) => ({
    texts: group,
    ids: group.flatMap((i) => texts[i]!),
    // The first id of a text is what follows the prompt.
    targets: group.flatMap((i) => [...texts[i]!.slice(1), AR_CONTROL.eos]),
    textOf: group.flatMap((i) => texts[i]!.map(() => i)),
    placeOf: group.flatMap((i) => texts[i]!.map((_, place) => place)),
  }));
}

/** Adds the scores of a run to the sums of each prompt's texts, (B, texts). */
async function scoreRun(
  stream: ArStream,
  { ids, targets, textOf, placeOf }: Run,
  sums: readonly Float64Array[],
  options: LongCallOptions,
): Promise<void> {
  const shape = [sums.length, ids.length];
  const eachRow = (of: (i: number, row: number) => number) =>
    ndarray("i32", shape, Int32Array.from(sums.flatMap((_, row) => ids.map((__, i) => of(i, row)))));
  const entering = {
    ids: eachRow((i) => ids[i]!),
    positions: eachRow((i, row) => stream.position(row) + placeOf[i]!),
    seesNew: (_: number, i: number, j: number) => textOf[i] === textOf[j] && j < i,
    seesPlace: (row: number, _: number, place: number) => place >= stream.padding[row]!,
  };
  // Nothing is kept: the next run is written over this one.
  const scores = await stream.cache.scores(
    entering,
    eachRow((i) => targets[i]!),
    options,
  );
  sums.forEach((sum, row) => {
    for (const [i, text] of textOf.entries()) sum[text]! += scores[row * ids.length + i]!;
  });
}

/**
 * How likely each of some texts, ids of the text tokenizer, is behind each prompt: a list for each prompt, in the order of
 * the texts.
 * @throws ABORTED; ARGUMENT_INVALID for no text, or an empty one; IDS_OUT_OF_RANGE; LOGITS_INVALID where the model gives no
 * numbers; what `ArDecoder.start` throws
 */
export async function scoreTexts(
  decoder: ArDecoder,
  prompts: readonly ArPrompt[],
  texts: readonly ArrayLike<number>[],
  { signal, onProgress }: LongCallOptions = {},
): Promise<TextLikelihood[][]> {
  const tokens = texts.map((text) => textTokens(text, decoder.config));
  if (tokens.length === 0 || tokens.some(({ length }) => length === 0)) {
    throw new ToklipError("ARGUMENT_INVALID", "score: expected texts of at least one id");
  }
  throwIfAborted(signal, "score");
  const runs = runsOf(tokens, Math.ceil(POSITIONS_OF_STEP / Math.max(1, prompts.length)));
  const room = Math.max(...tokens.map(({ length }) => length));
  const places = Math.max(...runs.map(({ ids }) => ids.length));
  const stream = await decoder.start(prompts, { room, places, signal });
  try {
    const { size } = arVocabulary(decoder.config);
    const sums = prompts.map((_, row) => {
      const first = stream.first.subarray(row * size, (row + 1) * size);
      const total = logSumExp(first);
      return Float64Array.from(tokens, ([id]) => first[id!]! - total);
    });
    let done = 0;
    for (const run of runs) {
      throwIfAborted(signal, "score");
      await scoreRun(stream, run, sums, { signal });
      done += run.texts.length;
      onProgress?.({ stage: "score", done, total: tokens.length, unit: "texts" });
    }
    if (!sums.every((sum) => sum.every(Number.isFinite))) {
      throw new ToklipError("LOGITS_INVALID", "score: a probability is not a number");
    }
    return sums.map((sum) =>
      Array.from(sum, (logProbability, i) => ({
        logProbability,
        perToken: logProbability / (tokens[i]!.length + 1),
      })),
    );
  } finally {
    await stream.dispose();
  }
}
