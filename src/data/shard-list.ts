/**
 * The shards of a data set, as a user writes them down: names with braces, several lists joined by `::`, and a weight for
 * each list (`"a/{000..127}.tar::b/{00..15}.tar"` with `"1::2"`). This is how open_clip's `--train-data` and
 * `--train-data-upsampling-factors` are written. Globs and folders are the platform's affair: it replaces the names of a
 * part by what it finds.
 */
import { ToklipError } from "../core/index.ts";
import { expandBraces, MAX_NAMES } from "./brace-expansion.ts";
import { isAddress } from "./data-files.ts";

/** One of the lists that `::` joins. */
export interface ShardPart {
  /** As it was written. */
  readonly text: string;
  /** The names that it stands for. */
  readonly shards: readonly string[];
}

/**
 * Takes a list of shards apart.
 * @throws DATA_INVALID for an empty part, unbalanced braces, and more than a million shards
 */
export function parseShards(list: string): ShardPart[] {
  const parts: ShardPart[] = [];
  for (const text of list.split("::").map((part) => part.trim())) {
    if (text === "") throw new ToklipError("DATA_INVALID", `shards ${hideQuery(list)}: a part between "::" is empty`);
    parts.push({ text, shards: expandBraces(text) });
    checkShardCount(parts);
  }
  return parts;
}

/** @throws DATA_INVALID for more than a million shards */
export function checkShardCount(parts: readonly ShardPart[]): void {
  const count = parts.reduce((sum, { shards }) => sum + shards.length, 0);
  if (count <= MAX_NAMES) return;
  throw new ToklipError("DATA_INVALID", `${describeShards(parts)}: more than ${MAX_NAMES} shards`);
}

/**
 * Takes the weights of the parts apart: `"1::2.5"`.
 * @throws DATA_INVALID for what is not a number
 */
export function parseShardWeights(weights: string): number[] {
  return weights.split("::").map((text) => {
    if (!/^\s*\d+(\.\d*)?\s*$/.test(text)) {
      throw new ToklipError("DATA_INVALID", `weights ${weights}: expected numbers joined by "::"`);
    }
    return Number(text);
  });
}

/**
 * The weight of every shard: that of its part. A part of many shards is thus drawn from more often than a part of few
 * with the same weight.
 * @throws DATA_INVALID unless there is one finite weight >= 0 a part, and one above 0
 */
export function shardWeights(parts: readonly ShardPart[], weights: readonly number[]): number[] {
  if (weights.length !== parts.length) {
    const { length } = parts;
    throw new ToklipError("DATA_INVALID", `${weights.length} weights for ${length} lists of shards: expected one each`);
  }
  const each = parts.flatMap(({ shards }, part) => shards.map(() => weights[part]!));
  if (!weights.every((weight) => weight >= 0 && weight < Number.POSITIVE_INFINITY) || !each.some((w) => w > 0)) {
    throw new ToklipError("DATA_INVALID", `weights ${weights.join("::")}: expected numbers from 0 on, one above 0`);
  }
  return each;
}

/** The lists as they were written, to name them in messages. Queries of addresses may hold signatures: they are left out. */
export function describeShards(parts: readonly ShardPart[]): string {
  return parts.map(({ text }) => hideQuery(text)).join("::");
}

/**
 * A name for each shard that is short, holds no secret, and tells shards of different names apart: the file's own name if
 * that is enough, else the path, else the path and a number made from the whole.
 */
export function shardLabels(shards: readonly string[]): string[] {
  const distinct = new Set(shards).size;
  const naming = LABELS.find((label) => new Set(shards.map(label)).size === distinct) ?? ((shard) => shard);
  return shards.map(naming);
}

const LABELS: readonly ((shard: string) => string)[] = [
  (shard) => hideQuery(shard).replace(/^.*[/\\](?=.)/s, ""),
  hideQuery,
  (shard) => `${hideQuery(shard)}#${fingerprint(shard).toString(16)}`,
];

function hideQuery(name: string): string {
  return isAddress(name) ? name.replace(/[?#].*$/s, "") : name;
}

/** A 32-bit number made of a text (FNV-1a over its code units): tells texts apart, but not against intent. */
export function fingerprint(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
