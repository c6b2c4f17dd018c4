/**
 * Prompt templates for zero-shot labels: a label is encoded in several sentences and the features are averaged
 * (CLIP, arXiv 2103.00020, section 3.1.4).
 */
import { ToklipError } from "../core/index.ts";

/** The 80 sentences that CLIP's authors published for ImageNet (openai/CLIP, MIT licence), `{}` standing for the label. */
const IMAGENET_80 = [
  "a bad photo of a {}.",
  "a photo of many {}.",
  "a sculpture of a {}.",
  "a photo of the hard to see {}.",
  "a low resolution photo of the {}.",
  "a rendering of a {}.",
  "graffiti of a {}.",
  "a bad photo of the {}.",
  "a cropped photo of the {}.",
  "a tattoo of a {}.",
  "the embroidered {}.",
  "a photo of a hard to see {}.",
  "a bright photo of a {}.",
  "a photo of a clean {}.",
  "a photo of a dirty {}.",
  "a dark photo of the {}.",
  "a drawing of a {}.",
  "a photo of my {}.",
  "the plastic {}.",
  "a photo of the cool {}.",
  "a close-up photo of a {}.",
  "a black and white photo of the {}.",
  "a painting of the {}.",
  "a painting of a {}.",
  "a pixelated photo of the {}.",
  "a sculpture of the {}.",
  "a bright photo of the {}.",
  "a cropped photo of a {}.",
  "a plastic {}.",
  "a photo of the dirty {}.",
  "a jpeg corrupted photo of a {}.",
  "a blurry photo of the {}.",
  "a photo of the {}.",
  "a good photo of the {}.",
  "a rendering of the {}.",
  "a {} in a video game.",
  "a photo of one {}.",
  "a doodle of a {}.",
  "a close-up photo of the {}.",
  "a photo of a {}.",
  "the origami {}.",
  "the {} in a video game.",
  "a sketch of a {}.",
  "a doodle of the {}.",
  "a origami {}.",
  "a low resolution photo of a {}.",
  "the toy {}.",
  "a rendition of the {}.",
  "a photo of the clean {}.",
  "a photo of a large {}.",
  "a rendition of a {}.",
  "a photo of a nice {}.",
  "a photo of a weird {}.",
  "a blurry photo of a {}.",
  "a cartoon {}.",
  "art of a {}.",
  "a sketch of the {}.",
  "a embroidered {}.",
  "a pixelated photo of a {}.",
  "itap of the {}.",
  "a jpeg corrupted photo of the {}.",
  "a good photo of a {}.",
  "a plushie {}.",
  "a photo of the nice {}.",
  "a photo of the small {}.",
  "a photo of the weird {}.",
  "the cartoon {}.",
  "art of the {}.",
  "a drawing of the {}.",
  "a photo of the large {}.",
  "a black and white photo of a {}.",
  "the plushie {}.",
  "a dark photo of a {}.",
  "itap of a {}.",
  "graffiti of the {}.",
  "a toy {}.",
  "itap of my {}.",
  "a photo of a cool {}.",
  "a photo of a small {}.",
  "a tattoo of the {}.",
];

/** The sets of templates by name. */
export const TEMPLATE_SETS = {
  /** The label alone. */
  none: ["{}"],
  /** One sentence, the one SigLIP's authors recommend. */
  simple: ["This is a photo of {}."],
  "imagenet-80": IMAGENET_80,
} as const satisfies Record<string, readonly string[]>;

/** The name of a built-in set of templates. */
export type TemplateSet = keyof typeof TEMPLATE_SETS;

/**
 * The templates of a named set, or given ones, checked.
 * @throws ARGUMENT_INVALID for an unknown set, no templates, or one without `{}`
 */
export function resolveTemplates(templates: string | readonly string[]): readonly string[] {
  if (typeof templates === "string") {
    if (Object.hasOwn(TEMPLATE_SETS, templates)) return TEMPLATE_SETS[templates as TemplateSet];
    const known = Object.keys(TEMPLATE_SETS).join(", ");
    throw new ToklipError(
      "ARGUMENT_INVALID",
      `templates "${templates}": expected a set (${known}) or a list of templates`,
    );
  }
  if (templates.length === 0) throw new ToklipError("ARGUMENT_INVALID", "templates: none given");
  const bare = templates.find((template) => !template.includes("{}"));
  if (bare !== undefined) throw new ToklipError("ARGUMENT_INVALID", `template "${bare}" has no {} for the label`);
  return templates;
}
