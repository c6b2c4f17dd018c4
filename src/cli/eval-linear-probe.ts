/** `toklip eval linear-probe`: can classes be told apart by planes through the image features? */
import type { Command } from "commander";
import { evaluateLinearProbe } from "../evaluation/index.ts";
import type { CliContext, RunVerb } from "./context.ts";
import {
  addDataOptions,
  addEvaluationOptions,
  type DataFlags,
  type EvaluationFlags,
  runEvaluation,
} from "./eval-run.ts";
import { parseCount, parseSeed } from "./model-options.ts";

interface ProbeFlags extends EvaluationFlags, DataFlags {
  readonly seed: number;
  readonly maxIterations: number;
}

const HELP = `
Logistic regression on frozen features, as CLIP measures it: the penalty is chosen on a fifth of the training pictures, then
all of them are fitted. The table of penalties in the report shows how much the choice mattered.

Examples:
  $ toklip eval linear-probe train val --model TokLIP_S_256.pt --out reports/probe
  $ toklip eval linear-probe train.csv test.csv --label-column class --model TokLIP_S_256.pt`;

/** Adds the arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command
    .argument("<train>", "pictures to learn from: a folder of folders, a table, or shards {00..07}.tar")
    .argument("<test>", "pictures to ask about");
  addDataOptions(addEvaluationOptions(command))
    .option("--seed <n>", "decides which training pictures the penalty is chosen on", parseSeed, 0)
    .option("--max-iterations <n>", "steps of a fit at most", parseCount, 200)
    .addHelpText("after", HELP)
    .action((train: string, test: string, flags: ProbeFlags) => run((context) => probe(context, train, test, flags)));
}

function probe(context: CliContext, train: string, test: string, flags: ProbeFlags): Promise<number> {
  const { seed, maxIterations } = flags;
  const { signal } = context;
  return runEvaluation(context, flags, async (session, { report }) => {
    const data = { train: await session.openData(train, flags), test: await session.openData(test, flags) };
    return evaluateLinearProbe(session, { ...data, seed, maxIterations, signal, onProgress: report });
  });
}
