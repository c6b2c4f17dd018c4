/** `toklip eval`: figures, tables and pictures that say how good a model is. Each evaluation has a file of its own. */
import type { Command } from "commander";
import type { EvaluationTask } from "../evaluation/index.ts";
import type { RunVerb } from "./context.ts";

interface EvaluationVerb {
  readonly summary: string;
  readonly load: () => Promise<{ define(command: Command, run: RunVerb): void }>;
}

/** One row an evaluation, in the order of `--help`. */
export const EVALUATIONS: Readonly<Record<EvaluationTask, EvaluationVerb>> = {
  zeroshot: { summary: "choose among the names of classes", load: () => import("./eval-zeroshot.ts") },
  retrieval: {
    summary: "find captions of pictures, and pictures of captions",
    load: () => import("./eval-retrieval.ts"),
  },
  reconstruction: {
    summary: "bring pictures back from their ids",
    load: () => import("./eval-reconstruction.ts"),
  },
  "linear-probe": {
    summary: "classify by logistic regression on the features",
    load: () => import("./eval-linear-probe.ts"),
  },
  knn: { summary: "classify by the nearest pictures of known classes", load: () => import("./eval-knn.ts") },
};

const HELP = `
Every evaluation prints its figures (--json: one JSON object; --quiet: no progress) and with --out FOLDER writes
evaluation.json and report.html, a page that needs nothing else. What the model made of pictures is kept in that folder, so
that an interrupted evaluation goes on with --resume; --features FOLDER lets evaluations of a model share it.

Examples:
  $ toklip eval zeroshot photos --labels-file labels.txt --out reports/photos
  $ toklip eval retrieval captions.jsonl --model TokLIP_S_256.pt
  $ toklip eval reconstruction photos --out reports/reconstruction
  $ toklip eval linear-probe train val --features features
  $ toklip eval zeroshot --help     its options, and how label files look`;

/** Adds the verb's subcommands; loads the file of the one that was asked for. */
export async function define(command: Command, run: RunVerb, args: readonly string[]): Promise<void> {
  command.addHelpText("after", HELP);
  const asked = args.find((arg) => Object.hasOwn(EVALUATIONS, arg));
  for (const [name, { summary, load }] of Object.entries(EVALUATIONS)) {
    const evaluation = command
      .command(name)
      .summary(summary)
      .description(`${summary[0]!.toUpperCase()}${summary.slice(1)}.`);
    if (name === asked) (await load()).define(evaluation, run);
  }
}
