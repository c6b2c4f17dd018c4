/** The options that several verbs share: which model, how it runs, how pictures are prepared. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ProgressEvent } from "../core/index.ts";
import type { PreprocessConfig, ToklipConfig } from "../models/config.ts";
import { DEFAULT_MODEL } from "../pipelines/bundled-files.ts";
import {
  type Device,
  type LoadOptions,
  MAX_THREADS,
  type Precision,
  type PreprocessOptions,
  type TokLIPModel,
} from "../pipelines/model.ts";
import { defaultBatch } from "../pipelines/pictures.ts";
import type { UnifiedOptions } from "../pipelines/unified.ts";
import type { CliContext } from "./context.ts";

/** What `addModelOptions` reads. */
export interface ModelFlags {
  readonly model: string;
  readonly config?: string;
  readonly device: Device;
  readonly precision: Precision;
  readonly threads?: number;
  readonly tokenizer?: string;
  readonly download?: boolean;
}

/** What `addPictureOptions` reads. */
export interface PictureFlags {
  readonly batch?: number;
  readonly resize?: "shortest" | "squash";
  /** False with `--no-exif`. */
  readonly exif: boolean;
  readonly background?: readonly [number, number, number] | "drop";
  readonly maxPixels?: number;
  readonly strict?: boolean;
}

/** What `addReportOptions` reads. */
export interface ReportFlags {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** What names a model on the command line. */
export const MODEL_SOURCE = "toklip-mini, a .pt, .pth or .safetensors file, or a hub name owner/repo/file";

/** Adds `--model` and what goes with it. */
export function addModelOptions(command: Command): Command {
  command
    .option("--model <model>", MODEL_SOURCE, DEFAULT_MODEL)
    .option("--config <config>", "configuration: a built-in name or a JSON file (default: found with the checkpoint)");
  return addComputeOptions(command, "of the ViT's and the text tower's weights; ids never change");
}

/** Adds how a model runs. `precision` says what is meant by it. */
export function addComputeOptions(command: Command, precision: string): Command {
  return command
    .addOption(new Option("--device <device>", "where to compute").choices(["cpu", "cuda", "webgpu"]).default("cpu"))
    .addOption(new Option("--precision <precision>", precision).choices(["fp32", "int8", "int8-fast"]).default("fp32"))
    .option("--threads <n>", "threads of the compute engine (default: the machine's cores)", parseThreads)
    .option("--download", "download a hub name that is not in the cache");
}

/** Adds `--tokenizer`, for the verbs that read text. */
export function addTokenizerOption(command: Command): Command {
  return command.option(
    "--tokenizer <file>",
    "tokenizer.json, a path or hub name (default: found with the checkpoint)",
  );
}

/** Adds `--toklip`, for unified transformers. */
export function addTokLIPOption(command: Command): Command {
  return command.option(
    "--toklip <model>",
    "the TokLIP of a unified transformer: a file or a hub name (default: beside the checkpoint, else toklip-mini)",
  );
}

/** Adds how pictures are read. */
export function addPictureOptions(command: Command): Command {
  return command
    .option("--batch <n>", "pictures a run of the model (default: 1 to 8, fewer the larger they are)", parseCount)
    .addOption(
      new Option(
        "--resize <mode>",
        "shortest: shorter edge, then centre crop; squash: both edges (default: as the model says)",
      ).choices(["shortest", "squash"]),
    )
    .option("--no-exif", "ignore the EXIF orientation, as the reference does")
    .option(
      "--background <colour>",
      "shows through transparency: white, black, #rrggbb, or drop to ignore alpha (default: as the model says)",
      parseColour,
    )
    .option("--max-pixels <n>", "largest picture to decode (default: 268 million pixels)", parseCount)
    .option("--strict", "stop at the first picture that cannot be read, instead of skipping it");
}

/** Adds `--overwrite`. */
export function addOverwriteOption(command: Command): Command {
  return command.option("--overwrite", "replace what is at the output path (default: refuse)");
}

/** Adds `--json` and `--quiet`. */
export function addReportOptions(command: Command, json = "print one JSON object a line"): Command {
  return command
    .option("--json", json)
    .option("--quiet", "no progress and no summary on stderr; errors are still told");
}

/** Loads the model that the flags name. */
export function loadModel(
  { engine, signal }: CliContext,
  flags: ModelFlags,
  onProgress: (event: ProgressEvent) => void,
): Promise<TokLIPModel> {
  return engine.loadModel(flags.model, { ...loadOptions(flags), signal, onProgress });
}

/** The flags as the options of loading. */
export function loadOptions(flags: ModelFlags): LoadOptions {
  return {
    device: flags.device,
    precision: flags.precision,
    ...(flags.config !== undefined && { config: flags.config }),
    ...(flags.threads !== undefined && { threads: flags.threads }),
    ...(flags.tokenizer !== undefined && { tokenizer: flags.tokenizer }),
    download: flags.download ?? false,
  };
}

/** The flags as the options of loading a unified transformer. */
export function unifiedOptions({ toklip, ...flags }: ModelFlags & { readonly toklip?: string }): UnifiedOptions {
  return { ...loadOptions(flags), ...(toklip !== undefined && { toklip }) };
}

/** The flags as the options of the pipelines. */
export function pictureOptions(
  flags: PictureFlags,
  config: ToklipConfig,
  signal: AbortSignal,
): PreprocessOptions & { readonly batch: number } {
  const { batch = defaultBatch(config), exif, maxPixels } = flags;
  return {
    ...{ batch, exif, signal, ...preparationOf(flags, config) },
    ...(maxPixels !== undefined && { maxPixels }),
  };
}

/** How pictures are prepared: as the flags say, else as the model does. */
export function preparationOf(
  { resize, background }: Pick<PictureFlags, "resize" | "background">,
  { preprocess }: ToklipConfig,
): PreprocessConfig {
  return { resize: resize ?? preprocess.resize, background: background ?? preprocess.background };
}

/** A whole number from 1. */
export function parseCount(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= 1) return value;
  throw new InvalidArgumentError("Expected a whole number from 1.");
}

