/**
 * Texts of many pictures by a unified transformer: written whole, written piece by piece, or chosen among labels by their
 * likelihood.
 */
import { mapPictures, type PictureResult, type PicturesOptions } from "./pictures.ts";
import type { DescribeOptions, LabelLikelihood, PlatformUnified, ScoreOptions } from "./unified.ts";

/** What of a unified transformer is needed to read pictures. */
export type PictureReader = Pick<PlatformUnified, "toklip" | "describe" | "streamText" | "scoreLabels">;

/** What of a request the pictures' own options do not say. */
type Asked<T> = Omit<T, keyof PicturesOptions | "onProgress">;

type Files = AsyncIterable<string> | Iterable<string>;

/** The text of one picture. */
export interface CaptionedImage {
  readonly text: string;
}

/** The text of one picture, as it is written. It must be read before the next picture is asked for. */
export interface StreamedCaption {
  readonly pieces: AsyncIterable<string>;
}

/** A label, the probability that it is the one of those given, and how likely it is to be written at all. */
export interface ScoredLabel extends LabelLikelihood {
  readonly score: number;
}

/** The labels of one picture, best first. */
export interface ScoredImage {
  readonly scores: readonly ScoredLabel[];
}

/**
 * Writes a text for each picture; a picture that cannot be read gives `{ file, error }`. Where ids are drawn, that of the
 * i-th readable picture is drawn by seed + i.
 * @throws as `PlatformUnified.describe`
 */
export function captionImages(
  model: PictureReader,
  files: Files,
  asked: Asked<DescribeOptions>,
  options: PicturesOptions = {},
): AsyncGenerator<PictureResult<CaptionedImage>, void, undefined> {
  let seed = asked.seed ?? 0;
  return mapPictures(
    model.toklip,
    files,
    async (pixels) => {
      const texts = await model.describe(pixels, { ...asked, seed, signal: options.signal });
      seed += texts.length;
      return texts.map((text) => ({ text }));
    },
    options,
  );
}

/** As `captionImages`, a picture after the other and each piece by piece. */
export function streamCaptions(
  model: PictureReader,
  files: Files,
  asked: Omit<Asked<DescribeOptions>, "beams" | "lengthPenalty">,
  options: PicturesOptions = {},
): AsyncGenerator<PictureResult<StreamedCaption>, void, undefined> {
  let seed = asked.seed ?? 0;
  return mapPictures(
    model.toklip,
    files,
    async (pixels) => [{ pieces: model.streamText(pixels, { ...asked, seed: seed++, signal: options.signal }) }],
    { ...options, batch: 1 },
  );
}

/** Scores every label for each picture. @throws as `PlatformUnified.scoreLabels` */
export function scoreImages(
  model: PictureReader,
  files: Files,
  asked: Asked<ScoreOptions>,
  options: PicturesOptions = {},
): AsyncGenerator<PictureResult<ScoredImage>, void, undefined> {
  return mapPictures(
    model.toklip,
    files,
    async (pixels) => {
      const all = await model.scoreLabels(pixels, { ...asked, signal: options.signal });
      return all.map((scores) => ({ scores: withShares(scores) }));
    },
    options,
  );
}

/** Probabilities among the labels: the softmax of what each has by itself. They come likeliest first. */
function withShares(labels: readonly LabelLikelihood[]): ScoredLabel[] {
  const largest = labels[0]!.logProbability;
  const weights = labels.map(({ logProbability }) => Math.exp(logProbability - largest));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return labels.map((label, i) => ({ ...label, score: weights[i]! / sum }));
}
