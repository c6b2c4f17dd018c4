/**
 * Folders made where they are not there, with those above them. Node's own recursive `mkdir` never returns where a file
 * system says "no such folder" below a folder that exists, as /proc does; here each folder is made by itself.
 */
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { ToklipError } from "../core/index.ts";
import { writeError } from "./file-errors.ts";

/**
 * Makes a folder, and those above it, where it is not there.
 * @throws FILE_WRITE_FAILED
 */
export async function makeFolder(folder: string): Promise<void> {
  if (await isFolder(folder)) return;
  const above = dirname(folder);
  if (above !== folder) await makeFolder(above);
  try {
    await mkdir(folder);
  } catch (thrown) {
    if ((thrown as { code?: string }).code !== "EEXIST") throw writeError(thrown, folder);
    // Another process may have been quicker.
    if (!(await isFolder(folder))) throw new ToklipError("FILE_WRITE_FAILED", `${folder}: is not a folder`);
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
