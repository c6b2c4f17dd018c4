/** Files of the file system as byte sources. */
import { type FileHandle, open, stat } from "node:fs/promises";
import { basename } from "node:path";
import { type ByteSource, ToklipError } from "../core/index.ts";
import { readError } from "./file-errors.ts";

/** The most that one call to the operating system may read. */
const MAX_READ_BYTES = 2 ** 30;

/**
 * Opens a file for reading at any place. Its name in messages is the file's own, without its folder.
 * @throws FILE_NOT_FOUND; FILE_READ_FAILED for a folder, a device, or a file that may not be read.
 */
export async function openFileSource(path: string): Promise<ByteSource> {
  try {
    // Opening what is no file can wait for ever (a named pipe).
    if (!(await stat(path)).isFile()) throw new ToklipError("FILE_READ_FAILED", `${path}: expected a file`);
    const handle = await open(path, "r");
    return fileSource(handle, path, (await handle.stat()).size);
  } catch (thrown) {
    throw readError(thrown, path);
  }
}

function fileSource(handle: FileHandle, path: string, byteLength: number): ByteSource {
  return {
    name: basename(path),
    path,
    byteLength,
    async read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= byteLength)) {
        throw new ToklipError(
          "FILE_CORRUPT",
          `${path}: bytes ${offset} to ${offset + length} lie outside its ${byteLength}`,
        );
      }
      const bytes = allocate(length, path);
      try {
        await fill(handle, bytes, offset, path);
      } catch (thrown) {
        throw readError(thrown, path);
      }
      return bytes;
    },
    close: () => handle.close(),
  };
}

async function fill(handle: FileHandle, bytes: Uint8Array, offset: number, path: string): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) {
    const wanted = Math.min(MAX_READ_BYTES, bytes.byteLength - at);
    const { bytesRead } = await handle.read(bytes, at, wanted, offset + at);
    if (bytesRead === 0) throw new ToklipError("FILE_CORRUPT", `${path}: became shorter while it was read`);
    at += bytesRead;
  }
}

function allocate(length: number, path: string): Uint8Array {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new ToklipError("OUT_OF_MEMORY", `${path}: ${length} bytes could not be allocated`, { cause });
  }
}
