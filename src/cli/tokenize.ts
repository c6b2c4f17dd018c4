/** `toklip tokenize`: pictures -> ids, one JSON line each, and on request features. */
import { existsSync } from "node:fs";
import path from "node:path";
import { type Command, Option } from "commander";
import { ToklipError } from "../core/index.ts";
import type { Augmentation } from "../image/index.ts";
import { gridOf } from "../models/vision-transformer.ts";
import { type IdsSoFar, type RunSettings, readIdsSoFar, UnfinishedNote } from "../node/ids-file.ts";
import { resolveImageInputs } from "../node/image-files.ts";
import { checkRowFilePath } from "../node/row-file.ts";
import type { TokenizeDataOptions } from "../node/tokenize-data.ts";
import { checkIds } from "../pipelines/ids-line.ts";
import type { TokLIPModel } from "../pipelines/model.ts";
import { tokenizeImages } from "../pipelines/tokenize.ts";
import type { CliContext, RunVerb } from "./context.ts";
import { readJsonFile } from "./json-file.ts";
import {
  addModelOptions,
  addOverwriteOption,
  addPictureOptions,
  addReportOptions,
  loadModel,
  type ModelFlags,
  type PictureFlags,
  parseCount,
  parseSeed,
  pictureOptions,
  preparationOf,
  type ReportFlags,
} from "./model-options.ts";
import { checkOutput } from "./output-path.ts";
import { PictureRun, requirePictures } from "./picture-run.ts";
import { Progress } from "./progress.ts";
import { TokenizeOutput } from "./tokenize-output.ts";

interface TokenizeFlags extends ModelFlags, PictureFlags, ReportFlags {
  readonly out?: string;
  readonly features?: string;
  readonly captions?: boolean;
  readonly variants?: number;
  readonly augmentation?: string;
  readonly seed?: number;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
}

const HELP = `
Each picture gives one line: {"file": "cats/1.jpg", "grid": [16, 16], "ids": [5213, ...]}
Ids are row by row. Folders are read with all their subfolders, in the order of the names.

Examples:
  $ toklip tokenize photo.jpg --model TokLIP_S_256.pt
  $ toklip tokenize photos "more/**/*.png" --model TokLIP_S_256.pt --out ids.jsonl
  $ toklip tokenize photos --model TokLIP_S_256.pt --out ids.jsonl --resume
  $ toklip tokenize photos --model TokLIP_S_256.pt --out ids.jsonl --features features.safetensors

With --captions the arguments are data sets as trainings read them: shards, folders, .csv .tsv .jsonl or .parquet files. Lines
then have the captions and the concept of each picture too: the data of toklip train ar. With --variants "ids" is a list of
lists: the picture as it is, then as a training would see it by --augmentation, a file such as {"flip": 0.5}.

  $ toklip tokenize "shards/{00..07}.tar" --captions --variants 4 --out ids.jsonl

With --out, an interrupted run is continued by the same command with --resume. Row k of the features belongs to line k
of the ids; the tensors are token_features (M, N, D) and image_features (M, D), f32, not normalised.`;

/** Adds the verb's arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command.argument("<image...>", "pictures, folders, glob patterns");
  addModelOptions(command);
  addPictureOptions(command)
    .option("--out <file>", "write the lines to this file (default: standard output)")
    .option("--features <file>", "also write token and image features to this .safetensors file")
    .addOption(new Option("--captions", "read data sets of pictures, and copy their captions").conflicts("features"))
    .option("--variants <n>", "with --captions: so many variants of each picture (default: 1, as it is)", parseCount)
    .option("--augmentation <file>", "with --captions: what makes variants, as data.augmentation of a training, JSON")
    .option("--seed <n>", "with --captions: of the variants (default: 0)", parseSeed)
    .addOption(new Option("--resume", "continue the run that --out is from").conflicts("overwrite"));
  addOverwriteOption(command);
  addReportOptions(command, "print one JSON object a line (always so)");
  command
    .addHelpText("after", HELP)
    .action((images: string[], flags: TokenizeFlags) => run((context) => tokenize(context, images, flags)));
}

async function tokenize(context: CliContext, images: readonly string[], flags: TokenizeFlags): Promise<number> {
  const { out, features } = flags;
  const variation = await checkVariation(flags);
  const inputs = flags.captions ? [] : await resolveImageInputs(images);
  const soFar = await checkTargets(context, flags);
  if (!flags.captions) await requirePictures(inputs, { signal: context.signal });
  const progress = new Progress(context, flags);
  const model = await loadModel(context, flags, progress.report);
  try {
    const settings = { ...settingsOf(flags, model), ...variation };
    await checkResume(flags, soFar, settings, model);
    const { tokens } = gridOf(model.config.trunk);
    const target = { out, features, stdout: context.stdout, soFar, settings, tokens, width: model.config.embedDim };
    const output = new TokenizeOutput(target);
    const counts = new PictureRun(context, {
      stage: "tokenize",
      participle: "tokenized",
      progress,
      strict: flags.strict,
    });
    const options = { ...pictureOptions(flags, model.config, context.signal), features: features !== undefined };
    try {
      if (flags.captions) {
        const { tokenizeData } = await import("../node/tokenize-data.ts");
        const data = dataOptions(context, images, flags, model, variation, soFar);
        await counts.each(tokenizeData(model, data), (result) => output.add(result));
      } else {
        const names = counts.names(inputs, { skip: soFar.done });
        await counts.each(tokenizeImages(model, names, options), (result) => output.add(result));
      }
      await output.finish({ config: model.config.name });
    } catch (error) {
      await output.leave();
      throw error;
    }
    return counts.finish();
  } catch (error) {
    throw withHint(error, flags);
  } finally {
    progress.stop();
    await model.dispose();
  }
}

/** What makes the variants of a picture, where more than one is asked for. */
interface Variation {
  readonly variants?: number;
  readonly augmentation?: Augmentation;
  readonly seed?: number;
}

