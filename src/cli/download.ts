/** `toklip download`: a hub name -> a file in the cache. */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import type { CliContext, RunVerb } from "./context.ts";
import { addReportOptions, type ReportFlags } from "./model-options.ts";
import { Progress } from "./progress.ts";

const HELP = `
Prints where the file lies. An interrupted download goes on where it stopped. Other verbs then take the same name, and
download nothing unless they are given --download.

Examples:
  $ toklip download TencentARC/TokLIP/TokLIP_S_256.pt
  $ toklip tokenize photo.jpg --model TencentARC/TokLIP/TokLIP_S_256.pt`;

/** Adds the verb's arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  addReportOptions(command.argument("<name>", "owner/repo/file"))
    .addHelpText("after", HELP)
    .action((name: string, flags: ReportFlags) => run((context) => download(context, name, flags)));
}

async function download(context: CliContext, name: string, flags: ReportFlags): Promise<number> {
  const { engine, signal, stdout } = context;
  const progress = new Progress(context, flags);
  try {
    if (existsSync(name)) progress.note(`${name} is a file here already`);
    const path = await engine.locate(name, { download: true, signal, onProgress: progress.report });
    progress.stop();
    await stdout.line(flags.json ? JSON.stringify({ name, path }) : path);
    return 0;
  } finally {
    progress.stop();
  }
}
