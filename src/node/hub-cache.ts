/**
 * The hub's cache on disk, laid out as Python's huggingface_hub lays it out: contents in `blobs` under their etag, a
 * folder of links in `snapshots` for each commit, and the commit of each branch in `refs`.
 * @see https://huggingface.co/docs/huggingface_hub/guides/manage-cache
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { HubName } from "./hub-name.ts";
import { makeFolder } from "./make-folder.ts";

/** A commit as git names it. */
export const COMMIT = /^[0-9a-f]{40}$/;

const LINKS_IMPOSSIBLE = new Set(["EPERM", "EACCES", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL", "UNKNOWN"]);

/** The places of one repository in the cache. */
export class HubCache {
  private readonly folder: string;

  constructor(cacheDir: string, { owner, repo }: HubName) {
    this.folder = join(cacheDir, `models--${owner}--${repo}`);
  }

  /** Where the content with this etag is, or will be. */
  blobPath(etag: string): string {
    return join(this.folder, "blobs", etag);
  }

  /** The path of a file that is in the cache whole, or undefined. */
  async find(name: HubName, revision: string): Promise<string | undefined> {
    const commit = COMMIT.test(revision) ? revision : await this.commitOf(revision);
    if (commit === undefined) return undefined;
    const path = this.snapshotPath(commit, name);
    return (await isFile(path)) ? path : undefined;
  }

  /** Enters a blob as a file of a commit, and the commit as that of a branch or tag; gives the file's path. */
  async link(name: HubName, revision: string, commit: string, etag: string): Promise<string> {
    const path = this.snapshotPath(commit, name);
    await makeFolder(dirname(path));
    await linkFile(this.blobPath(etag), path);
    if (revision !== commit) {
      const ref = join(this.folder, "refs", revision);
      await makeFolder(dirname(ref));
      await replaceFile(ref, (temporary) => writeFile(temporary, commit));
    }
    return path;
  }

  private snapshotPath(commit: string, name: HubName): string {
    return join(this.folder, "snapshots", commit, name.path);
  }

  private async commitOf(revision: string): Promise<string | undefined> {
    const text = await readFile(join(this.folder, "refs", revision), "utf8").catch(() => "");
    return COMMIT.test(text.trim()) ? text.trim() : undefined;
  }
}

/** Whether there is a file, at the end of a link or not. */
export async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

async function linkFile(blob: string, path: string): Promise<void> {
  try {
    await replaceFile(path, (temporary) => symlink(relative(dirname(path), blob), temporary));
  } catch (thrown) {
    // Windows makes links for administrators and developers only, some disks have none: the snapshot then holds a copy.
    if (!LINKS_IMPOSSIBLE.has((thrown as { code?: string }).code ?? "")) throw thrown;
    await replaceFile(path, (temporary) => copyFile(blob, temporary, constants.COPYFILE_FICLONE));
  }
}

/** Makes a file or link under a temporary name and moves it into place, so that readers see the old or the new one. */
async function replaceFile(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await make(temporary);
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}
