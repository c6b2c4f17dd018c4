/** A file that is still being downloaded: what is on disk so far, its length, and the running SHA-256 of it. */
import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { throwIfAborted } from "../core/index.ts";
import { writeError } from "./file-errors.ts";

const READ_BYTES = 1 << 20;

export class PartialFile {
  readonly path: string;
  private readonly handle: FileHandle;
  private hash: Hash = createHash("sha256");
  private length = 0;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.handle = handle;
  }

  /** Opens what an earlier download left, and hashes it; else starts an empty file. @throws FILE_WRITE_FAILED, ABORTED */
  static async open(path: string, signal?: AbortSignal): Promise<PartialFile> {
    const handle = await attempt(path, () => open(path, constants.O_RDWR | constants.O_CREAT));
    const file = new PartialFile(path, handle);
    try {
      await attempt(path, () => file.hashWhatIsThere(signal));
    } catch (thrown) {
      await file.close();
      throw thrown;
    }
    return file;
  }

  /** How many bytes it has. */
  get size(): number {
    return this.length;
  }

  /** Adds bytes at its end. @throws FILE_WRITE_FAILED */
  append(bytes: Uint8Array): Promise<void> {
    return attempt(this.path, async () => {
      for (let at = 0; at < bytes.byteLength; ) {
        at += (await this.handle.write(bytes, at, bytes.byteLength - at, this.length + at)).bytesWritten;
      }
      this.hash.update(bytes);
      this.length += bytes.byteLength;
    });
  }

  /** Empties it. @throws FILE_WRITE_FAILED */
  restart(): Promise<void> {
    return attempt(this.path, async () => {
      await this.handle.truncate(0);
      this.hash = createHash("sha256");
      this.length = 0;
    });
  }

  /** The SHA-256 of all bytes, as 64 hex digits. */
  sha256(): string {
    return this.hash.copy().digest("hex");
  }

  /** Forces it to disk and gives it its final name. @throws FILE_WRITE_FAILED */
  commit(path: string): Promise<void> {
    return attempt(path, async () => {
      await this.handle.sync();
      await this.handle.close(); // before the renaming: some systems do not rename open files
      await rename(this.path, path);
    });
  }

  /** Removes it. */
  async remove(): Promise<void> {
    await this.close();
    await rm(this.path, { force: true }).catch(() => undefined);
  }

  /** Closes it and leaves it where it is. Does nothing the second time. */
  async close(): Promise<void> {
    await this.handle.close().catch(() => undefined);
  }

  private async hashWhatIsThere(signal: AbortSignal | undefined): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    for (;;) {
      throwIfAborted(signal, this.path);
      const { bytesRead } = await this.handle.read(buffer, 0, buffer.byteLength, this.length);
      if (bytesRead === 0) return;
      this.hash.update(buffer.subarray(0, bytesRead));
      this.length += bytesRead;
    }
  }
}

async function attempt<T>(path: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (thrown) {
    throw writeError(thrown, path);
  }
}
