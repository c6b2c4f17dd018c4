/** A file that nobody else sees: it has no name from its beginning on, where the system allows it, and so leaves nothing. */
import { randomBytes } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ScratchFile } from "../evaluation/ordered-rows.ts";
import { readError, writeError } from "./file-errors.ts";
import { makeFolder } from "./make-folder.ts";

/** Makes a file in a folder. @throws FILE_WRITE_FAILED */
export async function createScratchFile(folder: string): Promise<ScratchFile> {
  await makeFolder(folder);
  const path = join(folder, `.scratch-${randomBytes(8).toString("hex")}`);
  try {
    const handle = await open(path, "wx+", 0o600);
    await rm(path).catch(() => undefined); // Windows keeps the name until it is closed
    return new UnnamedFile(path, handle);
  } catch (thrown) {
    throw writeError(thrown, path);
  }
}

class UnnamedFile implements ScratchFile {
  private readonly path: string;
  private readonly handle: FileHandle;
  private end = 0;

  constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.handle = handle;
  }

  async append(bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.byteLength; ) {
        at += (await this.handle.write(bytes, at, bytes.byteLength - at, this.end + at)).bytesWritten;
      }
      this.end += bytes.byteLength;
    } catch (thrown) {
      throw writeError(thrown, this.path);
    }
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    try {
      for (let at = 0; at < length; ) {
        const { bytesRead } = await this.handle.read(bytes, at, length - at, offset + at);
        if (bytesRead === 0) throw new Error(`ends before byte ${offset + length}`);
        at += bytesRead;
      }
      return bytes;
    } catch (thrown) {
      throw readError(thrown, this.path);
    }
  }

  async close(): Promise<void> {
    await this.handle.close();
    await rm(this.path, { force: true }).catch(() => undefined);
  }
}
