/** `toklip classify`: the labels that fit pictures best, zero-shot. */
import type { Command } from "commander";
import { ToklipError } from "../core/index.ts";
import { resolveImageInputs } from "../node/image-files.ts";
import { classifyImages, encodeLabels } from "../pipelines/classify.ts";
import type { CliContext, RunVerb } from "./context.ts";
import {
  addLabelOptions,
  formatLabels,
  LABEL_SETS_HELP,
  type LabelFlags,
  readLabels,
  readTemplates,
  usualLabels,
} from "./label-options.ts";
import {
  addModelOptions,
  addPictureOptions,
  addReportOptions,
  addTokenizerOption,
  loadModel,
  type ModelFlags,
  type PictureFlags,
  pictureOptions,
  type ReportFlags,
} from "./model-options.ts";
import { PictureRun, requirePictures } from "./picture-run.ts";
import { Progress } from "./progress.ts";

interface ClassifyFlags extends ModelFlags, PictureFlags, LabelFlags, ReportFlags {}

const HELP = `
Without labels, the default model chooses among the names of emoji (--labels @emoji). A label file has one label a line.
Each label is put into prompt templates; scores are the softmax of 100 x cosine over all labels given. A template file has
one template a line, with {} where the label goes.

Examples:
  $ toklip classify photo.jpg
  $ toklip classify photo.jpg --labels @animals --top 3
  $ toklip classify photo.jpg --labels cat,dog,car --model TokLIP_S_256.pt
  $ toklip classify photos --labels-file labels.txt --templates imagenet-80 --top 3 --json --model TokLIP_S_256.pt`;

/** Adds the verb's arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command.argument("<image...>", "pictures, folders, glob patterns");
  addTokenizerOption(addModelOptions(command));
  addLabelOptions(addPictureOptions(command));
  addReportOptions(command)
    .addHelpText("after", `${LABEL_SETS_HELP}\n${HELP}`)
    .action((images: string[], flags: ClassifyFlags) => run((context) => classify(context, images, flags)));
}

async function classify(context: CliContext, images: readonly string[], flags: ClassifyFlags): Promise<number> {
  const { signal, stdout } = context;
  const names = (await readLabels(flags)) ?? usualLabels(flags);
  if (names === undefined) throw new ToklipError("USAGE", "classify needs --labels or --labels-file");
  const templatesOf = await readTemplates(flags);
  const inputs = await resolveImageInputs(images);
  await requirePictures(inputs, { signal });
  const progress = new Progress(context, flags);
  const model = await loadModel(context, flags, progress.report);
  try {
    const templates = templatesOf(model.config);
    const labels = await encodeLabels(model, names, { templates, signal, onProgress: progress.report });
    const options = { stage: "classify", participle: "classified", progress, strict: flags.strict };
    const counts = new PictureRun(context, options);
    const results = classifyImages(model, counts.names(inputs), labels, pictureOptions(flags, model.config, signal));
    await counts.each(results, ({ file, scores }) => {
      const labels = scores.slice(0, flags.top);
      return stdout.line(flags.json ? JSON.stringify({ file, labels }) : formatLabels(file, labels));
    });
    return counts.finish();
  } finally {
    progress.stop();
    await model.dispose();
  }
}
