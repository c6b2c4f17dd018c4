/**
 * The unified transformer as a writer of text: captions of pictures, answers to questions about them. Ids are drawn among
 * text ids and what ends a text.
 *
 * Dim letters: B texts, T ids of the text tokenizer, V vocabulary.
 */
import { type LongCallOptions, throwIfAborted } from "../core/index.ts";
import { AR_CONTROL, type ArConfig, arVocabulary } from "../models/index.ts";
import type { ArDecoder } from "./ar-decoder.ts";
import type { ArPrompt } from "./ar-prompt.ts";
import { checkGenerateOptions, type GenerateOptions, idChooser } from "./generate.ts";
import { checkCount } from "./input-checks.ts";

/** How texts are written. */
export interface WriteOptions extends LongCallOptions, Pick<GenerateOptions, "seed" | "temperature" | "topK" | "topP"> {
  /** Takes the likeliest id instead of drawing; true unless the temperature, top-k or top-p is given. */
  readonly greedy?: boolean | undefined;
  /** The most ids of a text, fewer where the context has no more room; 64. */
  readonly maxTokens?: number | undefined;
  /** Whether a text may end by beginning a picture, for sequences of both; false. */
  readonly mayOpenPicture?: boolean | undefined;
}

/** What a text ended by: `<eos>`, the `<image>` that begins a picture, or the most ids that it may have. */
export type TextEnd = "eos" | "image" | "length";

/** A text that has been written. */
export interface WrittenText {
  /** In the text tokenizer's own numbers. */
  readonly ids: Int32Array;
  readonly end: TextEnd;
}

/** One id more of each text. */
export interface WrittenStep {
  /** How many ids there are now, of texts that have not ended. */
  readonly count: number;
  /** In the text tokenizer's own numbers; -1 for texts that have ended. */
  readonly ids: Int32Array;
}

/** What may end a text, in the order in which their logits stand before those of text ids. */
const ENDS = [
  { end: "eos", id: AR_CONTROL.eos },
  { end: "image", id: AR_CONTROL.image },
] as const;

/** Of logits (B * V), those of what may end a text, then those of text ids. */
function textLogits(logits: Float32Array, config: ArConfig, ends: number): Float32Array {
  const { size, textStart, imageStart } = arVocabulary(config);
  const count = ends + imageStart - textStart;
  const out = new Float32Array((logits.length / size) * count);
  for (let row = 0; row * size < logits.length; row++) {
    const all = logits.subarray(row * size, (row + 1) * size);
    for (let i = 0; i < ends; i++) out[row * count + i] = all[ENDS[i]!.id]!;
    out.set(all.subarray(textStart, imageStart), row * count + ends);
  }
  return out;
}

/**
 * Writes a text behind each prompt, step by step. The iteration's return value are the whole texts. Ends early, and frees
 * what it holds, when it is left or aborted.
 * @throws ABORTED; ARGUMENT_INVALID; LOGITS_INVALID where the model gives no numbers; what `ArDecoder.start` throws
 */
export async function* writeTexts(
  decoder: ArDecoder,
  prompts: readonly ArPrompt[],
  options: WriteOptions = {},
): AsyncGenerator<WrittenStep, WrittenText[], undefined> {
  const { signal, onProgress, temperature, topK, topP, mayOpenPicture = false, maxTokens = 64 } = options;
  const { greedy = temperature === undefined && topK === undefined && topP === undefined } = options;
  checkGenerateOptions({ temperature, topK, topP, seed: options.seed });
  checkCount("the most ids of a text,", maxTokens);
  throwIfAborted(signal, "write");
  const ends = mayOpenPicture ? 2 : 1;
  const { textStart, imageStart } = arVocabulary(decoder.config);
  const choose = idChooser(ends + imageStart - textStart, { ...options, greedy });
  // The last id is drawn, and not read.
  const most = Math.max(1, Math.min(maxTokens, decoder.roomAfter(prompts) + 1));
  const stream = await decoder.start(prompts, { room: most - 1, signal });
  try {
    const texts = prompts.map(() => ({ ids: [] as number[], end: "length" as TextEnd, isOpen: true }));
    const chosen = new Int32Array(prompts.length);
    for (let step = 0, logits = stream.first; ; ) {
      choose(textLogits(logits, decoder.config, ends), step++, chosen);
      const ids = new Int32Array(texts.length).fill(-1);
      texts.forEach((text, row) => {
        if (!text.isOpen) return;
        const id = chosen[row]! - ends;
        if (id < 0) {
          text.isOpen = false;
          text.end = ENDS[chosen[row]!]!.end;
        } else {
          text.ids.push(id);
          ids[row] = id;
        }
      });
      onProgress?.({ stage: "write", done: step, total: most, unit: "steps" });
      yield { count: step, ids };
      throwIfAborted(signal, "write");
      if (step === most || !texts.some(({ isOpen }) => isOpen)) {
        return texts.map(({ ids: all, end }) => ({ ids: Int32Array.from(all), end }));
      }
      // A row that has ended goes on with padding, whose logits no one looks at.
      const read = ids.map((id) => (id < 0 ? AR_CONTROL.pad : textStart + id));
      logits = await stream.next(read, undefined, { signal });
    }
  } finally {
    await stream.dispose();
  }
}

/** As `writeTexts`, all at once. */
export async function writeWholeTexts(
  decoder: ArDecoder,
  prompts: readonly ArPrompt[],
  options: WriteOptions = {},
): Promise<WrittenText[]> {
  const steps = writeTexts(decoder, prompts, options);
  for (;;) {
    const { done, value } = await steps.next();
    if (done) return value;
  }
}
