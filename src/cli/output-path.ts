/** Output paths: looked at before long work, so that it does not fail at its end, and written whole. */
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import path from "node:path";
import { messageOf, ToklipError } from "../core/index.ts";
import { openAtomicFile } from "../node/atomic-file.ts";

export interface OverwriteOptions {
  /** Lets what is there be replaced. Default false. */
  readonly overwrite?: boolean | undefined;
}

/**
 * Checks that a file can be made at a path.
 * @throws FILE_EXISTS, FILE_WRITE_FAILED
 */
export async function checkOutput(file: string, { overwrite = false }: OverwriteOptions): Promise<void> {
  const found = await stat(file).catch(() => undefined);
  if (found?.isDirectory()) throw new ToklipError("FILE_WRITE_FAILED", `${file}: is a folder, not a file`);
  if (found && !overwrite) throw new ToklipError("FILE_EXISTS", `${file}: exists already (--overwrite replaces it)`);
  const folder = path.dirname(file);
  try {
    await access(folder, constants.W_OK);
  } catch (error) {
    throw new ToklipError("FILE_WRITE_FAILED", `${file}: ${messageOf(error)}`, { cause: error });
  }
  if (!(await stat(folder)).isDirectory()) {
    throw new ToklipError("FILE_WRITE_FAILED", `${file}: ${folder} is not a folder`);
  }
}

/**
 * Writes a file that appears whole or not at all.
 * @throws FILE_EXISTS, FILE_WRITE_FAILED
 */
export async function writeWhole(file: string, bytes: Uint8Array, options: OverwriteOptions = {}): Promise<void> {
  const sink = await openAtomicFile(file, options);
  try {
    await sink.write(bytes);
    await sink.commit();
  } catch (error) {
    await sink.abort();
    throw error;
  }
}
