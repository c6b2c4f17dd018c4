/** Data files in memory, that count what is read of them. */
import { type ByteSource, memorySource, ToklipError } from "../../src/core/index.ts";
import type { DataFiles } from "../../src/data/data-files.ts";
import type { DataItem, DataPosition, Dataset, ReadOptions } from "../../src/data/dataset.ts";

export class MemoryDataFiles implements DataFiles {
  readonly pictureExtensions = new Set([".jpg", ".png"]);
  /** Every range that was read: "path start length". */
  readonly reads: string[] = [];
  readonly content = new Map<string, Uint8Array>();

  constructor(content: Record<string, string | Uint8Array> = {}) {
    for (const [path, value] of Object.entries(content)) this.set(path, value);
  }

  set(path: string, value: string | Uint8Array): void {
    this.content.set(path, typeof value === "string" ? new TextEncoder().encode(value) : value);
  }

  async open(path: string): Promise<ByteSource> {
    const bytes = this.content.get(path);
    if (bytes === undefined) throw new ToklipError("FILE_NOT_FOUND", `${path}: does not exist`);
    const source = memorySource(bytes, path);
    return {
      ...source,
      read: (offset, length) => {
        this.reads.push(`${path} ${offset} ${length}`);
        return source.read(offset, length);
      },
    };
  }

  async read(path: string): Promise<Uint8Array> {
    const source = await this.open(path);
    return source.read(0, source.byteLength);
  }

  async list(folder: string, extensions: ReadonlySet<string>): Promise<string[]> {
    const inside = [...this.content.keys()].filter((path) => path.startsWith(`${folder}/`));
    const names = inside.map((path) => path.slice(folder.length + 1));
    return names.filter((name) => extensions.has(/\.\w+$/.exec(name)?.[0].toLowerCase() ?? "")).sort();
  }

  async fetch(url: string): Promise<Uint8Array> {
    return new TextEncoder().encode(`fetched ${url}`);
  }

  async stamp(path: string): Promise<string> {
    const bytes = this.content.get(path);
    if (bytes === undefined) throw new ToklipError("FILE_NOT_FOUND", `${path}: does not exist`);
    return String(bytes.byteLength);
  }

  resolve(folder: string, name: string): string {
    return name.startsWith("/") ? name : `${folder}/${name}`;
  }

  folderOf(path: string): string {
    return path.slice(0, path.lastIndexOf("/"));
  }
}

/** The next items of a data set, `most` of them or all there are. */
export async function take(
  dataset: Dataset,
  options: ReadOptions,
  most = Number.POSITIVE_INFINITY,
): Promise<DataItem[]> {
  const items: DataItem[] = [];
  if (most === 0) return items;
  for await (const item of dataset.read(options)) {
    items.push(item);
    if (items.length >= most) break;
  }
  return items;
}

/** The key of what came. */
export function keyOf(item: DataItem): string {
  return item.sample?.key ?? `bad ${item.bad!.key}`;
}

/** A position as a checkpoint keeps it. */
export function stored(position: DataPosition): DataPosition {
  return JSON.parse(JSON.stringify(position)) as DataPosition;
}
