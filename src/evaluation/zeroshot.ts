/**
 * Zero-shot naming: a picture is given to the class whose prompts, averaged, lie nearest to it (CLIP, arXiv 2103.00020,
 * section 3.1.4; the reference's `zero_shot_classifier` and `accuracy`).
 *
 * What differs: classes that no picture shows are reported and take part in the choice, but no mean divides by them; top-5
 * among fewer than five classes is not given. Equal scores go to the class that comes first.
 *
 * Dim letters: L classes, N pictures, D width.
 */
import type { LongCallOptions, NDArray } from "../core/index.ts";
import { encodePromptGroups, fillTemplate } from "../pipelines/classify.ts";
import type { TokLIPModel } from "../pipelines/model.ts";
import { resolveTemplates } from "../text/index.ts";
import { arrayRows } from "./array-rows.ts";
import { type ClassOutcomes, highest, placeOf } from "./class-outcomes.ts";
import type { FeatureRows } from "./feature-rows.ts";
import type { LabelSet } from "./label-set.ts";
import { type InnerProducts, pairProducts } from "./pair-products.ts";

/** What cosines are multiplied by before the softmax, as when labels are chosen. */
const LOGIT_SCALE = 100;
/** Rows of scores that are in memory at one time hold about so many numbers. */
const SCORES_AT_ONCE = 2 ** 21;

/**
 * The directions of the classes: f32 (L, D), rows of length 1, each the mean over its names and the templates.
 * @throws ARGUMENT_INVALID for templates without `{}`, ABORTED
 */
export function encodeClasses(
  texts: Pick<TokLIPModel, "encodeText">,
  { classes }: LabelSet,
  { templates, ...options }: LongCallOptions & { readonly templates: readonly string[] },
): Promise<NDArray<"f32">> {
  resolveTemplates(templates);
  const prompts = classes.map(({ names }) =>
    names.flatMap((name) => templates.map((template) => fillTemplate(template, name))),
  );
  return encodePromptGroups(texts, prompts, options);
}

/** What became of the pictures, in their order. */
export interface ZeroshotOutcomes extends ClassOutcomes {
  /** The share of the softmax of 100 x cosine that the chosen class has. */
  readonly confidence: Float32Array;
}

/** How pictures are named. */
export interface ZeroshotOptions extends LongCallOptions {
  readonly products: InnerProducts;
  /** Names of the classes (L). */
  readonly classes: readonly string[];
  /** The number of a picture's class by its label; -1 for those that do not take part. */
  readonly classOf: (label: number) => number;
}

/**
 * Names every picture that takes part.
 * @param pictures image features (N, D) with their labels
 * @param directions f32 (L, D), see `encodeClasses`
 * @throws SHAPE_MISMATCH; DATA_INVALID for features that are no numbers; ABORTED
 */
export async function namePictures(
  pictures: FeatureRows,
  directions: NDArray<"f32">,
  { products, classes, classOf, signal, onProgress }: ZeroshotOptions,
): Promise<ZeroshotOutcomes> {
  const size = classes.length;
  const keepA = (label: number) => label >= 0 && classOf(label) >= 0;
  const blockRows = [Math.max(1, Math.min(1024, Math.floor(SCORES_AT_ONCE / size))), size] as const;
  const truth = new Int32Array(pictures.size);
  const chosen = new Int32Array(pictures.size);
  const place = new Int32Array(pictures.size);
  const confidence = new Float32Array(pictures.size);
  let count = 0;
  const pairs = { products, blockRows, keepA, signal, onProgress };
  for await (const { a, scores, stride } of pairProducts(pictures, arrayRows(directions), pairs)) {
    for (let row = 0; row < a.count; row++, count++) {
      const cosines = scores.subarray(row * stride, row * stride + size);
      truth[count] = classOf(a.labels[row]!);
      place[count] = placeOf(cosines, truth[count]!);
      chosen[count] = highest(cosines);
      confidence[count] = softmaxAt(cosines, chosen[count]!);
    }
  }
  return {
    classes,
    truth: truth.subarray(0, count),
    chosen: chosen.subarray(0, count),
    place: place.subarray(0, count),
    confidence: confidence.subarray(0, count),
  };
}

function softmaxAt(cosines: Float32Array, at: number): number {
  const own = cosines[at]!;
  return 1 / cosines.reduce((sum, cosine) => sum + Math.exp(LOGIT_SCALE * (cosine - own)), 0);
}
