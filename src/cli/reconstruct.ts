/** `toklip reconstruct`: ids, or pictures by way of their ids, back to PNG files. */
import path from "node:path";
import type { Command } from "commander";
import type { Image } from "../image/image.ts";
import { readIdsFile } from "../node/ids-file.ts";
import { type ImageInputs, resolveImageInputs } from "../node/image-files.ts";
import { makeFolder } from "../node/make-folder.ts";
import type { TokLIPModel } from "../pipelines/model.ts";
import { reconstructIds, reconstructImages, sideBySide } from "../pipelines/reconstruct.ts";
import type { CliContext, RunVerb } from "./context.ts";
import { commonFolder, MirroredNames } from "./mirrored-names.ts";
import {
  addModelOptions,
  addOverwriteOption,
  addPictureOptions,
  addReportOptions,
  loadModel,
  type ModelFlags,
  type PictureFlags,
  pictureOptions,
  type ReportFlags,
} from "./model-options.ts";
import { writeWhole } from "./output-path.ts";
import { PictureRun, requirePictures } from "./picture-run.ts";
import { Progress } from "./progress.ts";

interface ReconstructFlags extends ModelFlags, PictureFlags, ReportFlags {
  readonly out: string;
  readonly sideBySide?: boolean;
  readonly overwrite?: boolean;
}

/** A picture to be written. */
interface Rebuilt {
  readonly file: string;
  readonly image: Image;
  readonly original?: Image;
  readonly psnr?: number;
}

const HELP = `
A file that ends in .jsonl holds lines as tokenize writes them; all else is pictures. Folders below the inputs' common
folder are mirrored in the output folder. For pictures, the peak signal-to-noise ratio between what the model saw (after
resizing and cropping) and what came back is told.

Examples:
  $ toklip reconstruct ids.jsonl --model TokLIP_S_256.pt --out pictures
  $ toklip reconstruct photos --model TokLIP_S_256.pt --out pictures --side-by-side
  $ toklip reconstruct photos --model TokLIP_S_256.pt --out pictures --json > psnr.jsonl`;

/** Adds the verb's arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command.argument("<input...>", "files of ids (.jsonl), pictures, folders, glob patterns");
  addModelOptions(command);
  addPictureOptions(command)
    .requiredOption("--out <folder>", "where the PNG files go; made if it is not there")
    .option("--side-by-side", "put what the model saw to the left of what came back (pictures only)");
  addOverwriteOption(command);
  addReportOptions(command)
    .addHelpText("after", HELP)
    .action((inputs: string[], flags: ReconstructFlags) => run((context) => reconstruct(context, inputs, flags)));
}

async function reconstruct(context: CliContext, args: readonly string[], flags: ReconstructFlags): Promise<number> {
  const { signal } = context;
  const idsFiles = args.filter((arg) => arg.endsWith(".jsonl"));
  const inputs = await resolveImageInputs(args.filter((arg) => !arg.endsWith(".jsonl")));
  const root = commonFolder([...inputs.map((input) => input.root), ...(await foldersNamedIn(idsFiles, signal))]);
  const outputs = new MirroredNames(root, flags.out);
  if (inputs.length > 0) await requirePictures(inputs, { exclude: flags.out, signal });

  const progress = new Progress(context, flags);
  const model = await loadModel(context, flags, progress.report);
  try {
    await makeFolder(flags.out);
    const options = { stage: "reconstruct", participle: "reconstructed", progress, strict: flags.strict };
    const counts = new PictureRun(context, options);
    await counts.each(rebuild(model, { idsFiles, inputs, counts, flags, signal }), async (rebuilt) => {
      const file = outputs.next(rebuilt.file);
      await makeFolder(path.dirname(file));
      await writeWhole(file, await context.engine.encodePng(pictureOf(rebuilt, flags)), flags);
      await context.stdout.line(describe(rebuilt, file, flags));
    });
    return counts.finish();
  } finally {
    progress.stop();
    await model.dispose();
  }
}

/** The folders of the pictures that files of ids name. */
async function foldersNamedIn(idsFiles: readonly string[], signal: AbortSignal): Promise<Set<string>> {
  const folders = new Set<string>();
  for (const file of idsFiles) {
    for await (const line of readIdsFile(file, { signal })) if (!line.error) folders.add(path.dirname(line.file));
  }
  return folders;
}

interface RebuildParts {
  readonly idsFiles: readonly string[];
  readonly inputs: readonly ImageInputs[];
  readonly counts: PictureRun;
  readonly flags: ReconstructFlags;
  readonly signal: AbortSignal;
}

async function* rebuild(model: TokLIPModel, { idsFiles, inputs, counts, flags, signal }: RebuildParts) {
  const options = pictureOptions(flags, model.config, signal);
  for (const file of idsFiles) yield* reconstructIds(model, readIdsFile(file, { signal }), options);
  if (inputs.length > 0) yield* reconstructImages(model, counts.names(inputs, { exclude: flags.out }), options);
}

function pictureOf({ image, original }: Rebuilt, flags: ReconstructFlags): Image {
  return flags.sideBySide && original ? sideBySide(original, image) : image;
}

function describe({ file, psnr }: Rebuilt, out: string, { json }: ReconstructFlags): string {
  if (json) return JSON.stringify({ file, out, ...(psnr !== undefined && { psnr }) });
  const quality = psnr === undefined ? [] : [Number.isFinite(psnr) ? `${psnr.toFixed(2)} dB` : "equal"];
  return [file, out, ...quality].join("  ");
}
