/** What becomes of an evaluation: a table or JSON on standard output, `evaluation.json` and `report.html` in a folder. */
import { readdir, rm } from "node:fs/promises";
import path from "node:path";
import { ToklipError } from "../core/index.ts";
import { type Evaluation, evaluationJson, evaluationReport, evaluationText } from "../evaluation/index.ts";
import { writeTogether } from "../files/index.ts";
import { openAtomicFile } from "../node/atomic-file.ts";
import { readError } from "../node/file-errors.ts";
import { makeFolder } from "../node/make-folder.ts";
import type { CliContext } from "./context.ts";

/** What the flags say of the result. */
export interface OutputFlags {
  readonly out?: string;
  readonly features?: string;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

const FEATURES = "features";
const FILES = ["evaluation.json", "report.html"] as const;

/**
 * Makes `--out` ready before the work begins, and says where features are kept; undefined where nothing is to be kept.
 * @throws FILE_EXISTS where it holds something, without `--resume` (which goes on) or `--overwrite` (which begins anew);
 * FILE_WRITE_FAILED
 */
export async function checkEvaluationFolder(flags: OutputFlags): Promise<string | undefined> {
  const { out, features, resume = false, overwrite = false } = flags;
  if (resume && out === undefined && features === undefined) {
    throw new ToklipError("USAGE", "--resume goes on in a folder: name it with --out or --features");
  }
  if (out === undefined) return features;
  const held = await namesIn(out);
  if (held.length > 0 && !resume && !overwrite) {
    throw new ToklipError("FILE_EXISTS", `${out}: is not empty (--resume goes on there, --overwrite begins anew)`);
  }
  if (overwrite && !resume) await rm(path.join(out, FEATURES), { recursive: true, force: true });
  await makeFolder(out);
  return features ?? path.join(out, FEATURES);
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (thrown) {
    if ((thrown as { code?: string }).code === "ENOENT") return [];
    throw readError(thrown, folder);
  }
}

/**
 * Prints an evaluation, and with `--out` writes its two files, both or none.
 * @throws FILE_WRITE_FAILED
 */
export async function writeEvaluation(
  evaluation: Evaluation,
  { out, json = false }: OutputFlags,
  { stdout }: Pick<CliContext, "stdout">,
): Promise<void> {
  if (out !== undefined) {
    const contents = [`${JSON.stringify(evaluationJson(evaluation), undefined, 2)}\n`, evaluationReport(evaluation)];
    const open = (name: string) => openAtomicFile(path.join(out, name), { overwrite: true });
    await writeTogether(open, FILES, async (sinks) => {
      for (const [i, sink] of sinks.entries()) await sink.write(new TextEncoder().encode(contents[i]));
    });
  }
  await stdout.line(json ? JSON.stringify(evaluationJson(evaluation)) : evaluationText(evaluation));
  if (out !== undefined && !json) await stdout.line(`\n${path.join(out, FILES[1])}`);
}
