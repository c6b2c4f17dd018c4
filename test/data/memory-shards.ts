/** Shards in memory, and what is read from them. */
import { ToklipError } from "../../src/core/index.ts";
import type { DataItem, Dataset, ReadOptions } from "../../src/data/dataset.ts";
import type { ShardRange, ShardSource } from "../../src/data/shard-source.ts";
import type { TarPart } from "../files/tar-writer.ts";

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A source of the named archives, which notes what it opens and what is still open. */
export class MemoryShards implements ShardSource {
  readonly opened: string[] = [];
  openNow = 0;
  private readonly shards: ReadonlyMap<string, Uint8Array>;

  constructor(shards: Readonly<Record<string, Uint8Array>>) {
    this.shards = new Map(Object.entries(shards));
  }

  async *open(shard: string, { start = 0, end, signal }: ShardRange = {}): AsyncGenerator<Uint8Array, void, undefined> {
    this.opened.push(`${shard} ${start}-${end ?? ""}`);
    const bytes = this.shards.get(shard)?.subarray(0, end);
    if (bytes === undefined) throw new ToklipError("FILE_NOT_FOUND", `${shard}: does not exist`);
    this.openNow++;
    try {
      for (let at = start; at < bytes.length; at += 700) {
        if (signal?.aborted) throw new ToklipError("ABORTED", `${shard}: stopped`);
        yield bytes.subarray(at, at + 700);
      }
    } finally {
      this.openNow--;
    }
  }
}

/** A sample: a picture of so many bytes, and a caption. */
export function picture(key: string, length = 10, mark = 0): TarPart[] {
  return [
    { name: `${key}.jpg`, bytes: new Uint8Array(length).fill(mark) },
    { name: `${key}.txt`, bytes: bytesOf(`caption of ${key}`) },
  ];
}

/** All items, read to the end. */
export async function itemsOf(dataset: Dataset, options: ReadOptions): Promise<DataItem[]> {
  const items: DataItem[] = [];
  for await (const item of dataset.read(options)) items.push(item);
  return items;
}

/** What an item is, with its bytes: all but its position. */
export async function contentOf({ sample, bad }: DataItem): Promise<unknown> {
  if (sample === undefined) return { bad };
  const { key, captions, concept } = sample;
  return { key, captions, concept, bytes: [...(await sample.image())] };
}
