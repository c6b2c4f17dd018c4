/**
 * From a picture's ids and its captions to sequences for the unified transformer: text to picture
 * (`<bos> text <image> ids </image> <eos>`), of which the picture is learnt, or picture to text
 * (`<bos> <image> ids </image> text <eos>`), of which the text is. What is drawn for a sample, its direction, caption,
 * variant, and whether its text is dropped, depends on the seed, the epoch and its key alone.
 *
 * Dim letters: N ids of a picture, V variants, T ids of a sequence.
 */
import { Random, ToklipError } from "../core/index.ts";
import { captionOf } from "../data/captions.ts";
import type { BadSample, IdsSample } from "../data/dataset.ts";
import { NO_TARGET, packedLength, type TokenSequence } from "../data/packing.ts";
import { type StreamOwner, sampleSeed } from "../data/sample-seed.ts";
import { AR_CONTROL, type ArConfig, arVocabulary } from "../models/index.ts";
import type { TextTokenizer } from "../text/index.ts";

/**
 * The losses, by the number that `TokenSequence.kinds` has for each: a picture from its text, a text from its picture, and a
 * picture that comes first, which is learnt only where that is asked for.
 */
export const AR_LOSSES = ["text_to_image", "image_to_text", "image_prior"] as const;

/** The name of a loss. */
export type ArLoss = (typeof AR_LOSSES)[number];

/** Which way a sequence goes. */
export type ArDirection = "text_to_image" | "image_to_text";

/** A sequence, and what it was made of. */
export interface ArSequence extends TokenSequence {
  /** The sample's key. */
  readonly key: string;
  readonly direction: ArDirection;
  /** The chosen caption, also where the sequence has it dropped. */
  readonly caption: string;
  /** i32 (N), in the VQ's own numbers. */
  readonly picture: Int32Array;
  /** The place of the picture's first id in the sequence. */
  readonly pictureStart: number;
}

/** How sequences are made. */
export interface ArSequenceOptions {
  readonly model: ArConfig;
  /** Makes text ids of a text, without anything around them: a `TextTokenizer`. */
  readonly tokenizer: Pick<TextTokenizer, "idsOf">;
  readonly seed: number;
  /** The odds of each direction, not both 0. */
  readonly shares: Readonly<Record<ArDirection, number>>;
  /** Default `first`. */
  readonly captions?: "first" | "random" | undefined;
  /** Sentences with `{}` for the caption. */
  readonly templates?: readonly string[] | undefined;
  /** Learn pictures that come first, too. Default false. */
  readonly imagePrior?: boolean | undefined;
}

/**
 * The sequence that a sample is in an epoch of training; a bad sample where its text is empty once it is cleaned
 * (`"no caption"`) or the context has no room for it (`"caption too long"`).
 * @throws IDS_GRID_MISMATCH for ids that are no whole number of pictures, IDS_OUT_OF_RANGE for one beyond the codebook;
 * TOKENIZER_INVALID
 */
export function drawnSequence(sample: IdsSample, epoch: number, options: ArSequenceOptions): ArSequence | BadSample {
  const { model, seed, shares } = options;
  const owner: StreamOwner = { seed, epoch, key: sample.key };
  const random = new Random(sampleSeed(owner, "sequence"));
  const odds = shares.text_to_image / (shares.text_to_image + shares.image_to_text);
  const direction = random.uniform() < odds ? "text_to_image" : "image_to_text";
  const picture = variantOf(sample, model, (count) => random.integer(count));
  const dropped = random.uniform() < model.conditionDropout;
  return sequenceOf({ sample, direction, picture, dropped, caption: captionOf(sample, owner, options) }, options);
}

/**
 * The sequences that a held-out sample is: one for each direction that is trained, of its first caption and first variant,
 * with nothing dropped. A bad sample as for `drawnSequence`.
 * @throws as `drawnSequence`
 */
export function heldOutSequences(sample: IdsSample, options: ArSequenceOptions): readonly ArSequence[] | BadSample {
  const { model, shares, templates, seed } = options;
  const picture = variantOf(sample, model, () => 0);
  const caption = captionOf(sample, { seed, epoch: 0, key: sample.key }, { captions: "first", templates });
  const directions = (["text_to_image", "image_to_text"] as const).filter((direction) => shares[direction] > 0);
  const made = directions.map((direction) =>
    sequenceOf({ sample, direction, picture, caption, dropped: false }, options),
  );
  return made.find(isBad) ?? (made as ArSequence[]);
}

function variantOf({ ids }: IdsSample, model: ArConfig, choose: (count: number) => number): Int32Array {
  const { imageTokens, codebookSize } = model;
  if (ids.length === 0 || ids.length % imageTokens !== 0) {
    throw new ToklipError("IDS_GRID_MISMATCH", `${ids.length} ids are no whole number of pictures of ${imageTokens}`);
  }
  const outside = ids.find((id) => id < 0 || id >= codebookSize);
  if (outside !== undefined) {
    throw new ToklipError("IDS_OUT_OF_RANGE", `id ${outside} is outside the codebook of ${codebookSize}`);
  }
  const start = choose(ids.length / imageTokens) * imageTokens;
  return ids.slice(start, start + imageTokens);
}

interface Parts {
  readonly sample: IdsSample;
  readonly direction: ArDirection;
  readonly picture: Int32Array;
  readonly caption: string;
  readonly dropped: boolean;
}

function sequenceOf(parts: Parts, options: ArSequenceOptions): ArSequence | BadSample {
  const { sample, direction, picture, caption, dropped } = parts;
  const { model, tokenizer, imagePrior = false } = options;
  const { key } = sample;
  const { textStart, imageStart } = arVocabulary(model);
  const { bos, eos, image, imageEnd, nothing } = AR_CONTROL;
  const text = tokenizer.idsOf(caption).map((id) => textStart + id);
  if (text.length === 0)
    return { key, reason: "no caption", message: `${key}: its caption is empty once it is cleaned` };
  const written = [...picture.map((id) => imageStart + id), imageEnd];
  const spans: readonly Span[] =
    direction === "text_to_image"
      ? [[[bos, ...(dropped ? [nothing] : text), image]], [written, "text_to_image"], [[eos]]]
      : [[[bos, image]], [written, imagePrior ? "image_prior" : undefined], [[...text, eos], "image_to_text"]];
  const ids = Int32Array.from(spans.flatMap(([span]) => span));
  const kinds = Int32Array.from(spans.flatMap(([span, loss]) => span.map(() => kindOf(loss))));
  const made = { ids, kinds, key, direction, caption, picture, pictureStart: ids.indexOf(image) + 1 };
  const excess = packedLength(made) - model.contextLength;
  if (excess <= 0) return made;
  const message = `${key}: its caption has ${text.length} ids, ${excess} more than the context has room for`;
  return { key, reason: "caption too long", message };
}

/** Ids that follow one another, and the loss that they are predicted for. */
type Span = readonly [ids: readonly number[], loss?: ArLoss | undefined];

/** Tells a sequence from a bad sample. */
function isBad(made: ArSequence | BadSample): made is BadSample {
  return "reason" in made;
}

function kindOf(loss: ArLoss | undefined): number {
  return loss === undefined ? NO_TARGET : AR_LOSSES.indexOf(loss);
}
