/** `toklip init`: a configuration and a seed -> a checkpoint of random weights. */
import { type Command, Option } from "commander";
import { ToklipError } from "../core/index.ts";
import type { CliContext, InitRequest, RunVerb } from "./context.ts";
import { addOverwriteOption, addReportOptions, parseSeed, type ReportFlags } from "./model-options.ts";
import { formatBytes, formatCount } from "./output.ts";
import { checkOutput } from "./output-path.ts";
import { Progress } from "./progress.ts";

interface InitFlags extends ReportFlags, Pick<InitRequest, "config" | "seed" | "out" | "precision" | "overwrite"> {}

const HELP = `
For benchmarks, and to start a training from. The same configuration and seed give the same file.

Examples:
  $ toklip init --config ViT-SO400M-16-SigLIP2-256-toklip --seed 1 --out random.safetensors
  $ toklip init --config tiny.json --seed 1 --out tiny.safetensors --precision fp16`;

/** Adds the verb's options and action. */
export function define(command: Command, run: RunVerb): void {
  command
    .requiredOption("--config <config>", "a built-in name or a JSON file")
    .requiredOption("--seed <n>", "a whole number from 0 to 4294967295", parseSeed)
    .requiredOption("--out <file>", "the .safetensors file to write")
    .addOption(new Option("--precision <precision>", "of the weights").choices(["fp32", "fp16"]).default("fp32"));
  addOverwriteOption(command);
  addReportOptions(command)
    .addHelpText("after", HELP)
    .action((flags: InitFlags) => run((context) => init(context, flags)));
}

async function init(context: CliContext, { json, quiet, ...request }: InitFlags): Promise<number> {
  if (!request.out.endsWith(".safetensors")) {
    throw new ToklipError("USAGE", `${request.out}: the output must end in .safetensors`);
  }
  await checkOutput(request.out, request);
  const progress = new Progress(context, { quiet });
  try {
    const options = { signal: context.signal, onProgress: progress.report };
    const { parameters, bytes } = await context.engine.initCheckpoint({ ...request, ...options });
    progress.stop();
    const { out } = request;
    const text = `${out}: ${formatCount(parameters)} parameters, ${formatBytes(bytes)}`;
    await context.stdout.line(json ? JSON.stringify({ out, parameters, bytes }) : text);
    return 0;
  } finally {
    progress.stop();
  }
}
