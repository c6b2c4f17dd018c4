/** `toklip info`: what a checkpoint holds. Reads headers only; no weight is loaded. */
import type { Command } from "commander";
import { sizeOf, ToklipError } from "../core/index.ts";
import type { Checkpoint, TensorEntry } from "../files/checkpoint.ts";
import {
  type ArConfig,
  checkCheckpoint,
  checkpointGraphs,
  type GptConfig,
  type ToklipConfig,
  withModelNames,
} from "../models/index.ts";
import type { CliContext, RunVerb } from "./context.ts";
import { addReportOptions, MODEL_SOURCE, type ReportFlags } from "./model-options.ts";
import { formatBytes, formatCount, formatTable } from "./output.ts";
import { Progress } from "./progress.ts";

interface InfoFlags extends ReportFlags {
  readonly config?: string;
  readonly tensors?: boolean;
  readonly download?: boolean;
}

const HELP = `
Examples:
  $ toklip info TokLIP_S_256.pt
  $ toklip info TokLIP_S_256.pt --tensors
  $ toklip info model.safetensors --json`;

/** The parts of a model by the names of their parameters; the first that fits is taken. */
const PARTS: readonly (readonly [part: string, names: RegExp])[] = [
  ["VQ encoder", /^visual\.trunk\.vq\.(encoder|quant_conv)\./],
  ["VQ codebook", /^visual\.trunk\.vq\.quantize\.embedding\./],
  ["VQ decoder", /^visual\.trunk\.vq\.(decoder|post_quant_conv)\./],
  ["image tower", /^visual\.(?!trunk\.vq\.)/],
  ["text tower", /^text\./],
  ["condition", /^cls_embedding\./],
  ["picture entry", /^(image_projection|semantic_embeddings|semantic_codebooks)\./],
  ["id embeddings", /^tok_embeddings\./],
  ["blocks", /^layers\.\d+\./],
  ["output layer", /^(norm|output)\./],
  ["other", /^/],
];

/** Metadata is shown up to this many characters; `--json` shows all. */
const LONGEST_VALUE = 80;

/** Adds the verb's arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command
    .argument("<model>", MODEL_SOURCE)
    .option("--config <config>", "hold it against this configuration: a built-in name or a JSON file")
    .option("--tensors", "list every tensor")
    .option("--download", "download a hub name that is not in the cache");
  addReportOptions(command)
    .addHelpText("after", HELP)
    .action((model: string, flags: InfoFlags) => run((context) => info(context, model, flags)));
}

async function info(context: CliContext, source: string, flags: InfoFlags): Promise<number> {
  const { engine, signal, stdout } = context;
  const progress = new Progress(context, flags);
  const options = { download: flags.download ?? false, signal, onProgress: progress.report };
  const path = await engine.locate(source, options).finally(() => progress.stop());
  const checkpoint = await engine.openCheckpoint(path);
  try {
    const found = await findConfig(context, path, checkpoint, flags.config);
    const description = { file: path, ...describe(checkpoint), ...found };
    await stdout.line(flags.json ? JSON.stringify(withTensors(description, checkpoint, flags)) : page(description));
    if (flags.tensors && !flags.json) await stdout.line(tensorTable(checkpoint));
    return 0;
  } finally {
    await checkpoint.close();
  }
}

interface Found {
  /** The configuration's name; null where none was found. */
  readonly config: string | null;
  /** What kind of model it is, where that is no TokLIP or a part of one. */
  readonly model?: string;
  /** What is wrong: no configuration, or one the tensors do not fit. */
  readonly problem?: string;
}

async function findConfig(
  { engine }: CliContext,
  path: string,
  checkpoint: Checkpoint,
  asked: string | undefined,
): Promise<Found> {
  let config: ToklipConfig | undefined;
  try {
    const gpt = await engine.findGptConfig(path, checkpoint, asked);
    if (gpt) return { config: gpt.name, model: describeGpt(gpt) };
    const ar = await engine.findArConfig(path, checkpoint, asked);
    if (ar) return { config: ar.name, model: describeAr(ar) };
    const named = withModelNames(checkpoint);
    config = await engine.findConfig(path, named, asked);
    checkCheckpoint(named, config, checkpointGraphs(named, config));
    return { config: config.name };
  } catch (error) {
    // What the file is remains worth showing; only a configuration that was asked for must be there.
    if (!(error instanceof ToklipError)) throw error;
    if (asked !== undefined && config === undefined && error.code !== "CHECKPOINT_MISMATCH") throw error;
    return { config: config?.name ?? null, problem: error.message };
  }
}

