/** `toklip eval zeroshot`: does a picture's feature lie nearest to the name of its class? */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { type Command, Option } from "commander";
import { ToklipError } from "../core/index.ts";
import { evaluateZeroshot, type LabelSet, parseLabels } from "../evaluation/index.ts";
import { readError } from "../node/file-errors.ts";
import type { RunVerb } from "./context.ts";
import {
  addDataOptions,
  addEvaluationOptions,
  type DataFlags,
  type EvaluationFlags,
  runEvaluation,
} from "./eval-run.ts";
import { readTemplates, splitLabels } from "./label-options.ts";
import { collect } from "./model-options.ts";

interface ZeroshotFlags extends EvaluationFlags, DataFlags {
  readonly labels?: string;
  readonly labelsFile?: string;
  readonly templates?: string;
  readonly subset?: readonly string[];
  readonly ignoreUnknown?: boolean;
}

const HELP = `
The class of a picture is the name of its folder, the concept or label of its row, or its caption. A label file has a
class a line, as the data name it; after a tab, what prompts call it, several names separated by commas:
  tabby cat
  n02123045<TAB>tabby,tabby cat
JSON will do as well: ["tabby cat", "fox"] or {"n02123045": ["tabby", "tabby cat"]}.

A subset is a label file with some of the classes: they are scored apart, their pictures named from among them alone.

Examples:
  $ toklip eval zeroshot photos --labels-file labels.txt --model TokLIP_S_256.pt --out reports/photos
  $ toklip eval zeroshot test.csv --label-column class --labels cat,dog --templates none --model model.safetensors
  $ toklip eval zeroshot imagenet/val --labels-file wnids.tsv --templates imagenet-80 --model TokLIP_S_256.pt --out in1k
  $ toklip eval zeroshot "shards/{00..07}.tar" --labels-file all.txt --subset animals.txt --model model.safetensors`;

/** Adds the arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command
    .argument("<data>", "a folder of folders, a .csv .tsv .jsonl or .parquet file, or shards {00..07}.tar")
    .addOption(
      new Option("--labels <a,b,c>", "the classes, separated by commas; @name is a set, as for classify").conflicts(
        "labelsFile",
      ),
    )
    .option("--labels-file <file>", "the classes and their names, see below")
    .option("--templates <set>", "prompt templates: simple, imagenet-80, none, or a file (default: as the model says)")
    .option("--subset <file>", "also score some of the classes apart; may be given several times", collect)
    .option("--ignore-unknown", "pass over pictures of classes that are not among the labels");
  addDataOptions(addEvaluationOptions(command))
    .addHelpText("after", HELP)
    .action((data: string, flags: ZeroshotFlags) =>
      run(async (context) => {
        const labels = await labelsOf(flags);
        const subsets = await Promise.all((flags.subset ?? []).map(readSubset));
        const templatesOf = await readTemplates({ top: 1, ...flags });
        return runEvaluation(context, flags, async (session, progress) => {
          const dataset = await session.openData(data, flags);
          return evaluateZeroshot(session, dataset, {
            labels,
            subsets,
            templates: templatesOf(session.model.config),
            ignoreUnknown: flags.ignoreUnknown ?? false,
            signal: context.signal,
            onProgress: progress.report,
          });
        });
      }),
    );
}

async function labelsOf({ labels, labelsFile }: ZeroshotFlags): Promise<LabelSet> {
  if (labelsFile !== undefined) return parseLabels(await readTextFile(labelsFile), labelsFile);
  if (labels !== undefined) return parseLabels(splitLabels(labels).join("\n"), "--labels");
  throw new ToklipError("USAGE", "eval zeroshot needs --labels or --labels-file");
}

/** A subset goes by the name of its file. */
async function readSubset(file: string): Promise<LabelSet> {
  return { ...parseLabels(await readTextFile(file), file), name: path.basename(file, path.extname(file)) };
}

async function readTextFile(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (thrown) {
    throw readError(thrown, file);
  }
}
