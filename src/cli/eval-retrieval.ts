/** `toklip eval retrieval`: do pictures find their captions, and captions their pictures? */
import type { Command } from "commander";
import { captionedPictures, evaluateRetrieval, openCaptionSet } from "../evaluation/index.ts";
import { nodeDataFiles } from "../node/data-files.ts";
import type { CliContext, RunVerb } from "./context.ts";
import { addEvaluationOptions, type EvaluationFlags, runEvaluation } from "./eval-run.ts";

interface RetrievalFlags extends EvaluationFlags {
  readonly imageRoot?: string;
  readonly split?: string;
  readonly referenceCounting?: boolean;
}

const HELP = `
The file of captions is one of
  {"images": [{"split", "filepath", "filename", "sentences": [{"raw"}]}]}    Karpathy's dataset_coco.json, dataset_flickr30k.json
  [{"image": "val2014/a.jpg", "caption": ["...", "..."]}]                    the flat list of ALBEF, BLIP and the reference
  {"image": "a.png", "captions": ["...", "..."], "groups": ["label", "tags"]}   JSON lines (.jsonl); groups may be left out
Captions of each group are also scored apart. Of equal scores, none is before the other: what counts is the share of hits
over all their orders.

Examples:
  $ toklip eval retrieval dataset_coco.json --image-root coco --model TokLIP_S_256.pt --out reports/coco
  $ toklip eval retrieval captions.jsonl --model TokLIP_S_256.pt`;

/** Adds the arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  addEvaluationOptions(command.argument("<captions>", "a .json or .jsonl file of pictures with their captions"))
    .option("--image-root <folder>", "what the pictures' paths are relative to (default: the file's folder)")
    .option("--split <name>", "which part of Karpathy's file (default: test)")
    .option("--reference-counting", "add text-to-image recall as the reference counts it, a little too high")
    .addHelpText("after", HELP)
    .action((path: string, flags: RetrievalFlags) => run((context) => retrieval(context, path, flags)));
}

async function retrieval(context: CliContext, path: string, flags: RetrievalFlags): Promise<number> {
  const { signal } = context;
  const { split, imageRoot = nodeDataFiles.folderOf(path), referenceCounting = false } = flags;
  const captions = await openCaptionSet(nodeDataFiles, path, { split, signal });
  const dataset = captionedPictures(nodeDataFiles, captions, imageRoot);
  return runEvaluation(context, flags, (session, progress) =>
    evaluateRetrieval(session, { captions, dataset, referenceCounting, signal, onProgress: progress.report }),
  );
}