/** @throws USAGE, FILE_NOT_FOUND, CONFIG_INVALID */
async function checkVariation(flags: TokenizeFlags): Promise<Variation> {
  const { captions, variants = 1, augmentation, seed = 0 } = flags;
  if (!captions && (flags.variants ?? augmentation ?? flags.seed) !== undefined) {
    throw new ToklipError("USAGE", "--variants, --augmentation and --seed need --captions");
  }
  if (variants === 1) return {};
  if (augmentation === undefined) throw new ToklipError("USAGE", "--variants needs --augmentation, what makes them");
  return { variants, augmentation: await readAugmentation(augmentation), seed };
}

async function readAugmentation(path: string): Promise<Augmentation> {
  const { parseAugmentation } = await import("../train/run-config.ts");
  const { augmentationOf } = await import("../node/train-data.ts");
  return augmentationOf(parseAugmentation(await readJsonFile(path, "--augmentation"), path));
}

function dataOptions(
  { signal }: CliContext,
  sources: readonly string[],
  flags: TokenizeFlags,
  { config }: TokLIPModel,
  variation: Variation,
  { done }: IdsSoFar,
): TokenizeDataOptions {
  const { resize, background } = preparationOf(flags, config);
  const { batch } = pictureOptions(flags, config, signal);
  return { sources, plain: { crop: { kind: resize }, background }, ...variation, batch, skip: done, signal };
}

/** Checks what can be checked before a model is loaded, and reads what an earlier run left. */
async function checkTargets({ signal }: CliContext, flags: TokenizeFlags): Promise<IdsSoFar> {
  const { out, features, resume } = flags;
  const overwrite = (flags.overwrite ?? false) || (resume ?? false);
  if (features !== undefined) {
    checkRowFilePath(features, [".safetensors"]);
    await checkOutput(features, { overwrite });
  }
  if (out === undefined) {
    if (resume) throw new ToklipError("USAGE", "--resume needs --out, the file to continue");
    return { done: new Set(), bytes: 0 };
  }
  if (!overwrite && existsSync(out) && (await new UnfinishedNote(out).exists())) {
    throw new ToklipError("FILE_EXISTS", `${out}: is from an interrupted run, which --resume continues`);
  }
  await checkOutput(out, { overwrite });
  if (resume) return readIdsSoFar(out, { signal });
  return { done: new Set(), bytes: 0 };
}

/** What decides the values in the files. */
function settingsOf(flags: TokenizeFlags, { config }: TokLIPModel): RunSettings {
  return {
    model: existsSync(flags.model) ? path.resolve(flags.model) : flags.model,
    config: config.name,
    grid: gridOf(config.trunk).side,
    codebook: config.vq?.codebookSize,
    ...preparationOf(flags, config),
    exif: flags.exif,
    features: flags.features === undefined ? undefined : path.resolve(flags.features),
    ...(flags.features !== undefined && { precision: flags.precision }),
  };
}

async function checkResume(
  { resume, out }: TokenizeFlags,
  { first }: IdsSoFar,
  settings: RunSettings,
  { config }: TokLIPModel,
): Promise<void> {
  if (!resume || out === undefined) return;
  await new UnfinishedNote(out).check(settings);
  if (first) checkIds(first, config, `${out}:1`);
}

/** An interrupted run says how to go on. */
function withHint(error: unknown, { out }: TokenizeFlags): unknown {
  if (!(error instanceof ToklipError) || error.code !== "ABORTED") return error;
  const hint = out === undefined ? "" : ": the same command with --resume continues";
  return new ToklipError("ABORTED", `tokenize: interrupted${hint}`, { cause: error });
}
