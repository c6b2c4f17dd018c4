/** What data sets need of the platform: files, folders and addresses. The platform brings it in. */
import type { ByteSource } from "../core/index.ts";

/** Files as a platform has them. Paths are strings that only the platform takes apart. */
export interface DataFiles {
  /** What the names of pictures end in, in lower case with the dot: `".jpg"`. */
  readonly pictureExtensions: ReadonlySet<string>;
  /** Opens a file for reading at any place. @throws FILE_NOT_FOUND, FILE_READ_FAILED */
  open(path: string): Promise<ByteSource>;
  /** The bytes of a whole file. @throws FILE_NOT_FOUND, FILE_READ_FAILED, FILE_CORRUPT, ABORTED */
  read(path: string, signal?: AbortSignal): Promise<Uint8Array>;
  /**
   * The files below a folder, at any depth, whose names end in one of the extensions (in either case): paths relative to
   * it with `/` between the parts, in the plain order of these strings. Hidden files and links are left out.
   * @throws FILE_NOT_FOUND, FILE_READ_FAILED, ABORTED
   */
  list(folder: string, extensions: ReadonlySet<string>, signal?: AbortSignal): Promise<string[]>;
  /** A short text that changes when the file does. @throws FILE_NOT_FOUND, FILE_READ_FAILED */
  stamp(path: string): Promise<string>;
  /** The bytes behind an http(s) address. @throws DOWNLOAD_FAILED, ABORTED */
  fetch(url: string, signal?: AbortSignal): Promise<Uint8Array>;
  /** The path of `name` seen from a folder; `name` itself where it is absolute. */
  resolve(folder: string, name: string): string;
  /** The folder that a file lies in. */
  folderOf(path: string): string;
}

const ADDRESS = /^https?:\/\//i;

/** Whether a picture is named by an http(s) address and not by a path. */
export function isAddress(name: string): boolean {
  return ADDRESS.test(name);
}

/**
 * The bytes of a picture that is named by a path, relative to `folder` or absolute, or by an http(s) address.
 * @throws as `DataFiles.read` and `DataFiles.fetch`
 */
export function readPicture(files: DataFiles, folder: string, name: string, signal?: AbortSignal): Promise<Uint8Array> {
  return isAddress(name) ? files.fetch(name, signal) : files.read(files.resolve(folder, name), signal);
}
