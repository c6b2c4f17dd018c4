/** `toklip export`: a model -> ONNX files with a manifest. */
import type { Command } from "commander";
import type { CliContext, RunVerb } from "./context.ts";
import { addOverwriteOption, addReportOptions, MODEL_SOURCE, type ReportFlags } from "./model-options.ts";
import { Progress } from "./progress.ts";

interface ExportFlags extends ReportFlags {
  readonly out: string;
  readonly config?: string;
  readonly download?: boolean;
  readonly overwrite?: boolean;
}

const HELP = `
Writes one .onnx file for each part of the model and a manifest.json that says what goes in and comes out of each. They
run in any ONNX Runtime.

Examples:
  $ toklip export TokLIP_S_256.pt --out onnx
  $ toklip export model.safetensors --config config.json --out onnx`;

/** Adds the verb's arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command
    .argument("<model>", MODEL_SOURCE)
    .requiredOption("--out <folder>", "where the files go; made if it is not there")
    .option("--config <config>", "a built-in name or a JSON file (default: found with the checkpoint)")
    .option("--download", "download a hub name that is not in the cache");
  addReportOptions(addOverwriteOption(command))
    .addHelpText("after", HELP)
    .action((model: string, flags: ExportFlags) => run((context) => exportModel(context, model, flags)));
}

async function exportModel(context: CliContext, source: string, flags: ExportFlags): Promise<number> {
  const { engine, signal, stdout } = context;
  const progress = new Progress(context, flags);
  try {
    const { files } = await engine.exportOnnx({
      source,
      out: flags.out,
      download: flags.download ?? false,
      ...(flags.config !== undefined && { config: flags.config }),
      ...(flags.overwrite !== undefined && { overwrite: flags.overwrite }),
      signal,
      onProgress: progress.report,
    });
    progress.stop();
    for (const file of files) await stdout.line(flags.json ? JSON.stringify({ file }) : file);
    return 0;
  } finally {
    progress.stop();
  }
}
