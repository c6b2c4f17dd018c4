/**
 * The command tree, and the one place where what went wrong becomes a line on stderr and an exit status:
 * 0 ok, 1 failure, 2 usage, 130 interrupted.
 *
 * Only the file of the verb that was asked for is loaded, so `toklip --help` is quick.
 */
import { createRequire } from "node:module";
import { Command, CommanderError } from "commander";
import { messageOf, ToklipError } from "../core/index.ts";
import type { CliContext, RunVerb } from "./context.ts";

interface VerbModule {
  /** @param args what follows the verb, for verbs that load no more than the subcommand that was asked for */
  define(command: Command, run: RunVerb, args: readonly string[]): void | Promise<void>;
}

interface Verb {
  readonly summary: string;
  readonly load: () => Promise<VerbModule>;
}

/** One row a verb, in the order of `--help`. */
export const VERBS: Readonly<Record<string, Verb>> = {
  tokenize: { summary: "turn pictures into image ids", load: () => import("./tokenize.ts") },
  reconstruct: {
    summary: "turn ids, or pictures by way of their ids, back into pictures",
    load: () => import("./reconstruct.ts"),
  },
  show: { summary: "make a page of pictures, their ids, labels and reconstructions", load: () => import("./show.ts") },
  embed: { summary: "turn pictures or texts into feature vectors", load: () => import("./embed.ts") },
  classify: { summary: "choose among labels, zero-shot", load: () => import("./classify.ts") },
  caption: { summary: "tell what pictures show, in words", load: () => import("./caption.ts") },
  generate: { summary: "make pictures of a text, a class or a caption", load: () => import("./generate.ts") },
  info: { summary: "show what a checkpoint holds", load: () => import("./info.ts") },
  convert: { summary: "write a checkpoint as .safetensors", load: () => import("./convert.ts") },
  export: { summary: "write a model as ONNX files", load: () => import("./export.ts") },
  train: { summary: "train a TokLIP, its teacher or its VQ", load: () => import("./train.ts") },
  eval: { summary: "measure how well a model labels, retrieves and reconstructs", load: () => import("./eval.ts") },
  init: { summary: "make a checkpoint of random weights", load: () => import("./init.ts") },
  download: { summary: "fetch a model from the hub into the cache", load: () => import("./download.ts") },
};

const HELP = `
Examples, with toklip-mini, the model that comes with the package:
  $ toklip show icons
  $ toklip classify icon.png --labels @animals
  $ toklip tokenize icons --out ids.jsonl
  $ toklip reconstruct ids.jsonl --out pictures

With the released weights (--model wherever a model is used):
  $ toklip download TencentARC/TokLIP/TokLIP_S_256.pt
  $ toklip tokenize photos --model TencentARC/TokLIP/TokLIP_S_256.pt --out ids.jsonl

Data goes to standard output, everything else to standard error.
Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.`;

/** Runs the command line on arguments (without node and the script). Gives the exit status; never rejects. */
export async function runProgram(args: readonly string[], context: CliContext): Promise<number> {
  let status = 0;
  let asked: Command | undefined;
  const run: RunVerb = async (work) => {
    status = await work(context);
  };
  try {
    const program = await buildProgram(args, context, run, (command) => {
      asked = command;
    });
    await program.parseAsync(args, { from: "user" });
    return status;
  } catch (thrown) {
    return report(thrown, context, asked);
  }
}

async function buildProgram(
  args: readonly string[],
  { stdout, stderr }: CliContext,
  run: RunVerb,
  onAsked: (command: Command) => void,
): Promise<Command> {
  const program = new Command("toklip")
    .description("TokLIP visual tokenizer: pictures to discrete ids that mean something, and back to pixels")
    .version(version(), "-v, --version")
    .configureOutput({
      writeOut: (text) => void stdout.write(text).catch(() => {}),
      writeErr: (text) => void stderr.write(text).catch(() => {}),
      outputError: () => {}, // `report` tells
      getOutHelpWidth: () => stdout.stream.columns ?? 100,
      getErrHelpWidth: () => stderr.stream.columns ?? 100,
    })
    .exitOverride()
    .addHelpText("after", HELP);
  const [first, second] = args.filter((arg) => !arg.startsWith("-"));
  const verb = first === "help" ? second : first;
  for (const [name, { summary, load }] of Object.entries(VERBS)) {
    const command = program
      .command(name)
      .summary(summary)
      .description(`${summary[0]!.toUpperCase()}${summary.slice(1)}.`);
    if (name !== verb) continue;
    onAsked(command);
    await (await load()).define(command, run, args.slice(args.indexOf(name) + 1));
  }
  return program;
}

function version(): string {
  const { version } = createRequire(import.meta.url)("../../package.json") as { version: string };
  return version;
}

/** Prints what went wrong, if anything did, and gives the exit status. */
async function report(
  thrown: unknown,
  { stdout, stderr, signal }: CliContext,
  asked: Command | undefined,
): Promise<number> {
  if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0; // --help, --version
  if (stdout.closed && !signal.aborted) return 0; // the reader has what it wanted
  const error = asToklipError(thrown);
  const advice = error.code === "USAGE" ? `see toklip ${asked ? `${asked.name()} ` : ""}--help` : error.advice;
  if (!(thrown instanceof CommanderError && thrown.code === "commander.help")) {
    await stderr.line(`toklip: ${error.message}; ${advice}`).catch(() => {});
  }
  if (signal.aborted) return 130;
  return error.code === "USAGE" ? 2 : 1;
}

function asToklipError(thrown: unknown): ToklipError {
  if (thrown instanceof ToklipError) return thrown;
  if (thrown instanceof CommanderError) {
    return new ToklipError("USAGE", messageOf(thrown).replace(/^error: /, ""), { cause: thrown });
  }
  return new ToklipError("INTERNAL", messageOf(thrown), { cause: thrown });
}
