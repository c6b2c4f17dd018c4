/** `toklip eval knn`: do pictures lie nearest to pictures of their own class? */
import { type Command, InvalidArgumentError } from "commander";
import { evaluateKnn } from "../evaluation/index.ts";
import type { CliContext, RunVerb } from "./context.ts";
import {
  addDataOptions,
  addEvaluationOptions,
  type DataFlags,
  type EvaluationFlags,
  runEvaluation,
} from "./eval-run.ts";
import { parseCount } from "./model-options.ts";

interface KnnFlags extends EvaluationFlags, DataFlags {
  readonly k: readonly number[];
  readonly temperature: number;
}

const HELP = `
Each of the k training pictures nearest by cosine votes for its class with the weight exp(cosine / temperature), as DINO
does. Nothing is trained. With fewer training pictures than k there is no figure.

Examples:
  $ toklip eval knn train val --model TokLIP_S_256.pt --out reports/knn
  $ toklip eval knn train.csv test.csv --label-column class --k 1,5,20 --model TokLIP_S_256.pt`;

/** Adds the arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command
    .argument("<train>", "pictures with known classes: a folder of folders, a table, or shards {00..07}.tar")
    .argument("<test>", "pictures to classify");
  addDataOptions(addEvaluationOptions(command))
    .option("--k <k,...>", "how many neighbours vote, one measurement each", parseCounts, [10, 20])
    .option("--temperature <t>", "the lower, the more the nearest count", parsePositive, 0.07)
    .addHelpText("after", HELP)
    .action((train: string, test: string, flags: KnnFlags) => run((context) => knn(context, train, test, flags)));
}

function knn(context: CliContext, train: string, test: string, flags: KnnFlags): Promise<number> {
  const { k, temperature } = flags;
  const { signal } = context;
  return runEvaluation(context, flags, async (session, { report }) => {
    const data = { train: await session.openData(train, flags), test: await session.openData(test, flags) };
    return evaluateKnn(session, { ...data, k, temperature, signal, onProgress: report });
  });
}

function parseCounts(text: string): number[] {
  return text.split(",").map(parseCount);
}

function parsePositive(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && value > 0 && value < Number.POSITIVE_INFINITY) return value;
  throw new InvalidArgumentError("Expected a number above 0.");
}
