/** `toklip show`: all that a model makes of pictures, as one HTML page. */
import path from "node:path";
import type { Command } from "commander";
import { ShowPage } from "../evaluation/show-page.ts";
import { openAtomicFile } from "../node/atomic-file.ts";
import { resolveImageInputs } from "../node/image-files.ts";
import { makeFolder } from "../node/make-folder.ts";
import { encodeLabels } from "../pipelines/classify.ts";
import type { PictureResult } from "../pipelines/pictures.ts";
import { type ShownImage, showImages } from "../pipelines/show.ts";
import type { CliContext, RunVerb } from "./context.ts";
import {
  addLabelOptions,
  LABEL_SETS_HELP,
  type LabelFlags,
  readLabels,
  readTemplates,
  usualLabels,
} from "./label-options.ts";
import {
  addModelOptions,
  addOverwriteOption,
  addPictureOptions,
  addReportOptions,
  addTokenizerOption,
  loadModel,
  type ModelFlags,
  type PictureFlags,
  pictureOptions,
  type ReportFlags,
} from "./model-options.ts";
import { checkOutput } from "./output-path.ts";
import { PictureRun, requirePictures } from "./picture-run.ts";
import { Progress } from "./progress.ts";

interface ShowFlags extends ModelFlags, PictureFlags, LabelFlags, ReportFlags {
  readonly out: string;
  readonly overwrite?: boolean;
}

const HELP = `
The page holds, for each picture, what the model saw, its ids, the picture that they are decoded to, and the labels that
fit them best. It needs no other file and no network. Without labels, the default model chooses among the names of emoji
(--labels @emoji), and other models do not label.

Examples:
  $ toklip show photos
  $ toklip show icon.png --labels cat,dog,car --out icon.html`;

/** Adds the verb's arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command.argument("<image...>", "pictures, folders, glob patterns");
  addTokenizerOption(addModelOptions(command));
  addLabelOptions(addPictureOptions(command)).option(
    "--out <file>",
    "the page to write; its folder is made if it is not there",
    "toklip.html",
  );
  addOverwriteOption(command);
  addReportOptions(command)
    .addHelpText("after", `${LABEL_SETS_HELP}\n${HELP}`)
    .action((images: string[], flags: ShowFlags) => run((context) => show(context, images, flags)));
}

async function show(context: CliContext, images: readonly string[], flags: ShowFlags): Promise<number> {
  const { signal, stdout } = context;
  const names = (await readLabels(flags)) ?? usualLabels(flags);
  const templatesOf = await readTemplates(flags);
  await makeFolder(path.dirname(flags.out));
  await checkOutput(flags.out, flags);
  const inputs = await resolveImageInputs(images);
  await requirePictures(inputs, { signal });
  const progress = new Progress(context, flags);
  const model = await loadModel(context, flags, progress.report);
  try {
    const templates = templatesOf(model.config);
    const labels = names && (await encodeLabels(model, names, { templates, signal, onProgress: progress.report }));
    const counts = new PictureRun(context, { stage: "show", participle: "shown", progress, strict: flags.strict });
    const results = showImages(model, counts.names(inputs), labels, pictureOptions(flags, model.config, signal));
    const chosen = names && { count: names.length, templates };
    const page = new ShowPage({ model: flags.model, config: model.config, labels: chosen });
    await writePieces(flags, async (write) => {
      await write(page.start());
      await counts.each(added(results, page, flags, context, write), (shown) => stdout.line(describe(shown, flags)));
      await write(page.end());
    });
    const status = counts.finish();
    progress.note(`the page is ${flags.out}`);
    return status;
  } finally {
    progress.stop();
    await model.dispose();
  }
}

type Write = (piece: string) => Promise<void>;

/** Writes a file in pieces; it appears whole or not at all. */
async function writePieces({ out, overwrite }: ShowFlags, work: (write: Write) => Promise<void>): Promise<void> {
  const sink = await openAtomicFile(out, { overwrite });
  try {
    await work((piece) => sink.write(new TextEncoder().encode(piece)));
    await sink.commit();
  } catch (error) {
    await sink.abort();
    throw error;
  }
}

/** The results, each after it was put on the page, with the labels that are shown. */
async function* added(
  results: AsyncIterable<PictureResult<ShownImage>>,
  page: ShowPage,
  { top }: ShowFlags,
  { engine }: CliContext,
  write: Write,
): AsyncGenerator<PictureResult<ShownImage>, void, undefined> {
  for await (const result of results) {
    if (result.error) {
      await write(page.failure(result.file, result.error));
      yield result;
      continue;
    }
    const shown = { ...result, scores: result.scores.slice(0, top) };
    const original = await engine.encodePng(shown.original);
    const reconstruction = await engine.encodePng(shown.reconstruction);
    await write(page.entry({ ...shown, original, reconstruction }));
    yield shown;
  }
}

/** `cat.png  21.30 dB  93.1 % cat`. */
function describe({ file, psnr, ssim, scores }: ShownImage & { readonly file: string }, { json }: ShowFlags): string {
  if (json) return JSON.stringify({ file, psnr, ssim, labels: scores });
  const quality = Number.isFinite(psnr) ? `${psnr.toFixed(2)} dB` : "equal";
  const best = scores.slice(0, 1).map(({ label, score }) => `${(100 * score).toFixed(1)} % ${label}`);
  return [file, quality, ...best].join("  ");
}
