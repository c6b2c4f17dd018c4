/**
 * Checkpoints of several .safetensors files and an index: `model-00001-of-00003.safetensors`, ... and
 * `model.safetensors.index.json`, whose `weight_map` names the file of each tensor.
 * The naming is Hugging Face's: https://huggingface.co/docs/safetensors/metadata_parsing.
 */
import { type ByteSource, ToklipError } from "../core/index.ts";
import { type AtomicSink, type OpenSink, writeTogether } from "./atomic-sink.ts";
import type { Checkpoint, TensorEntry } from "./checkpoint.ts";
import { inertRecord } from "./inert-record.ts";
import { quoted } from "./quoted.ts";
import { openSafetensors } from "./safetensors.ts";
import { specBytes, type TensorData, type TensorSpec, writeSafetensors } from "./safetensors-writer.ts";
import { type Json, parseJson } from "./strict-json.ts";
import { decodeUtf8 } from "./utf8.ts";

/** Opens another file of the same folder. */
export type OpenSibling = (fileName: string) => Promise<ByteSource>;

/** The size above which a checkpoint is split, in bytes. */
export const DEFAULT_SHARD_BYTES = 4e9;

const MAX_INDEX_BYTES = 100_000_000;
const INDEX_DEPTH = 8; // its metadata is free-form

/**
 * Opens the checkpoint that an index describes. `close()` closes the shards and the index.
 * @param openSibling is called with plain file names only: an index cannot reach out of its folder.
 * @throws FILE_CORRUPT; whatever `openSibling` throws for a shard that is not there.
 */
export async function openShardedSafetensors(indexSource: ByteSource, openSibling: OpenSibling): Promise<Checkpoint> {
  const weightMap = await readIndex(indexSource);
  const shards = new Map<string, Checkpoint>();
  const close = async (): Promise<void> => {
    await Promise.all([...shards.values()].map((shard) => shard.close()));
  };
  try {
    const tensors = new Map<string, TensorEntry>();
    for (const [name, file] of weightMap) {
      const shard = shards.get(file) ?? (await openShard(file, openSibling));
      shards.set(file, shard);
      const entry = shard.tensors.get(name);
      if (entry === undefined) {
        throw new ToklipError(
          "FILE_CORRUPT",
          `safetensors: ${file} lacks the tensor ${quoted(name)} (${indexSource.name})`,
        );
      }
      tensors.set(name, entry);
    }
    const metadata = inertRecord([...shards.values()].flatMap((shard) => Object.entries(shard.metadata)));
    const closeAll = async (): Promise<void> => {
      await close();
      await indexSource.close?.();
    };
    return { format: "safetensors", name: indexSource.name, tensors, metadata, close: closeAll };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

async function openShard(file: string, openSibling: OpenSibling): Promise<Checkpoint> {
  const source = await openSibling(file);
  try {
    return await openSafetensors(source);
  } catch (thrown) {
    await source.close?.();
    throw thrown;
  }
}

async function readIndex(source: ByteSource): Promise<Map<string, string>> {
  const fault = (problem: string): ToklipError =>
    new ToklipError("FILE_CORRUPT", `safetensors index: ${problem} (${source.name})`);
  if (source.byteLength > MAX_INDEX_BYTES) throw fault(`${source.byteLength} bytes are beyond ${MAX_INDEX_BYTES}`);
  const where = `safetensors index (${source.name})`;
  const index = parseJson(decodeUtf8(await source.read(0, source.byteLength), where), where, INDEX_DEPTH);
  const weightMap = index instanceof Map ? (index.get("weight_map") as Json | undefined) : undefined;
  if (!(weightMap instanceof Map)) throw fault("expected an object with a weight_map");
  for (const file of weightMap.values()) {
    if (typeof file !== "string" || !isPlainFileName(file)) {
      throw fault(`${quoted(String(file))} is not the plain name of a file beside it`);
    }
  }
  return weightMap as Map<string, string>;
}

/** Whether a name can only mean a file of the folder it is looked up in, on any system. */
export function isPlainFileName(name: string): boolean {
  return /^[^\\/:\u0000-\u001f]{1,255}$/.test(name) && !/^\.+$/.test(name);
}

/** What is written where. */
export interface ShardedWriteOptions {
  readonly openSink: OpenSink;
  /** Ends in `.safetensors`; the shards' and the index's names are made from it. */
  readonly fileName: string;
  /** Default 4 GB of tensors a file. A larger tensor gets a file of its own. */
  readonly shardBytes?: number | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/**
 * Writes a checkpoint as one .safetensors file, or as several and an index where it is larger than `shardBytes`. The
 * files appear together once all are complete, the index last.
 * @returns the names of the files.
 * @throws ARGUMENT_INVALID as `writeSafetensors`; whatever the sinks throw.
 */
export async function writeShardedSafetensors(
  tensors: Iterable<TensorSpec>,
  data: TensorData,
  { openSink, fileName, shardBytes = DEFAULT_SHARD_BYTES, metadata }: ShardedWriteOptions,
): Promise<string[]> {
  const base = /^(.+)\.safetensors$/.exec(fileName)?.[1];
  if (base === undefined || !isPlainFileName(fileName)) {
    throw new ToklipError(
      "ARGUMENT_INVALID",
      `safetensors: expected a file name ending in .safetensors: ${quoted(fileName)}`,
    );
  }
  if (!(shardBytes > 0)) throw new ToklipError("ARGUMENT_INVALID", `safetensors: shards of ${shardBytes} bytes`);
  const shards = planShards([...tensors], shardBytes);
  const names = shards.map((_, i) => (shards.length === 1 ? fileName : shardName(base, i, shards.length)));
  const files = shards.length === 1 ? names : [...names, `${fileName}.index.json`];
  await writeTogether(openSink, files, async (sinks) => {
    for (const [i, shard] of shards.entries()) {
      await writeSafetensors(sinks[i]!, shard, data, metadata);
      await sinks[i]!.finish();
    }
    if (files.length > shards.length) await writeIndex(sinks.at(-1)!, shards, names);
  });
  return files;
}

/** Fills shards in order. */
function planShards(tensors: readonly TensorSpec[], shardBytes: number): TensorSpec[][] {
  const shards: TensorSpec[][] = [[]];
  const seen = new Set<string>();
  let held = 0;
  for (const tensor of tensors) {
    if (seen.has(tensor.name))
      throw new ToklipError("ARGUMENT_INVALID", `safetensors: ${quoted(tensor.name)} comes twice`);
    seen.add(tensor.name);
    const bytes = specBytes(tensor);
    if (held > 0 && held + bytes > shardBytes) {
      shards.push([]);
      held = 0;
    }
    shards.at(-1)!.push(tensor);
    held += bytes;
  }
  return shards;
}

function shardName(base: string, index: number, count: number): string {
  const digits = (n: number): string => String(n).padStart(5, "0");
  return `${base}-${digits(index + 1)}-of-${digits(count)}.safetensors`;
}

async function writeIndex(sink: AtomicSink, shards: TensorSpec[][], names: readonly string[]): Promise<void> {
  const files = shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i]!] as const));
  const total = shards.flat().reduce((sum, tensor) => sum + specBytes(tensor), 0);
  const index = { metadata: { total_size: total }, weight_map: inertRecord(files) };
  await sink.write(new TextEncoder().encode(`${JSON.stringify(index, null, 2)}\n`));
}
