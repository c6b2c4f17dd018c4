/**
 * A lock between processes: a file that one of them made. Node has no file locks of the system, so a holder touches its
 * file while it works, and a file that nobody touches, or whose maker is gone, is taken over.
 */
import { randomBytes } from "node:crypto";
import { link, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { ToklipError } from "../core/index.ts";
import { makeFolder } from "./make-folder.ts";
import { pause } from "./pause.ts";

const TOUCH_MS = 5_000;
const STALE_MS = 30_000;
const POLL_MS = 200;
const CONFIRM_MS = 1_000;

/** A lock that this process holds. */
export interface LockFile {
  /** Makes sure that it is still held. @throws DOWNLOAD_FAILED when another process took it for abandoned */
  confirm(): Promise<void>;
}

/**
 * Runs `work` while no other call with this path runs, in this process or another that shares the folder.
 * @throws ABORTED while waiting; whatever `work` throws
 */
export async function withLock<T>(
  path: string,
  signal: AbortSignal | undefined,
  work: (lock: LockFile) => Promise<T>,
): Promise<T> {
  await makeFolder(dirname(path));
  const owner = JSON.stringify({ pid: process.pid, host: hostname(), id: randomBytes(8).toString("hex") });
  while (!(await claim(path, owner))) await pause(POLL_MS, signal, path);
  const touching = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => undefined), TOUCH_MS);
  touching.unref();
  try {
    return await work({ confirm: confirmation(path, owner) });
  } finally {
    clearInterval(touching);
    await release(path, owner);
  }
}

/** Reads the file now and then only: it is asked for at every piece of a download. */
function confirmation(path: string, owner: string): () => Promise<void> {
  let next = 0;
  return async () => {
    if (performance.now() < next) return;
    if (!(await isHeldBy(path, owner))) {
      throw new ToklipError("DOWNLOAD_FAILED", `${path}: another process has taken over`);
    }
    next = performance.now() + CONFIRM_MS;
  };
}

async function isHeldBy(path: string, owner: string): Promise<boolean> {
  return (await readFile(path, "utf8").catch(() => "")) === owner;
}

async function claim(path: string, owner: string): Promise<boolean> {
  try {
    await writeFile(path, owner, { flag: "wx" });
    return true;
  } catch (thrown) {
    if ((thrown as { code?: string }).code !== "EEXIST") throw thrown;
    await removeStale(path);
    return false;
  }
}

/** Moves an abandoned lock away. Of several that try, one succeeds; a lock taken by mistake is put back. */
async function removeStale(path: string): Promise<void> {
  const holder = await readFile(path, "utf8").catch(() => undefined);
  if (holder === undefined || !(await isAbandoned(path, holder))) return;
  const aside = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    await rename(path, aside);
    if ((await readFile(aside, "utf8")) !== holder) await link(aside, path);
  } catch {
    // Another process was quicker.
  } finally {
    await rm(aside, { force: true });
  }
}

async function isAbandoned(path: string, holder: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return false;
  if (Date.now() - found.mtimeMs > STALE_MS) return true;
  const { pid, host } = parseHolder(holder);
  return host === hostname() && pid !== undefined && !isRunning(pid);
}

function parseHolder(text: string): { pid?: number; host?: string } {
  try {
    const { pid, host } = JSON.parse(text) as { pid?: unknown; host?: unknown };
    return { ...(typeof pid === "number" && { pid }), ...(typeof host === "string" && { host }) };
  } catch {
    return {}; // being written at this moment, or not ours
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as { code?: string }).code === "EPERM"; // someone else's process
  }
}

async function release(path: string, owner: string): Promise<void> {
  if (await isHeldBy(path, owner)) await rm(path, { force: true });
}
