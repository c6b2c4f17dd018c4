/**
 * What the unified transformer continues: texts and pictures in any order, as ids of its one vocabulary. The sequences of
 * its training (`train/ar-sequences.ts`) begin in the same ways.
 *
 * Dim letters: N ids of a picture.
 */
import { ToklipError } from "../core/index.ts";
import { AR_CONTROL, type ArConfig, arVocabulary } from "../models/index.ts";

/** A text in ids of its tokenizer, a picture as N ids of its VQ, or what stands for a text that is not told. */
export type ArPart =
  | { readonly text: ArrayLike<number> }
  | { readonly picture: ArrayLike<number> }
  | { readonly nothing: true };

/** The parts before what is to be written. */
export type ArPrompt = readonly ArPart[];

/** A prompt in the vocabulary of the transformer. */
export interface PromptIds {
  readonly ids: Int32Array;
  /** The place of each picture's first id, and its ids in the VQ's own numbers. */
  readonly pictures: readonly { readonly start: number; readonly ids: Int32Array }[];
}

/** The ids of a text in the vocabulary of the transformer. @throws IDS_OUT_OF_RANGE */
export function textTokens(text: ArrayLike<number>, config: ArConfig): number[] {
  return shifted("text ids", text, config.textVocabSize, arVocabulary(config).textStart);
}

/** @throws IDS_OUT_OF_RANGE */
function shifted(what: string, ids: ArrayLike<number>, size: number, start: number): number[] {
  return Array.from(ids, (id) => {
    if (Number.isInteger(id) && id >= 0 && id < size) return start + id;
    throw new ToklipError("IDS_OUT_OF_RANGE", `${what}: ${id} is not in [0, ${size})`);
  });
}

/**
 * Writes a prompt as `<bos>` and its parts.
 * @param opened ends it in `<image>`: what follows are the ids of a picture
 * @throws IDS_OUT_OF_RANGE, IDS_GRID_MISMATCH for a part that is none of this model's
 */
export function promptIds(prompt: ArPrompt, config: ArConfig, opened = false): PromptIds {
  const { codebookSize, imageTokens } = config;
  const { imageStart } = arVocabulary(config);
  const ids: number[] = [AR_CONTROL.bos];
  const pictures: { start: number; ids: Int32Array }[] = [];
  for (const part of prompt) {
    if ("text" in part) {
      ids.push(...textTokens(part.text, config));
    } else if ("picture" in part) {
      const { picture } = part;
      if (picture.length !== imageTokens) {
        throw new ToklipError("IDS_GRID_MISMATCH", `picture: expected ${imageTokens} ids, got ${picture.length}`);
      }
      const shown = shifted("ids", picture, codebookSize, imageStart);
      pictures.push({ start: ids.length + 1, ids: Int32Array.from(picture) });
      ids.push(AR_CONTROL.image, ...shown, AR_CONTROL.imageEnd);
    } else {
      ids.push(AR_CONTROL.nothing);
    }
  }
  if (opened) ids.push(AR_CONTROL.image);
  return { ids: Int32Array.from(ids), pictures };
}

/** The prompt of a picture without its condition, the last text: the other half of guidance. */
export function withoutCondition(prompt: ArPrompt): ArPrompt {
  const last = prompt.findLastIndex((part) => "text" in part);
  return last < 0 ? prompt : prompt.with(last, { nothing: true });
}
