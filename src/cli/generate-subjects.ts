/** What `generate` is asked for, held against what the model continues: texts, classes, or captions and how they become features. */
import { ToklipError } from "../core/index.ts";
import { readCaptionFeatures } from "../node/caption-features.ts";
import type { PictureGenerator, PictureRequest } from "../pipelines/picture-generator.ts";
import type { CliContext } from "./context.ts";
import type { Progress } from "./progress.ts";

/** What says what the pictures are of. */
export interface SubjectFlags {
  readonly class?: readonly number[];
  readonly features?: readonly string[];
  readonly textEncoder?: string;
  readonly tokenizer?: string;
  /** What goes with one kind of model alone. */
  readonly vq?: string;
  readonly grid?: number;
  readonly toklip?: string;
  readonly out?: string;
}

/** One text, class or caption. */
export interface Subject {
  /** For people: `class 207`. */
  readonly title: string;
  /** For file names: `class-207`. */
  readonly slug: string;
  /** For `--json`. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** All that pictures are asked of. */
export interface Subjects {
  readonly list: readonly Subject[];
  /** What the model is asked for them; this is where texts are encoded. */
  request(): Promise<Pick<PictureRequest, "classes" | "captions" | "texts">>;
}

/** What subjects are found with. */
export interface SubjectParts {
  readonly context: CliContext;
  readonly model: PictureGenerator;
  readonly prompts: readonly string[];
  readonly flags: SubjectFlags & { readonly device: "cpu" | "cuda" | "webgpu"; readonly threads?: number };
  readonly progress: Progress;
}

/**
 * Finds what the pictures are to be of.
 * @throws USAGE where it is not what the model continues; what `readCaptionFeatures` throws
 */
export async function findSubjects(parts: SubjectParts): Promise<Subjects> {
  return FINDERS[parts.model.condition.kind](parts);
}

/** One row a kind of condition. */
const FINDERS: Readonly<
  Record<PictureGenerator["condition"]["kind"], (parts: SubjectParts) => Subjects | Promise<Subjects>>
> = { class: classSubjects, caption: captionSubjects, text: textSubjects };

function usage(message: string): never {
  throw new ToklipError("USAGE", message);
}

function classSubjects({ model: { name, condition }, prompts, flags }: SubjectParts): Subjects {
  if (condition.kind !== "class") return usage(`${name} continues no classes`);
  const advice = `name classes by number, as --class 207 (0 to ${condition.classes - 1})`;
  if (prompts.length > 0) usage(`${name} continues classes and reads no text such as "${prompts[0]}": ${advice}`);
  if (flags.features || flags.textEncoder) usage(`${name} continues classes, not captions: ${advice}`);
  const { class: classes } = flags;
  if (classes === undefined) return usage(`${name} continues classes: ${advice}`);
  checkGptFlags(name, flags);
  const list = classes.map((label) => ({
    title: `class ${label}`,
    slug: `class-${label}`,
    fields: { class: label },
  }));
  return { list, request: async () => ({ classes }) };
}

function textSubjects({ model: { name }, prompts, flags }: SubjectParts): Subjects {
  const advice = 'say what the pictures show, as "a red guitar"';
  if (flags.class) usage(`${name} reads text and knows no classes by number: ${advice}`);
  if (flags.features || flags.textEncoder) usage(`${name} reads text itself, not features of it: ${advice}`);
  if (flags.vq !== undefined)
    usage(`${name} is decoded by its own TokLIP: leave out --vq, or name another by --toklip`);
  if (flags.grid !== undefined) usage(`${name} says itself how many ids a picture has: leave out --grid`);
  if (prompts.length === 0) usage(`${name} reads text: ${advice}`);
  const list = prompts.map((title) => ({ title, slug: slugOf(title), fields: { text: title } }));
  return { list, request: async () => ({ texts: prompts }) };
}

/** @throws USAGE for flags that do not go with a GPT of LlamaGen */
function checkGptFlags(name: string, { out, vq, toklip }: SubjectFlags): void {
  if (toklip !== undefined) usage(`${name} is decoded by the VQ that --vq names: leave out --toklip`);
  if (out !== undefined && vq === undefined) usage("--out needs --vq, the VQ that decodes ids to pictures");
}

async function captionSubjects({ context, model, prompts, flags, progress }: SubjectParts): Promise<Subjects> {
  const { name, condition } = model;
  if (condition.kind !== "caption") return usage(`${name} continues no captions`);
  const { features: files = [], textEncoder: encoder, tokenizer, device, threads } = flags;
  const advice = "give their features (--features), or a prompt with --text-encoder and --tokenizer";
  if (flags.class) usage(`${name} continues captions, not classes: ${advice}`);
  if (prompts.length + files.length === 0) usage(`${name} continues captions: ${advice}`);
  checkGptFlags(name, flags);
  const named = (await Promise.all(files.map(readCaptionFeatures))).flat();
  const list = [...named.map((caption) => caption.name), ...prompts].map((title) => ({
    title,
    slug: slugOf(title),
    fields: { caption: title },
  }));
  const given = named.map((caption) => caption.features);
  if (prompts.length === 0) return { list, request: async () => ({ captions: given }) };
  if (encoder === undefined || tokenizer === undefined) return usage(`${name} reads features of captions: ${advice}`);
  const options = {
    ...{ encoder, tokenizer, longest: condition.tokens, device, signal: context.signal, onProgress: progress.report },
    ...(threads !== undefined && { threads }),
  };
  return {
    list,
    request: async () => ({ captions: [...given, ...(await context.engine.encodeCaptions(prompts, options))] }),
  };
}

/** More of a caption is in no file name. */
const LONGEST_SLUG = 40;

/** Letters, digits and hyphens: `a red fox` -> `a-red-fox`. */
function slugOf(text: string): string {
  const words = text
    .normalize("NFKC")
    .toLowerCase()
    .match(/[\p{L}\p{N}]+/gu) ?? ["caption"];
  return [...words.join("-")].slice(0, LONGEST_SLUG).join("");
}