/** A share, from 0 to 1. */
export function parseShare(text: string): number {
  const value = Number(text);
  if (/^[\d.]+$/.test(text) && value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError("Expected a share from 0 to 1, such as 0.1.");
}

/** A seed: a whole number of 32 bits. */
export function parseSeed(text: string): number {
  const seed = Number(text);
  if (/^\d+$/.test(text) && seed < 2 ** 32) return seed;
  throw new InvalidArgumentError("Expected a whole number from 0 to 4294967295.");
}

/** A number. What range it must have is said by who takes it. */
export function parseNumber(text: string): number {
  if (/^-?(\d+\.?\d*|\.\d+)(e-?\d+)?$/i.test(text)) return Number(text);
  throw new InvalidArgumentError("Expected a number, such as 1.5.");
}

function parseThreads(text: string): number {
  if (/^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= MAX_THREADS) return Number(text);
  throw new InvalidArgumentError(`Expected a whole number from 1 to ${MAX_THREADS}.`);
}

const COLOURS: Readonly<Record<string, readonly [number, number, number] | "drop">> = {
  white: [255, 255, 255],
  black: [0, 0, 0],
  drop: "drop",
};

function parseColour(text: string): readonly [number, number, number] | "drop" {
  if (Object.hasOwn(COLOURS, text)) return COLOURS[text]!;
  const hex = /^#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(text);
  if (!hex) throw new InvalidArgumentError("Expected white, black, drop or #rrggbb.");
  return [Number.parseInt(hex[1]!, 16), Number.parseInt(hex[2]!, 16), Number.parseInt(hex[3]!, 16)];
}

/** Gathers an option that may be given several times. */
export function collect(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value];
}
