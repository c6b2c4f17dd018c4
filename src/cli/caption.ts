/** `toklip caption`: what pictures show, in words, by a unified transformer. */
import type { Command } from "commander";
import { ToklipError } from "../core/index.ts";
import { resolveImageInputs } from "../node/image-files.ts";
import {
  captionImages,
  type PictureReader,
  type ScoredLabel,
  type StreamedCaption,
  scoreImages,
  streamCaptions,
} from "../pipelines/caption.ts";
import type { PicturesOptions } from "../pipelines/pictures.ts";
import type { CliContext, RunVerb } from "./context.ts";
import { addLabelChoice, formatLabels, readLabels } from "./label-options.ts";
import {
  addComputeOptions,
  addPictureOptions,
  addReportOptions,
  addTokenizerOption,
  addTokLIPOption,
  type ModelFlags,
  type PictureFlags,
  parseCount,
  parseNumber,
  parseSeed,
  pictureOptions,
  type ReportFlags,
  unifiedOptions,
} from "./model-options.ts";
import { PictureRun, requirePictures } from "./picture-run.ts";
import { Progress } from "./progress.ts";

interface CaptionFlags extends ModelFlags, PictureFlags, ReportFlags {
  readonly toklip?: string;
  readonly question?: string;
  readonly beams?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed?: number;
  readonly maxTokens?: number;
  readonly labels?: string;
  readonly labelsFile?: string;
  readonly template?: string;
  readonly top: number;
}

const HELP = `
The model is a unified transformer (model_type toklip-ar), as toklip train ar makes them. It reads a picture as the ids of
its TokLIP: the toklip.safetensors beside it, else toklip-mini, or the one named by --toklip. It must be the one that the
transformer was trained on.

Without more, each id of the text is the likeliest. --beams follows several texts and takes the best. --temperature,
--top-k, --top-p or --seed draw instead: the text of picture i by seed + i.

With --labels nothing is written: each label is scored by how likely the model is to write it (its end included), and its
probability is that among the labels given. Longer labels are less likely by themselves.

Examples:
  $ toklip caption photo.jpg --model ar.safetensors
  $ toklip caption photos --model ar.safetensors --beams 4 --json
  $ toklip caption photo.jpg --model ar.safetensors --question "what colour is it?"
  $ toklip caption photo.jpg --model ar.safetensors --temperature 0.8 --top-p 0.9 --seed 1
  $ toklip caption photos --model ar.safetensors --labels cat,dog,car --template "a picture of a {}" --top 1`;

/** Adds the verb's arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command
    .argument("<image...>", "pictures, folders, glob patterns")
    .requiredOption("--model <model>", "a .pt, .pth or .safetensors file, or a hub name owner/repo/file")
    .option("--config <config>", "configuration: a JSON file (default: found with the checkpoint)");
  addTokenizerOption(
    addTokLIPOption(addComputeOptions(command, "of the transformer's weights; its TokLIP stays in fp32")),
  );
  command
    .option("--question <text>", "a question about the pictures: the text is its answer")
    .option("--max-tokens <n>", "the most ids of a text (default: 64)", parseCount)
    .option("--beams <n>", "texts that are followed at the same time (default: 1)", parseCount)
    .option("--temperature <t>", "below 1 likelier ids, above 1 more of the others", parseNumber)
    .option("--top-k <n>", "draw among so many ids, 0 for all", parseNumber)
    .option("--top-p <p>", "draw among the likeliest ids of this probability together", parseNumber)
    .option("--seed <n>", "draw by this seed, a whole number from 0 to 4294967295", parseSeed);
  addLabelChoice(command, "score these labels; @name is a set of them, see classify")
    .option("--template <text>", "a sentence with {} for the label (default: the label alone)")
    .option("--top <k>", "labels shown for each picture", parseCount, 5);
  addReportOptions(addPictureOptions(command))
    .addHelpText("after", HELP)
    .action((images: string[], flags: CaptionFlags) => run((context) => caption(context, images, flags)));
}

async function caption(context: CliContext, images: readonly string[], flags: CaptionFlags): Promise<number> {
  const { engine, signal } = context;
  const labels = await readLabels(flags);
  checkFlags(flags, labels);
  const inputs = await resolveImageInputs(images);
  await requirePictures(inputs, { signal });
  const progress = new Progress(context, flags);
  const model = await engine.loadUnified(flags.model, {
    ...unifiedOptions(flags),
    ...{ signal, onProgress: progress.report },
  });
  try {
    const options = { stage: "caption", participle: labels ? "scored" : "captioned", progress, strict: flags.strict };
    const counts = new PictureRun(context, options);
    const work = {
      ...{ context, model, flags, counts, progress },
      files: counts.names(inputs),
      options: pictureOptions(flags, model.toklip.config, signal),
    };
    if (labels) await score(work, labels);
    else if (isStreamed(context, flags)) await stream(work);
    else await write(work);
    return counts.finish();
  } finally {
    progress.stop();
    await model.dispose();
  }
}

/** @throws USAGE for flags that cannot go together */
function checkFlags(flags: CaptionFlags, labels: readonly string[] | undefined): void {
  const wrong = (message: string): never => {
    throw new ToklipError("USAGE", message);
  };
  const { beams = 1, maxTokens, template } = flags;
  if (beams > 1 && isDrawn(flags)) {
    wrong("--beams looks for the likeliest text and draws none: leave out --temperature, --top-k, --top-p and --seed");
  }
  if (labels === undefined && template !== undefined) wrong("--template is for labels: give some by --labels");
  if (labels !== undefined && (beams > 1 || isDrawn(flags) || maxTokens !== undefined)) {
    wrong("with labels no text is written: leave out --beams, --max-tokens and what is for drawing");
  }
}

