/** What the evaluations share on the command line: options, the session, and what becomes of the result. */
import type { Command } from "commander";
import type { Evaluation, EvaluationSession } from "../evaluation/index.ts";
import type { CliContext } from "./context.ts";
import { checkEvaluationFolder, writeEvaluation } from "./eval-output.ts";
import {
  addModelOptions,
  addOverwriteOption,
  addPictureOptions,
  addReportOptions,
  addTokenizerOption,
  loadOptions,
  type ModelFlags,
  type PictureFlags,
  parseShare,
  type ReportFlags,
} from "./model-options.ts";
import { Progress } from "./progress.ts";

/** What `addEvaluationOptions` reads. */
export interface EvaluationFlags extends ModelFlags, PictureFlags, ReportFlags {
  readonly out?: string;
  readonly features?: string;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
  readonly badLimit: number;
}

/** What `addDataOptions` reads. */
export interface DataFlags {
  readonly imageColumn?: string;
  readonly labelColumn?: string;
  readonly captionColumn?: string;
  readonly imageRoot?: string;
}

/** Adds the options that every evaluation has. */
export function addEvaluationOptions(command: Command): Command {
  addPictureOptions(addTokenizerOption(addModelOptions(command)))
    .option("--out <folder>", "write evaluation.json and report.html there")
    .option("--features <folder>", "keep features there, for evaluations to share (default: <out>/features)")
    .option("--resume", "go on with what an interrupted evaluation left in --out")
    .option("--bad-limit <share>", "the largest share of samples that may be unusable", parseShare, 0.1);
  return addReportOptions(addOverwriteOption(command), "print the evaluation as one JSON object, without pictures");
}

/** Adds the options that say which columns of a table hold what. */
export function addDataOptions(command: Command): Command {
  return command
    .option("--image-column <name>", "column of the pictures' paths (default: filepath, image, file, path, ...)")
    .option("--label-column <name>", "column of the classes (default: concept, label)")
    .option("--caption-column <name>", "column of the captions (default: title, caption, text, ...)")
    .option("--image-root <folder>", "what relative paths are relative to (default: the table's folder)");
}

/**
 * Opens a session, runs an evaluation in it, prints its table and writes its report.
 * @throws FILE_EXISTS before any work, where `--out` holds something
 */
export async function runEvaluation(
  context: CliContext,
  flags: EvaluationFlags,
  evaluate: (session: EvaluationSession, progress: Progress) => Promise<Evaluation>,
): Promise<number> {
  const features = await checkEvaluationFolder(flags);
  const progress = new Progress(context, flags);
  const { batch, resize, exif, background, maxPixels, strict = false, badLimit } = flags;
  try {
    const session = await context.engine.openEvaluation({
      model: flags.model,
      load: loadOptions(flags),
      features,
      batch,
      resize,
      exif,
      background,
      maxPixels,
      badLimit: strict ? { count: 0 } : { fraction: badLimit },
      warn: (message) => progress.warn(message),
      signal: context.signal,
      onProgress: progress.report,
    });
    try {
      const evaluation = await evaluate(session, progress);
      const settings = { ...session.settings, ...evaluation.settings };
      progress.stop();
      await writeEvaluation({ ...evaluation, settings }, flags, context);
    } finally {
      await session.close();
    }
    return 0;
  } finally {
    progress.stop();
  }
}
