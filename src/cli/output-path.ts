/** Output paths: looked at before long work, so that it does not fail at its end, and written whole. */
import { constants } from "node:fs";
import { access, mkdir, stat } from "node:fs/promises";
import path from "node:path";
import { messageOf, ToklipError } from "../core/index.ts";
import { openAtomicFile } from "../node/atomic-file.ts";

/**
 * Checks that a file can be made or replaced at a path.
 * @throws FILE_WRITE_FAILED
 */
export async function checkFolderOf(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined);
  if (found?.isDirectory()) throw new ToklipError("FILE_WRITE_FAILED", `${file}: is a folder, not a file`);
  try {
    await access(path.dirname(file), constants.W_OK);
  } catch (error) {
    throw new ToklipError("FILE_WRITE_FAILED", `${file}: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * Makes a folder, and those above it, where it is not there.
 * @throws FILE_WRITE_FAILED
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw new ToklipError("FILE_WRITE_FAILED", `${folder}: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * Writes a file that appears whole or not at all.
 * @throws FILE_WRITE_FAILED
 */
export async function writeWhole(file: string, bytes: Uint8Array): Promise<void> {
  const sink = await openAtomicFile(file);
  try {
    await sink.write(bytes);
    await sink.commit();
  } catch (error) {
    await sink.abort();
    throw error;
  }
}
