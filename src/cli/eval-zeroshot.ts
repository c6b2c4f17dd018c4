/** `toklip eval zeroshot`: does a picture's feature lie nearest to the name of its class? */
import type { Command } from "commander";
import { ToklipError } from "../core/index.ts";
import type { RunVerb } from "./context.ts";
import {
  addDataOptions,
  addEvaluationOptions,
  type DataFlags,
  type EvaluationFlags,
  runEvaluation,
} from "./eval-run.ts";

interface ZeroshotFlags extends EvaluationFlags, DataFlags {
  readonly labels?: string;
}

/** Adds the arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command.argument("<data>", "a folder of folders, a .csv .tsv .jsonl or .parquet file, or shards {00..07}.tar");
  addDataOptions(addEvaluationOptions(command)).action((_data: string, flags: ZeroshotFlags) =>
    run((context) =>
      runEvaluation(context, flags, async () => {
        throw new ToklipError("INTERNAL", "not yet");
      }),
    ),
  );
}