/** `LlamaGen's GPT: 12 blocks of 768, 12 heads; continues 1000 classes with 16x16 ids of 16384`. */
function describeGpt({ depth, width, numHeads, numKvHeads, condition, side, vocabSize }: GptConfig): string {
  const shared = numKvHeads === numHeads ? "" : ` over ${numKvHeads} of keys and values`;
  const before =
    condition.kind === "class"
      ? `${condition.classes} classes`
      : `captions of up to ${condition.tokens} features of ${condition.width}`;
  const ids = `${side}x${side} ids of ${vocabSize}`;
  return `LlamaGen's GPT: ${depth} blocks of ${width}, ${numHeads} heads${shared}; continues ${before} with ${ids}`;
}

/** `unified transformer: 8 blocks of 384, 6 heads; reads and writes 4096 text ids and 12x12 ids of 4096; ...`. */
function describeAr({ depth, width, numHeads, numKvHeads, ...config }: ArConfig): string {
  const shared = numKvHeads === numHeads ? "" : ` over ${numKvHeads} of keys and values`;
  const side = Math.sqrt(config.imageTokens);
  const ids = `${config.textVocabSize} text ids and ${side}x${side} ids of ${config.codebookSize}`;
  const entry = `pictures enter by ${config.entry}; context of ${config.contextLength}`;
  return `unified transformer: ${depth} blocks of ${width}, ${numHeads} heads${shared}; reads and writes ${ids}; ${entry}`;
}

function describe({ format, tensors, metadata }: Checkpoint) {
  const entries = [...tensors.values()];
  const sources = new Set(entries.map(({ source }) => source));
  return {
    format,
    bytes: [...sources].reduce((sum, { byteLength }) => sum + byteLength, 0),
    files: sources.size,
    parameters: countOf(entries),
    tensors: entries.length,
    dtypes: tally(entries, ({ dtype }) => dtype),
    parts: inOrder(tally(entries, ({ name }) => PARTS.find(([, names]) => names.test(name))![0])),
    metadata,
  };
}

type Description = ReturnType<typeof describe> & Found & { readonly file: string };

function countOf(entries: readonly TensorEntry[]): number {
  return entries.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

/** Parameters by a property of their tensors. */
function tally(entries: readonly TensorEntry[], key: (entry: TensorEntry) => string): Record<string, number> {
  const counts = new Map<string, number>();
  for (const entry of entries) counts.set(key(entry), (counts.get(key(entry)) ?? 0) + sizeOf(entry.shape));
  return Object.fromEntries(counts);
}

/** The parts in the order in which a picture meets them, not in the file's. */
function inOrder(counts: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(PARTS.flatMap(([part]) => (counts[part] === undefined ? [] : [[part, counts[part]]])));
}

function page({
  file,
  format,
  bytes,
  files,
  config,
  model,
  problem,
  parameters,
  tensors,
  dtypes,
  parts,
  metadata,
}: Description) {
  const counts = (record: Readonly<Record<string, number>>): string[][] =>
    Object.entries(record).map(([name, count]) => [`  ${name}`, formatCount(count)]);
  return formatTable([
    ["file", file],
    ["format", files > 1 ? `${format}, ${files} files` : format],
    ["size", formatBytes(bytes)],
    ["config", config ?? "none found"],
    ...(model === undefined ? [] : [["model", model]]),
    ...(problem === undefined ? [] : [["problem", problem]]),
    ["parameters", `${formatCount(parameters)} in ${tensors} tensors`],
    ...counts(parts),
    ["dtypes", ""],
    ...counts(dtypes),
    ...Object.entries(metadata).map(([name, value]) => [`metadata ${name}`, shorten(value)]),
  ]);
}

function shorten(value: unknown): string {
  const text = (typeof value === "string" ? value : (JSON.stringify(value) ?? String(value))).replace(/\s+/g, " ");
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}... (${text.length} characters)` : text;
}

function withTensors(description: Description, { tensors }: Checkpoint, { tensors: all }: InfoFlags): object {
  if (!all) return description;
  return { ...description, list: [...tensors.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape })) };
}

function tensorTable({ tensors }: Checkpoint): string {
  return formatTable([...tensors.values()].map(({ name, dtype, shape }) => [name, dtype, `[${shape.join(", ")}]`]));
}
