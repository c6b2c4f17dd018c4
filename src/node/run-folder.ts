/** The folder of a training run in Node: atomic files, files that grow, and a lock, so that no two runs share a folder. */
import { type FileHandle, open, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import sharp from "sharp";
import { ToklipError } from "../core/index.ts";
import type { GrowingFile, PictureWriter, RunStorage } from "../train/run-storage.ts";
import { isTemporaryName, openAtomicFile, syncFolder } from "./atomic-file.ts";
import { readError, writeError } from "./file-errors.ts";
import { openFileSource } from "./file-source.ts";
import { encodePng } from "./image.ts";
import { type LockFile, withLock } from "./lock-file.ts";
import { makeFolder } from "./make-folder.ts";

const LOCK = ".lock";
/** How long the lock of a run that has just ended, or died, is waited for. */
const LOCK_WAIT_MS = 2_000;

/** PNG files by sharp. */
export const pictureWriter: PictureWriter = {
  encodePng,
  renderSvg: (svg) => sharp(Buffer.from(svg)).png().toBuffer(),
};

/**
 * Runs `work` with a run's folder, which it makes where it is not there; no other run works in it meanwhile. What a
 * killed run left of unfinished files is removed first.
 * @throws FOLDER_BUSY when another run holds the folder; FILE_WRITE_FAILED; ABORTED; whatever `work` throws
 */
export async function withRunFolder<T>(
  path: string,
  work: (storage: RunStorage) => Promise<T>,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<T> {
  const held = new AbortController();
  const timer = setTimeout(() => held.abort(), LOCK_WAIT_MS);
  const signals = signal === undefined ? held.signal : AbortSignal.any([held.signal, signal]);
  let locked = false;
  try {
    return await withLock(join(path, LOCK), signals, async (lock) => {
      locked = true;
      clearTimeout(timer);
      await removeTemporaries(path);
      return work(new NodeRunStorage(path, lock));
    });
  } catch (thrown) {
    if (locked) throw thrown;
    if (held.signal.aborted) throw busy(path, thrown);
    throw writeError(thrown, path);
  } finally {
    clearTimeout(timer);
  }
}

/** The folder for processes that only read it: those of a run in several processes that are not the first. */
export function readRunFolder(path: string): RunStorage {
  return new NodeRunStorage(path, { confirm: async () => {} });
}

function busy(path: string, cause: unknown): ToklipError {
  return new ToklipError("FOLDER_BUSY", `${path}: another run is at work in this folder, or was less than 30 s ago`, {
    cause,
  });
}

/** In the run's own folders only: below a folder such as `.` another command may be at work. */
async function removeTemporaries(path: string): Promise<void> {
  for (const folder of ["", "samples", "checkpoints"]) {
    const entries = await readdir(join(path, folder), { withFileTypes: true, recursive: folder !== "" }).catch(
      () => [],
    );
    for (const entry of entries) {
      if (isTemporaryName(entry.name)) await rm(join(entry.parentPath, entry.name), { force: true });
    }
  }
}

class NodeRunStorage implements RunStorage {
  readonly name: string;
  private readonly lock: LockFile;

  constructor(path: string, lock: LockFile) {
    this.name = path.replace(/(?<=.)\/+$/, ""); // as it is joined with names in messages
    this.lock = lock;
  }

  async list(folder: string): Promise<readonly string[]> {
    const path = join(this.name, folder);
    try {
      return (await readdir(path)).sort();
    } catch (thrown) {
      if ((thrown as { code?: string }).code === "ENOENT") return [];
      throw readError(thrown, path);
    }
  }

  open(path: string) {
    return openFileSource(join(this.name, path));
  }

  async create(path: string) {
    const full = join(this.name, path);
    await makeFolder(dirname(full));
    return openAtomicFile(full, { overwrite: true });
  }

  async append(path: string, keepBytes: number): Promise<GrowingFile> {
    const full = join(this.name, path);
    return writing(full, async () => {
      const handle = await open(full, "a");
      await handle.truncate(keepBytes);
      return new NodeGrowingFile(full, handle, keepBytes);
    });
  }

  async remove(path: string): Promise<void> {
    const full = join(this.name, path);
    await writing(full, () => rm(full, { recursive: true, force: true }));
  }

  async sync(folder: string): Promise<void> {
    const full = join(this.name, folder);
    await writing(full, () => syncFolder(full));
  }

  async confirm(): Promise<void> {
    await this.lock.confirm().catch((thrown: unknown) => {
      throw busy(this.name, thrown);
    });
  }
}

class NodeGrowingFile implements GrowingFile {
  private readonly path: string;
  private readonly handle: FileHandle;
  private length: number;

  constructor(path: string, handle: FileHandle, length: number) {
    this.path = path;
    this.handle = handle;
    this.length = length;
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      await this.handle.appendFile(bytes);
      this.length += bytes.byteLength;
    } catch (thrown) {
      await this.handle.truncate(this.length).catch(() => undefined);
      throw writeError(thrown, this.path);
    }
  }

  async sync(): Promise<void> {
    await writing(this.path, () => this.handle.sync());
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

async function writing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    throw writeError(thrown, path);
  }
}
