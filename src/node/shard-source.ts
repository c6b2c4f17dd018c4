/**
 * Shards in Node: files of this machine, and addresses of web servers, which are read as they are needed and stored
 * nowhere. A connection that breaks is taken up again where it broke. Other schemes are refused: `pipe:`, which the
 * webdataset package hands to a shell, above all.
 */
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import glob from "fast-glob";
import { messageOf, ToklipError, throwIfAborted } from "../core/index.ts";
import { isAddress } from "../data/data-files.ts";
import { checkShardCount, parseShards, type ShardPart } from "../data/shard-list.ts";
import type { ShardRange, ShardSource } from "../data/shard-source.ts";
import { findDataFiles } from "./data-files.ts";
import { readError } from "./file-errors.ts";
import { openFileSource } from "./file-source.ts";
import { HttpShard } from "./http-shard.ts";
import { PATIENCE, type Patience } from "./retries.ts";

const CHUNK_BYTES = 2 ** 20;
/** One letter before the colon is a drive. */
const SCHEME = /^[a-z][a-z0-9+.-]+:/i;

/** Opens local paths, `file:` and http(s) addresses. @param patience how long it bears with a bad network */
export function nodeShardSource(patience: Patience = PATIENCE): ShardSource {
  return {
    open: (shard, range = {}) =>
      isAddress(shard) ? new HttpShard(parseAddress(shard), range, patience).read() : readFileRange(shard, range),
  };
}

/**
 * Takes a list of shards apart, and finds what folders (their `.tar` files) and glob patterns stand for, in the plain
 * order of the names. That a file which is named is there is not looked into.
 * @throws DATA_INVALID for a malformed list or another scheme than file, http and https; FILE_NOT_FOUND for a pattern
 * that nothing matches; DATA_EMPTY for a folder without shards; FILE_READ_FAILED
 */
export async function findShards(list: string): Promise<ShardPart[]> {
  const parts: ShardPart[] = [];
  for (const { text, shards } of parseShards(list)) {
    const found: string[] = [];
    for (const name of shards) for (const shard of await shardsOf(name)) found.push(shard);
    parts.push({ text, shards: found });
    checkShardCount(parts);
  }
  return parts;
}

async function shardsOf(name: string): Promise<readonly string[]> {
  if (isAddress(name)) return [parseAddress(name).href];
  const file = localPath(name);
  const isPattern = glob.isDynamicPattern(file);
  if (file.endsWith(".tar") && !isPattern) return [file]; // of a million shards not each is looked at
  const there = await stat(file).catch(() => undefined);
  if (there?.isDirectory()) return shardsIn(file);
  return there === undefined && isPattern ? findDataFiles([file]) : [file];
}

async function shardsIn(folder: string): Promise<string[]> {
  try {
    const names = (await readdir(folder)).filter((name) => name.endsWith(".tar") && !name.startsWith("."));
    if (names.length === 0) throw new ToklipError("DATA_EMPTY", `${folder}: holds no .tar files`);
    return names.sort().map((name) => path.join(folder, name));
  } catch (thrown) {
    throw readError(thrown, folder);
  }
}

async function* readFileRange(shard: string, range: ShardRange): AsyncGenerator<Uint8Array, void, undefined> {
  const { start = 0, end = Number.POSITIVE_INFINITY, signal } = range;
  throwIfAborted(signal, shard);
  const source = await openFileSource(localPath(shard));
  try {
    const last = Math.min(end, source.byteLength);
    for (let at = start; at < last; at += CHUNK_BYTES) {
      throwIfAborted(signal, shard);
      yield await source.read(at, Math.min(CHUNK_BYTES, last - at));
    }
  } finally {
    await source.close?.();
  }
}

/** @throws DATA_INVALID */
function localPath(name: string): string {
  if (!SCHEME.test(name)) return name;
  try {
    return fileURLToPath(name);
  } catch (cause) {
    const scheme = name.slice(0, name.indexOf(":"));
    const problem = `expected a path or an address of http, https or file (${messageOf(cause)})`;
    throw new ToklipError("DATA_INVALID", `a shard of ${scheme}: ${problem}`, { cause });
  }
}

/** @throws DATA_INVALID */
function parseAddress(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined) throw new ToklipError("DATA_INVALID", `${address}: is no address`);
  if (url.username === "" && url.password === "") return url;
  throw new ToklipError("DATA_INVALID", `a shard of ${url.host}: passwords in addresses are not supported`);
}
