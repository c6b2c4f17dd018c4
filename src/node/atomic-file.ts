/**
 * Files that appear whole or not at all: written under a temporary name in the same folder, then renamed. Written bytes
 * and the new name are forced to disk, so that a crash leaves the old file or the new one.
 */
import { randomBytes } from "node:crypto";
import { type FileHandle, lstat, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ToklipError, throwIfAborted } from "../core/index.ts";
import type { AtomicSink } from "../files/index.ts";
import { writeError } from "./file-errors.ts";

/** How a file is written. */
export interface AtomicFileOptions {
  /** Lets it replace a file of the same name. Default false. */
  readonly overwrite?: boolean | undefined;
  /**
   * When it fires, the next write fails and what was written is removed. A finished file is committed all the same: of
   * files that belong together, an interruption must not leave some.
   */
  readonly signal?: AbortSignal | undefined;
}

/** Failures to force a folder to disk on systems that cannot: the rename stands. */
const FOLDER_SYNC_UNSUPPORTED = new Set(["EISDIR", "EPERM", "EACCES", "EINVAL", "ENOTSUP"]);

/**
 * Starts a file. Nothing is at `path` until `commit()`; after a failure, a fired signal or `abort()` nothing is left.
 * @throws FILE_EXISTS; FILE_WRITE_FAILED (so do the sink's methods); ABORTED
 */
export async function openAtomicFile(path: string, options: AtomicFileOptions = {}): Promise<AtomicSink> {
  throwIfAborted(options.signal, path);
  await refuseExisting(path, options);
  const temporary = join(dirname(path), temporaryName());
  try {
    return new AtomicFile(path, temporary, await open(temporary, "wx"), options);
  } catch (thrown) {
    throw writeError(thrown, path);
  }
}

function temporaryName(): string {
  return `.toklip-${randomBytes(8).toString("hex")}.tmp`;
}

/** Whether a file's name is one that an unfinished file has. */
export function isTemporaryName(name: string): boolean {
  return /^\.toklip-[0-9a-f]{16}\.tmp$/.test(name);
}

async function refuseExisting(path: string, { overwrite = false }: AtomicFileOptions): Promise<void> {
  if (overwrite) return;
  const exists = await lstat(path).then(
    () => true,
    () => false,
  );
  if (exists) throw new ToklipError("FILE_EXISTS", `${path}: exists already`);
}

class AtomicFile implements AtomicSink {
  private readonly path: string;
  private readonly temporary: string;
  private readonly options: AtomicFileOptions;
  /** Undefined once the file is finished. */
  private handle: FileHandle | undefined;
  private state: "open" | "committed" | "aborted" = "open";

  constructor(path: string, temporary: string, handle: FileHandle, options: AtomicFileOptions) {
    this.path = path;
    this.temporary = temporary;
    this.handle = handle;
    this.options = options;
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.attempt(async () => {
      if (this.handle === undefined) throw new ToklipError("DISPOSED", `${this.path}: written to after its end`);
      throwIfAborted(this.options.signal, this.path);
      for (let at = 0; at < bytes.byteLength; ) {
        at += (await this.handle.write(bytes, at, bytes.byteLength - at)).bytesWritten;
      }
    });
  }

  finish(): Promise<void> {
    return this.attempt(async () => {
      const handle = this.handle;
      if (handle === undefined) return;
      throwIfAborted(this.options.signal, this.path);
      await handle.sync();
      this.handle = undefined;
      await handle.close();
    });
  }

  async commit(): Promise<void> {
    await this.finish();
    await this.attempt(async () => {
      await refuseExisting(this.path, this.options);
      await rename(this.temporary, this.path);
      this.state = "committed";
      await syncFolder(dirname(this.path));
    });
  }

  async abort(): Promise<void> {
    if (this.state !== "open") return;
    this.state = "aborted";
    const handle = this.handle;
    this.handle = undefined;
    await handle?.close().catch(() => undefined);
    await rm(this.temporary, { force: true }).catch(() => undefined);
  }

  /** Runs one step; removes what was written when it fails. */
  private async attempt(step: () => Promise<void>): Promise<void> {
    if (this.state !== "open") throw new ToklipError("DISPOSED", `${basename(this.path)}: already ${this.state}`);
    try {
      await step();
    } catch (thrown) {
      await this.abort();
      throw writeError(thrown, this.path);
    }
  }
}

/** Forces what a folder says of its files to disk, on systems that can. @throws what the system says */
export async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    if (!FOLDER_SYNC_UNSUPPORTED.has((thrown as { code?: string }).code ?? "")) throw thrown;
  }
}
