/**
 * Zero-shot classification of many pictures: each label becomes one text direction (CLIP, https://arxiv.org/abs/2103.00020,
 * section 3.1.4: the mean over prompt templates of normalised text features, normalised again), computed once for the
 * whole run; a picture's scores are the softmax of 100 x cosine over the labels.
 */
import {
  type LongCallOptions,
  type NDArray,
  ndarray,
  normalizeRows,
  rows,
  ToklipError,
  throwIfAborted,
} from "../core/index.ts";
import { resolveTemplates } from "../text/templates.ts";
import type { ImageEncoder } from "./embed.ts";
import type { LabelScore, TokLIPModel } from "./model.ts";
import { mapPictures, type PictureResult, type PicturesOptions } from "./pictures.ts";

/** Texts encoded in one run of the text tower. */
const TEXT_BATCH = 64;

/** What cosines are multiplied by before the softmax: the temperature CLIP-like models train towards. */
const LOGIT_SCALE = 100;

/** The labels as unit vectors. */
export interface LabelFeatures {
  readonly labels: readonly string[];
  /** f32 (L, D), rows of length 1. */
  readonly features: NDArray<"f32">;
}

/** The scores of one picture, best first. */
export interface ClassifiedImage {
  readonly scores: readonly LabelScore[];
}

/** Puts a label in a prompt template's `{}`. A template is not a format string: nothing else in it is special. */
export function fillTemplate(template: string, label: string): string {
  return template.split("{}").join(label);
}

/**
 * Encodes labels through prompt templates.
 * @throws ARGUMENT_INVALID when there is no label or no template, or a template lacks `{}`; ABORTED
 */
export async function encodeLabels(
  model: Pick<TokLIPModel, "encodeText">,
  labels: readonly string[],
  { templates, signal, onProgress }: LongCallOptions & { templates: readonly string[] },
): Promise<LabelFeatures> {
  resolveTemplates(templates);
  const groups = labels.map((label) => templates.map((template) => fillTemplate(template, label)));
  return { labels, features: await encodePromptGroups(model, groups, { signal, onProgress }) };
}

/**
 * Encodes groups of prompts, each to the direction of their mean: f32 (L, D), rows of length 1.
 * @throws ARGUMENT_INVALID when there is no group, or one is empty; ABORTED
 */
export async function encodePromptGroups(
  model: Pick<TokLIPModel, "encodeText">,
  groups: readonly (readonly string[])[],
  { signal, onProgress }: LongCallOptions = {},
): Promise<NDArray<"f32">> {
  if (groups.length === 0) throw new ToklipError("ARGUMENT_INVALID", "classify: no labels given");
  if (groups.some((group) => group.length === 0))
    throw new ToklipError("ARGUMENT_INVALID", "classify: no prompts given");
  const prompts = groups.flatMap((group, row) => group.map((prompt) => ({ prompt, row })));
  const total = prompts.length;
  let sums: NDArray<"f32"> | undefined;
  for (let begin = 0; begin < total; begin += TEXT_BATCH) {
    throwIfAborted(signal, "classify");
    onProgress?.({ stage: "labels", done: begin, total, unit: "texts" });
    const part = prompts.slice(begin, begin + TEXT_BATCH);
    const texts = part.map(({ prompt }) => prompt);
    const encoded = normalizeRows(await model.encodeText(texts, { signal }));
    sums ??= ndarray("f32", [groups.length, encoded.shape[1]!]);
    for (const [i, { row }] of part.entries()) addRow(sums, row, rows(encoded, i, i + 1).data);
  }
  onProgress?.({ stage: "labels", done: total, total, unit: "texts" });
  return normalizeRows(sums!);
}

function addRow(sums: NDArray<"f32">, row: number, values: Float32Array): void {
  const sum = rows(sums, row, row + 1).data;
  for (let d = 0; d < sum.length; d++) sum[d] = sum[d]! + values[d]!;
}

/**
 * Scores of every label for each of any number of pictures. A picture that cannot be read gives `{ file, error }`.
 * @throws ABORTED
 */
export function classifyImages(
  model: ImageEncoder,
  images: AsyncIterable<string> | Iterable<string>,
  labels: LabelFeatures,
  options: PicturesOptions = {},
): AsyncGenerator<PictureResult<ClassifiedImage>, void, undefined> {
  const run = async (pixels: NDArray<"f32">): Promise<ClassifiedImage[]> => {
    const { imageFeatures } = await model.encodePixels(pixels, { signal: options.signal });
    return scoreLabels(imageFeatures, labels).map((scores) => ({ scores }));
  };
  return mapPictures(model, images, run, options);
}

/** Softmax over the labels of 100 x cosine, best first, for each row of image features f32 (B, D). */
export function scoreLabels(imageFeatures: NDArray<"f32">, { labels, features }: LabelFeatures): LabelScore[][] {
  const [count, width] = imageFeatures.shape as [number, number];
  const images = normalizeRows(imageFeatures).data;
  return Array.from({ length: count }, (_, b) => {
    const logits = labels.map((_label, l) => {
      let dot = 0;
      for (let d = 0; d < width; d++) dot += images[b * width + d]! * features.data[l * width + d]!;
      return LOGIT_SCALE * dot;
    });
    const largest = logits.reduce((max, logit) => Math.max(max, logit), Number.NEGATIVE_INFINITY);
    const weights = logits.map((logit) => Math.exp(logit - largest));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return labels
      .map((label, l) => ({ label, score: weights[l]! / sum }))
      .sort((left, right) => right.score - left.score);
  });
}
