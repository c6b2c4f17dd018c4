/**
 * The folder of a run as the loop sees it: files that are made whole, files that grow, and their removal.
 * Interfaces only, the platform brings them in. Paths are relative to the folder, with `/` between their parts.
 */
import { ToklipError } from "../core/index.ts";
import type { RowStorage } from "../data/row-storage.ts";

export { type GrowingFile, writeWhole } from "../data/row-storage.ts";
export type { PictureWriter } from "../image/index.ts";

/** The folder. */
export interface RunStorage extends RowStorage {
  /** Removes a file, or a folder with all that it holds, if it is there. @throws FILE_WRITE_FAILED */
  remove(path: string): Promise<void>;
  /** Forces what a folder says of its files to disk. @throws FILE_WRITE_FAILED */
  sync(folder: string): Promise<void>;
  /** Makes sure that the folder is still this process's alone. @throws FOLDER_BUSY */
  confirm(): Promise<void>;
}

/** No file of a run that is read as a whole is larger. */
const LARGEST_TEXT_BYTES = 512 * 2 ** 20;

/**
 * The text of a file.
 * @throws FILE_NOT_FOUND, FILE_READ_FAILED; FILE_CORRUPT beyond 512 MB
 */
export async function readText(storage: RunStorage, path: string): Promise<string> {
  const source = await storage.open(path);
  try {
    if (source.byteLength > LARGEST_TEXT_BYTES) {
      throw new ToklipError("FILE_CORRUPT", `${locate(storage, path)}: ${source.byteLength} bytes are over 512 MB`);
    }
    return new TextDecoder().decode(await source.read(0, source.byteLength));
  } finally {
    await source.close?.();
  }
}

/** What to call a file of the folder in messages. */
export function locate(storage: RunStorage, path: string): string {
  return `${storage.name}/${path}`;
}
