/** The files that data sets are in, in Node: folders, paths, glob patterns and web addresses. */
import type { Dirent } from "node:fs";
import { opendir, stat } from "node:fs/promises";
import path from "node:path";
import glob from "fast-glob";
import { messageOf, ToklipError, throwIfAborted } from "../core/index.ts";
import type { DataFiles } from "../data/data-files.ts";
import { readError } from "./file-errors.ts";
import { openFileSource } from "./file-source.ts";
import { IMAGE_EXTENSIONS } from "./image-files.ts";
import { type Patience, TransientError, withRetries } from "./retries.ts";
import { StallWatch } from "./stall-watch.ts";

/** A picture that takes longer than this is one of many: less patience than with a model's weights. */
const PATIENCE: Patience = { stallMs: 20_000, attempts: 3, backoffMs: 500 };

/** The most bytes that an address may send. */
const MAX_FETCH_BYTES = 2 ** 28;

/** 408 too slow, 425 too early, 429 too many requests; 5xx are the server's own trouble. */
const TRY_AGAIN = new Set([408, 425, 429]);

/** Data files of the file system and of the web. */
export const nodeDataFiles: DataFiles = {
  pictureExtensions: IMAGE_EXTENSIONS,
  open: openFileSource,
  async read(file, signal) {
    throwIfAborted(signal, file);
    const source = await openFileSource(file);
    try {
      return await source.read(0, source.byteLength);
    } finally {
      await source.close?.();
    }
  },
  async list(folder, extensions, signal) {
    const found: string[] = [];
    for await (const name of filesBelow(folder, "", signal)) {
      if (extensions.has(path.extname(name).toLowerCase())) found.push(name);
    }
    return found.sort();
  },
  async stamp(file) {
    try {
      const { size, mtimeMs } = await stat(file);
      return `${size} bytes of ${mtimeMs}`;
    } catch (thrown) {
      throw readError(thrown, file);
    }
  },
  fetch: (url, signal) => withRetries(PATIENCE, signal, () => fetchOnce(url, signal)),
  resolve: (folder, name) => path.resolve(folder, name),
  folderOf: (file) => path.dirname(file),
};

/**
 * The files that paths and glob patterns name, each once; those of a pattern in the plain order of their names.
 * @throws FILE_NOT_FOUND for a pattern that nothing matches; that a plain path is there is not looked into
 */
export async function findDataFiles(patterns: readonly string[]): Promise<string[]> {
  const found = await Promise.all(patterns.map(expand));
  return [...new Set(found.flat())];
}

async function expand(pattern: string): Promise<string[]> {
  const portable = process.platform === "win32" ? pattern.replaceAll("\\", "/") : pattern;
  if (!glob.isDynamicPattern(portable)) return [pattern];
  const names = await glob(portable, { followSymbolicLinks: false });
  if (names.length === 0) throw new ToklipError("FILE_NOT_FOUND", `${pattern}: nothing matches`);
  return names.sort();
}

/** Files at any depth, as paths with `/` from the folder on. Hidden ones and links are left out. */
async function* filesBelow(root: string, inside: string, signal: AbortSignal | undefined): AsyncGenerator<string> {
  const folder = path.join(root, inside);
  throwIfAborted(signal, folder);
  const folders: string[] = [];
  try {
    for await (const entry of await opendir(folder, { bufferSize: 256 })) {
      const name = inside + entry.name;
      if (isHidden(entry)) continue;
      if (entry.isDirectory()) folders.push(`${name}/`);
      else if (entry.isFile()) yield name;
    }
  } catch (thrown) {
    throw readError(thrown, folder);
  }
  for (const next of folders) yield* filesBelow(root, next, signal);
}

function isHidden(entry: Dirent): boolean {
  return entry.name.startsWith(".");
}

/** @throws DOWNLOAD_FAILED, a TransientError where asking again may help; ABORTED */
async function fetchOnce(address: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const url = checkAddress(address);
  const watch = new StallWatch(PATIENCE.stallMs, signal);
  try {
    const response = await fetch(url, { signal: watch.signal });
    refuseFailure(url, response.status);
    return await readBody(url, response, watch);
  } catch (thrown) {
    throw thrown instanceof ToklipError ? thrown : watch.explain(thrown, url);
  } finally {
    watch.end();
  }
}

function checkAddress(address: string): URL {
  try {
    return new URL(address);
  } catch (cause) {
    throw new ToklipError("DOWNLOAD_FAILED", `${address}: is no address (${messageOf(cause)})`, { cause });
  }
}

function refuseFailure({ host, pathname }: URL, status: number): void {
  if (status >= 200 && status < 300) return;
  // The query may hold a signature, the path does not.
  const problem = `${host}${pathname}: status ${status}`;
  if (status >= 500 || TRY_AGAIN.has(status)) throw new TransientError(problem);
  throw new ToklipError("DOWNLOAD_FAILED", problem);
}

async function readBody(url: URL, response: Response, watch: StallWatch): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let held = 0;
  for await (const piece of response.body ?? []) {
    watch.touch();
    held += piece.byteLength;
    if (held > MAX_FETCH_BYTES) {
      throw new ToklipError("DOWNLOAD_FAILED", `${url.host}${url.pathname}: more than ${MAX_FETCH_BYTES} bytes`);
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