/** Whether ids are drawn, instead of taking the likeliest. */
function isDrawn({ temperature, topK, topP, seed }: CaptionFlags): boolean {
  return [temperature, topK, topP, seed].some((value) => value !== undefined);
}

/** Whether texts are shown as they are written: where a person watches. */
function isStreamed({ stdout }: CliContext, { json, beams = 1 }: CaptionFlags): boolean {
  return stdout.isTerminal && !json && beams === 1;
}

/** What pictures are read with. */
interface Work {
  readonly context: CliContext;
  readonly model: PictureReader;
  readonly flags: CaptionFlags;
  readonly counts: PictureRun;
  readonly progress: Progress;
  readonly files: AsyncIterable<string>;
  readonly options: PicturesOptions;
}

/** How a text is asked for. */
function request(flags: CaptionFlags) {
  const { question, temperature, topK, topP, seed, maxTokens } = flags;
  return { question, temperature, topK, topP, seed, maxTokens, greedy: !isDrawn(flags) };
}

/** `cat.jpg  a cat on a mat`. */
async function write({ context: { stdout }, model, flags, counts, files, options }: Work): Promise<void> {
  const texts = captionImages(model, files, { ...request(flags), beams: flags.beams }, options);
  await counts.each(texts, ({ file, text }) =>
    stdout.line(flags.json ? JSON.stringify({ file, text }) : `${file}  ${oneLine(text)}`),
  );
}

/** As `write`, piece by piece. */
async function stream({ context: { stdout }, model, flags, counts, progress, files, options }: Work): Promise<void> {
  const texts = streamCaptions(model, files, request(flags), options);
  await counts.each<StreamedCaption>(texts, async ({ file, pieces }) => {
    // The bar stands on the line that the text would go on.
    progress.stop();
    try {
      await stdout.write(`${file}  `);
      for await (const piece of pieces) await stdout.write(oneLine(piece));
    } finally {
      await stdout.line("");
    }
  });
}

async function score(
  { context: { stdout }, model, flags, counts, files, options }: Work,
  labels: readonly string[],
): Promise<void> {
  const { question, template, json, top } = flags;
  const results = scoreImages(model, files, { labels, template, question }, options);
  await counts.each(results, ({ file, scores }) => {
    const best: readonly ScoredLabel[] = scores.slice(0, top);
    return stdout.line(json ? JSON.stringify({ file, labels: best }) : formatLabels(file, best));
  });
}

/** A text is one line, whatever the model has written; control characters do nothing to a terminal. */
function oneLine(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ");
}
