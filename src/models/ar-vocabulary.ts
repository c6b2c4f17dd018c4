/** The one vocabulary of the unified transformer: control ids, then the ids of the text tokenizer, then those of the VQ. */
import type { ArConfig } from "./ar-config.ts";

/** The control ids. `nothing` stands for a condition that was dropped. */
export const AR_CONTROL = { pad: 0, bos: 1, eos: 2, image: 3, imageEnd: 4, nothing: 5 } as const;

/** The number of control ids; 6 and 7 are kept free. */
export const AR_CONTROL_COUNT = 8;

/** Where the ids of each kind begin. */
export interface ArVocabulary {
  /** The id of the text tokenizer's id 0. */
  readonly textStart: number;
  /** The id of the VQ's id 0. Ids from here on are of pictures. */
  readonly imageStart: number;
  /** All ids. */
  readonly size: number;
}

/** The vocabulary of a configuration. */
export function arVocabulary({ textVocabSize, codebookSize }: Pick<ArConfig, "textVocabSize" | "codebookSize">) {
  const imageStart = AR_CONTROL_COUNT + textVocabSize;
  const vocabulary: ArVocabulary = { textStart: AR_CONTROL_COUNT, imageStart, size: imageStart + codebookSize };
  return vocabulary;
}
