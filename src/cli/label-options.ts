/** The options of verbs that choose among labels: the labels, the sentences they are put in, how many are shown. */
import { readFile } from "node:fs/promises";
import { type Command, Option } from "commander";
import { ToklipError } from "../core/index.ts";
import { quoted } from "../files/quoted.ts";
import type { ToklipConfig } from "../models/config.ts";
import { readError } from "../node/file-errors.ts";
import { DEFAULT_MODEL } from "../pipelines/bundled-files.ts";
import { isLabelSet, LABEL_SETS } from "../pipelines/label-sets.ts";
import type { LabelScore } from "../pipelines/model.ts";
import { resolveTemplates, TEMPLATE_SETS } from "../text/templates.ts";
import { type ModelFlags, parseCount } from "./model-options.ts";
import { formatTable } from "./output.ts";

/** What `addLabelOptions` reads. */
export interface LabelFlags {
  readonly labels?: string;
  readonly labelsFile?: string;
  readonly templates?: string;
  readonly top: number;
}

/** The sets of labels, for `--help`. */
export const LABEL_SETS_HELP = `
Sets of labels, which go with labels of your own (--labels @animals,toaster); names of emoji, without flags:
${formatTable(Object.entries(LABEL_SETS).map(([name, labels]) => [`  @${name}`, `${labels.length}: ${labels.slice(0, 3).join(", ")}, ...`]))}`;

/** Adds the two flags that give labels. @param labels what the first one says of itself */
export function addLabelChoice(command: Command, labels: string): Command {
  return command
    .addOption(new Option("--labels <a,b,c>", labels).conflicts("labelsFile"))
    .option("--labels-file <file>", "a file of labels, one a line");
}

/** Adds `--labels` and what goes with it. */
export function addLabelOptions(command: Command): Command {
  return addLabelChoice(command, "the labels, separated by commas; @name is a set of them, see below")
    .option("--templates <set>", "prompt templates: simple, imagenet-80, none, or a file (default: as the model says)")
    .option("--top <k>", "labels shown for each picture", parseCount, 5);
}

/**
 * The labels that the flags give, each once; undefined where they give none.
 * @throws USAGE when there is not one among them; FILE_NOT_FOUND, FILE_READ_FAILED
 */
export async function readLabels({ labels, labelsFile }: LabelFlags): Promise<string[] | undefined> {
  if (labels === undefined && labelsFile === undefined) return undefined;
  const texts = labelsFile === undefined ? splitLabels(labels!) : await readTextLines(labelsFile);
  const names = [...new Set(texts.map((text) => text.trim()).filter((text) => text !== ""))];
  if (names.length > 0) return names;
  throw new ToklipError("USAGE", `${labelsFile ?? "--labels"}: holds no label`);
}

/** What a model chooses among where nobody says: the default model among the names of emoji; others have no labels. */
export function usualLabels({ model }: Pick<ModelFlags, "model">): readonly string[] | undefined {
  return model === DEFAULT_MODEL ? LABEL_SETS.emoji : undefined;
}

/**
 * Labels separated by commas, the sets among them as their labels.
 * @throws USAGE for a set that there is not
 */
export function splitLabels(labels: string): string[] {
  return labels.split(",").flatMap((part) => {
    const label = part.trim();
    if (!label.startsWith("@")) return [label];
    const name = label.slice(1);
    if (isLabelSet(name)) return LABEL_SETS[name];
    const sets = Object.keys(LABEL_SETS).map((set) => `@${set}`);
    throw new ToklipError("USAGE", `--labels: no set ${quoted(label)}: there are ${sets.join(", ")}`);
  });
}

/**
 * The templates that the flags name, read before long work; the model's where they name none.
 * @throws ARGUMENT_INVALID for one without `{}`; FILE_NOT_FOUND, FILE_READ_FAILED
 */
export async function readTemplates({
  templates: set,
}: LabelFlags): Promise<(model: ToklipConfig) => readonly string[]> {
  if (set === undefined) return ({ templates }) => resolveTemplates(templates);
  const asked = Object.hasOwn(TEMPLATE_SETS, set)
    ? set
    : (await readTextLines(set)).filter((line) => line.trim() !== "");
  const templates = resolveTemplates(asked);
  return () => templates;
}

/** `cat.jpg`, and below it the labels: `   93.1 %  cat`. */
export function formatLabels(file: string, labels: readonly LabelScore[]): string {
  return [file, ...labels.map(({ label, score }) => `  ${(100 * score).toFixed(1).padStart(5)} %  ${label}`)].join(
    "\n",
  );
}

async function readTextLines(file: string): Promise<string[]> {
  try {
    return (await readFile(file, "utf8")).split(/\r?\n/);
  } catch (error) {
    throw readError(error, file);
  }
}
