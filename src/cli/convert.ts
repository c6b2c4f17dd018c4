/** `toklip convert`: a checkpoint -> .safetensors, whole or in shards. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { ToklipError } from "../core/index.ts";
import type { CliContext, ConvertRequest, RunVerb } from "./context.ts";
import { addOverwriteOption, addReportOptions, MODEL_SOURCE, type ReportFlags } from "./model-options.ts";
import { checkOutput } from "./output-path.ts";
import { Progress } from "./progress.ts";

interface ConvertFlags extends ReportFlags, Pick<ConvertRequest, "precision" | "only" | "weights" | "overwrite"> {
  /** In bytes. */
  readonly shardSize?: number;
  readonly download?: boolean;
}

const HELP = `
A .safetensors file opens faster than a .pt file and can hold nothing that runs. Optimizer state is left behind.

Examples:
  $ toklip convert TokLIP_S_256.pt TokLIP_S_256.safetensors
  $ toklip convert TokLIP_S_256.pt vq.safetensors --only vq
  $ toklip convert TokLIP_S_256.pt small.safetensors --precision fp16 --shard-size 2GB`;

/** Adds the verb's arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command
    .argument("<in>", MODEL_SOURCE)
    .argument("<out>", "the .safetensors file to write")
    .addOption(
      new Option("--precision <precision>", "of the weights").choices(["keep", "fp32", "fp16"]).default("keep"),
    )
    .option("--shard-size <size>", "write shards of at most this size, as 4GB or 500MB, with an index", parseSize)
    .addOption(new Option("--only <part>", "write this part alone").choices(["vq", "image", "text"]))
    .addOption(
      new Option("--weights <which>", "of a file that holds both: as trained, or their running average")
        .choices(["model", "ema"])
        .default("model"),
    )
    .option("--download", "download a hub name that is not in the cache");
  addOverwriteOption(command);
  addReportOptions(command)
    .addHelpText("after", HELP)
    .action((source: string, out: string, flags: ConvertFlags) =>
      run((context) => convert(context, source, out, flags)),
    );
}

async function convert(context: CliContext, source: string, out: string, flags: ConvertFlags): Promise<number> {
  if (!out.endsWith(".safetensors")) throw new ToklipError("USAGE", `${out}: the output must end in .safetensors`);
  await checkOutput(out, flags);
  const { engine, signal, stdout } = context;
  const progress = new Progress(context, flags);
  try {
    const options = { signal, onProgress: progress.report };
    const path = await engine.locate(source, { ...options, download: flags.download ?? false });
    const { files, overflowed } = await engine.convert({
      source: path,
      out,
      ...options,
      ...(flags.precision !== undefined && { precision: flags.precision }),
      ...(flags.only !== undefined && { only: flags.only }),
      ...(flags.weights !== undefined && { weights: flags.weights }),
      ...(flags.overwrite !== undefined && { overwrite: flags.overwrite }),
      ...(flags.shardSize !== undefined && { shardBytes: flags.shardSize }),
    });
    progress.stop();
    if (overflowed.length > 0) {
      const first = overflowed.slice(0, 3).join(", ");
      progress.warn(
        `warning: values beyond ${flags.precision}'s range became infinite in ${overflowed.length} of the tensors: ${first}`,
      );
    }
    for (const file of files) await stdout.line(flags.json ? JSON.stringify({ file }) : file);
    return 0;
  } finally {
    progress.stop();
  }
}

const SIZE_UNITS: Readonly<Record<string, number>> = { "": 1, B: 1, KB: 1e3, MB: 1e6, GB: 1e9 };

function parseSize(text: string): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text) ?? [];
  const scale = unit === undefined ? undefined : SIZE_UNITS[unit.toUpperCase()];
  const bytes = scale === undefined ? Number.NaN : Math.floor(Number(digits) * scale);
  if (bytes >= 1 && Number.isSafeInteger(bytes)) return bytes;
  throw new InvalidArgumentError("Expected a size such as 4GB or 500MB.");
}
