/**
 * What every model that generates pictures is asked for, and what it gives: the same words whatever stands before the ids,
 * a class, the features of a caption or a text.
 *
 * Dim letters: h w grid, T text length, W width of caption features.
 */
import type { LongCallOptions, NDArray } from "../core/index.ts";
import type { Image } from "../image/image.ts";
import type { CaptionCondition, ClassCondition } from "../models/index.ts";
import type { SamplingOptions } from "./sampling.ts";

/** A model that continues a text. */
export interface TextCondition {
  readonly kind: "text";
}

/** What pictures are generated, and how. */
export interface PictureRequest extends SamplingOptions, LongCallOptions {
  /** The classes, for models that continue a class: numbers from 0. */
  readonly classes?: readonly number[] | undefined;
  /** The captions, for models that continue features of a caption: f32 (T, W) each, of any length. */
  readonly captions?: readonly NDArray<"f32">[] | undefined;
  /** The texts, for models that read text. */
  readonly texts?: readonly string[] | undefined;
  /** Pictures of each class, caption or text, one after the other; 1. */
  readonly count?: number | undefined;
  /** Picture i of all draws by seed + i, so that any can be made again alone; 0. */
  readonly seed?: number | undefined;
  /** Takes the likeliest id instead of drawing; false. */
  readonly greedy?: boolean | undefined;
  /** Classifier-free guidance: s in l_u + s (l_c - l_u); up to 1 there is none. Default as the model's authors have it. */
  readonly guidanceScale?: number | undefined;
  /** The last step after the first id that is guided; -1, the default, guides all. */
  readonly guidanceInterval?: number | undefined;
  /** Pictures that are generated side by side, 8: more are faster each, and take more memory. */
  readonly batch?: number | undefined;
  /** Whether ids become pictures, where the model has what decodes them; true. */
  readonly decode?: boolean | undefined;
  /** Decodes what there is after each so many ids. Default: nothing before the end. */
  readonly previewEvery?: number | undefined;
  /** Is told, in a sentence, where a request cannot be fulfilled as it stands. */
  readonly warn?: ((message: string) => void) | undefined;
}

/** A picture that is finished. */
export interface GeneratedPicture {
  /** Its place among all pictures of the request. */
  readonly index: number;
  /** Which of the classes, captions or texts it is of. */
  readonly condition: number;
  /** What it was drawn by. */
  readonly seed: number;
  /** i32 (h, w). */
  readonly ids: NDArray<"i32">;
  /** RGB; absent where none was asked for, or the model was loaded without a VQ. */
  readonly image?: Image;
}

/** What is told while pictures are generated: a batch after the other, `ids` for each step, `pictures` at its end. */
export type GenerationEvent =
  | {
      readonly type: "ids";
      /** The place of the batch's first picture. */
      readonly first: number;
      /** How many ids each picture of the batch has now. */
      readonly count: number;
      /** The ids of this step, one for each picture of the batch. */
      readonly ids: Int32Array;
      /** What there is of each picture, RGB, after the steps that have a preview: below the last id it repeats its code. */
      readonly previews?: readonly Image[];
    }
  | { readonly type: "pictures"; readonly pictures: readonly GeneratedPicture[] };

/** A loaded model that generates pictures. */
export interface PictureGenerator {
  readonly name: string;
  /** What it continues. */
  readonly condition: ClassCondition | CaptionCondition | TextCondition;
  /** The side of the grid of ids. */
  readonly side: number;
  /**
   * Generates pictures, and tells of each step. Leaving the iteration, or `signal`, ends it and frees what it holds.
   * @throws ARGUMENT_INVALID, SHAPE_MISMATCH before anything is computed; LOGITS_INVALID where the model gives no numbers;
   * ABORTED, DISPOSED, OUT_OF_MEMORY
   */
  stream(request: PictureRequest): AsyncGenerator<GenerationEvent, void, undefined>;
  /** Generates pictures, all at once. @throws as `stream` */
  generate(request: PictureRequest): Promise<GeneratedPicture[]>;
  /** Lets the run under way end, then frees everything. */
  dispose(): Promise<void>;
}

/** The finished pictures of a stream, once it ends. */
export async function picturesOf(events: AsyncIterable<GenerationEvent>): Promise<GeneratedPicture[]> {
  const pictures: GeneratedPicture[] = [];
  for await (const event of events) if (event.type === "pictures") pictures.push(...event.pictures);
  return pictures;
}
