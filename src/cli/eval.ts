/** `toklip eval`: figures, tables and pictures that say how good a model is. Each evaluation has a file of its own. */
import type { Command } from "commander";
import type { EvaluationTask } from "../evaluation/index.ts";
import type { RunVerb } from "./context.ts";

interface EvaluationVerb {
  readonly summary: string;
  readonly load: () => Promise<{ define(command: Command, run: RunVerb): void }>;
}

/** One row an evaluation, in the order of `--help`. */
export const EVALUATIONS: Partial<Readonly<Record<EvaluationTask, EvaluationVerb>>> = {
  zeroshot: { summary: "choose among the names of classes", load: () => import("./eval-zeroshot.ts") },
  retrieval: {
    summary: "find captions of pictures, and pictures of captions",
    load: () => import("./eval-retrieval.ts"),
  },
  knn: { summary: "classify by the nearest pictures of known classes", load: () => import("./eval-knn.ts") },
  "linear-probe": {
    summary: "classify by logistic regression on the features",
    load: () => import("./eval-linear-probe.ts"),
  },
  reconstruction: {
    summary: "bring pictures back from their ids",
    load: () => import("./eval-reconstruction.ts"),
  },
};

const HELP = `
Every evaluation prints a table (--json: one JSON object; --quiet: no progress) and writes evaluation.json and a self-contained report.html with
--out FOLDER. Features of pictures are kept in it, so that an interrupted evaluation goes on with --resume; --features FOLDER
lets evaluations share them.

Examples:
  $ toklip eval zeroshot photos --labels labels.txt --model TokLIP_S_256.pt --out reports/photos
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
