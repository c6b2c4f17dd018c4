/**
 * The file of ids that `tokenize --out` writes, and how an interrupted run finds its place in it again.
 *
 * While a run is unfinished, `<out>.unfinished.json` beside it says which model and options it runs with. A run is
 * continued by reading the whole lines that are there, cutting off a torn last one, and skipping the pictures they name.
 */
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { messageOf, ToklipError } from "../core/index.ts";
import { type IdsLine, parseIdsLine } from "../pipelines/ids-line.ts";
import type { PictureResult } from "../pipelines/pictures.ts";
import { readLines } from "./text-lines.ts";

/** How a line of ids begins: a torn last line must, or the file is not ours to cut. */
const LINE_START = '{"file":';

/** What an earlier run left. */
export interface IdsSoFar {
  /** The pictures that have a line, in the lines' order. */
  readonly done: ReadonlySet<string>;
  /** The length of the whole lines in bytes: where the next line goes. */
  readonly bytes: number;
  /** The first line, to compare with the model. */
  readonly first?: IdsLine;
}

/**
 * Reads what an earlier run wrote; nothing where there is no file. Changes nothing.
 * @throws FILE_CORRUPT naming the line that is not a line of ids
 */
export async function readIdsSoFar(
  file: string,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<IdsSoFar> {
  const done = new Set<string>();
  if (!(await exists(file))) return { done, bytes: 0 };
  let bytes = 0;
  let first: IdsLine | undefined;
  for await (const { text, number, end, whole } of readLines(file, options)) {
    if (!whole && isTorn(text)) break;
    const line = parseIdsLine(text, `${file}:${number}`);
    if (!whole) break; // complete but for its line end: made again, so that the end is as written by us
    if (done.has(line.file))
      throw new ToklipError("FILE_CORRUPT", `${file}:${number}: ${line.file} has a line already`);
    done.add(line.file);
    first ??= line;
    bytes = end;
  }
  return { done, bytes, ...(first && { first }) };
}

function isTorn(text: string): boolean {
  const length = Math.min(text.length, LINE_START.length);
  return text.slice(0, length) === LINE_START.slice(0, length);
}

/**
 * Yields the lines of a file of ids for `reconstruct`; a line that is not one comes as `{ file: "name:line", error }`.
 * @throws FILE_NOT_FOUND, ABORTED
 */
export async function* readIdsFile(
  file: string,
  options: { signal?: AbortSignal | undefined } = {},
): AsyncGenerator<PictureResult<IdsLine>, void, undefined> {
  for await (const { text, number } of readLines(file, options)) {
    if (text.trim() === "") continue;
    const where = `${file}:${number}`;
    try {
      yield parseIdsLine(text, where);
    } catch (error) {
      if (!(error instanceof ToklipError)) throw error;
      yield { file: where, error };
    }
  }
}

/** What must stay the same when a run is continued, by name: the model, the sizes, the preprocessing. */
export type RunSettings = Readonly<Record<string, unknown>>;

/** The note beside an unfinished `--out` file. */
export class UnfinishedNote {
  readonly path: string;
  private readonly out: string;

  constructor(out: string) {
    this.out = out;
    this.path = `${out}.unfinished.json`;
  }

  /** Whether there is an unfinished run. */
  exists(): Promise<boolean> {
    return exists(this.path);
  }

  /** Notes that a run has begun. @throws FILE_WRITE_FAILED */
  async write(settings: RunSettings): Promise<void> {
    try {
      await writeFile(this.path, `${JSON.stringify(settings)}\n`);
    } catch (error) {
      throw new ToklipError("FILE_WRITE_FAILED", `${this.path}: ${messageOf(error)}`, { cause: error });
    }
  }

  /**
   * Checks that the unfinished run, if there is one, had these settings.
   * @throws RESUME_MISMATCH naming the first that differs
   */
  async check(settings: RunSettings): Promise<void> {
    const before = await this.read();
    if (before === undefined) return;
    for (const [name, value] of Object.entries(settings)) {
      const [was, is] = [JSON.stringify(before[name]), JSON.stringify(value)];
      if (was === is) continue;
      const message = `${this.out}: was begun with ${name} ${was ?? "unset"}, this run has ${is ?? "unset"}`;
      throw new ToklipError("RESUME_MISMATCH", message);
    }
  }

  /** Notes that the run has ended. */
  async remove(): Promise<void> {
    await rm(this.path, { force: true });
  }

  private async read(): Promise<RunSettings | undefined> {
    if (!(await this.exists())) return undefined;
    try {
      const json: unknown = JSON.parse(await readFile(this.path, "utf8"));
      if (typeof json === "object" && json !== null) return json as RunSettings;
    } catch {
      // A note torn by a power cut says nothing; the first line is still compared with the model.
    }
    return undefined;
  }
}

function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
