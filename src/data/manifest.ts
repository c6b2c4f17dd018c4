/**
 * Data sets described by a table of picture paths and captions: .csv, .tsv, .jsonl, .parquet.
 *
 * Rows of text tables stay on disk: what is held is where each begins. A row that is malformed is a bad sample, met when
 * its turn comes.
 */
import { messageOf, ToklipError, throwIfAborted } from "../core/index.ts";
import { openCsvTable } from "./csv-table.ts";
import { type DataFiles, readPicture } from "./data-files.ts";
import type { BadSample, Dataset, Sample } from "./dataset.ts";
import { type IndexedEntry, indexedDataset, type SampleList } from "./indexed-dataset.ts";
import { openJsonlTable } from "./jsonl-table.ts";
import { openParquet } from "./parquet.ts";
import { pictureVersion } from "./recall.ts";
import { MAX_RECORD_BYTES, readRecord } from "./record-index.ts";
import type { OpenTable, TableOptions, TableRow } from "./table.ts";

const TABLES = new Map([
  [".csv", openCsvTable],
  [".tsv", openCsvTable],
  [".jsonl", openJsonlTable],
  [".ndjson", openJsonlTable],
]);

/**
 * Opens a table as a data set.
 * @throws DATA_INVALID for columns that are not there; FILE_UNSUPPORTED for another extension; FILE_NOT_FOUND,
 * FILE_READ_FAILED, FILE_CORRUPT (Parquet), ABORTED
 */
export async function openManifest(files: DataFiles, path: string, options: TableOptions = {}): Promise<Dataset> {
  if (extensionOf(path) === ".parquet") {
    if (!options.groupByImage) return openParquet(files, [path], options);
    throw new ToklipError("DATA_INVALID", `${path}: rows of Parquet files cannot be grouped by picture`);
  }
  return indexedDataset(await TableSamples.open(files, path, options));
}

/** Whether a path is that of a text table: .csv, .tsv, .jsonl, .ndjson. */
export function isTextTable(path: string): boolean {
  return TABLES.has(extensionOf(path));
}

/**
 * The captions of a text table, row by row, whether or not it names pictures.
 * @throws as `openManifest`
 */
export async function* tableCaptions(
  files: DataFiles,
  path: string,
  options: Pick<TableOptions, "captionColumn" | "signal" | "onProgress"> = {},
): AsyncGenerator<{ readonly captions: readonly string[] } | { readonly bad: BadSample }> {
  const rows = await TableSamples.open(files, path, { ...options, imageColumn: null });
  for (let index = 0; index < rows.size; index++) {
    throwIfAborted(options.signal, path);
    yield await rows.captions(index);
  }
}

function extensionOf(path: string): string {
  return /\.[a-z]+$/.exec(path.toLowerCase())?.[0] ?? "";
}

async function openTable(files: DataFiles, path: string, options: TableOptions): Promise<OpenTable> {
  const open = TABLES.get(extensionOf(path));
  if (open === undefined) {
    const known = [...TABLES.keys(), ".parquet"].join(", ");
    throw new ToklipError("FILE_UNSUPPORTED", `${path}: expected a table: ${known}`);
  }
  const source = await files.open(path);
  try {
    return await open(source, options);
  } finally {
    await source.close?.();
  }
}

/** The rows of a table as samples: each its own, or those of one picture together. */
class TableSamples implements SampleList {
  readonly name: string;
  readonly size: number;
  private readonly files: DataFiles;
  private readonly path: string;
  private readonly table: OpenTable;
  private readonly imageRoot: string;
  private readonly groups: readonly (readonly number[])[] | undefined;

  /** Finds the rows, and groups them where that is wanted, for which all are read. */
  static async open(files: DataFiles, path: string, options: TableOptions): Promise<TableSamples> {
    const table = await openTable(files, path, options);
    const rows = new TableSamples(files, path, table, options, undefined);
    if (!options.groupByImage) return rows;
    return new TableSamples(files, path, table, options, await rows.byImage(options));
  }

  private constructor(
    files: DataFiles,
    path: string,
    table: OpenTable,
    options: TableOptions,
    groups: readonly (readonly number[])[] | undefined,
  ) {
    this.name = `manifest ${path}`;
    this.files = files;
    this.path = path;
    this.table = table;
    this.imageRoot = options.imageRoot ?? files.folderOf(path);
    this.groups = groups;
    this.size = groups?.length ?? Math.max(0, table.index.size - table.firstRecord);
  }

  async entry(index: number): Promise<IndexedEntry> {
    const numbers = this.groups?.[index] ?? [index];
    const key = this.key(numbers[0]!);
    const rows: TableRow[] = [];
    for (const number of numbers) {
      const row = await this.row(number);
      if (typeof row === "string") return { bad: { key, reason: "malformed row", message: row } };
      rows.push(row);
    }
    return this.sample(key, rows);
  }

  /** The captions of a row; an ungrouped table's rows are its entries. */
  async captions(number: number): Promise<{ readonly captions: readonly string[] } | { readonly bad: BadSample }> {
    const row = await this.row(number);
    if (typeof row !== "string") return { captions: row.captions };
    return { bad: { key: this.key(number), reason: "malformed row", message: row } };
  }

  private sample(key: string, rows: readonly TableRow[]): IndexedEntry {
    const { image } = rows[0]!;
    if (image === "") return { bad: { key, reason: "no image", message: `${key}: names no picture` } };
    const captions = new Set(rows.flatMap((row) => row.captions).map((caption) => caption.trim()));
    captions.delete("");
    const concept = rows.map((row) => row.concept?.trim()).find((name) => name !== undefined && name !== "");
    const sample: Sample = {
      key,
      image: (signal) => readPicture(this.files, this.imageRoot, image, signal),
      version: () => pictureVersion(this.files, this.imageRoot, image),
      captions: [...captions],
      ...(concept !== undefined && { concept }),
    };
    return { sample };
  }

  /** A row, or what is wrong with it. */
  private async row(number: number): Promise<TableRow | string> {
    const record = number + this.table.firstRecord;
    const key = this.key(number);
    if (this.table.index.at(record).length > MAX_RECORD_BYTES) {
      return `${key}: is longer than ${MAX_RECORD_BYTES} bytes: a quote is not closed`;
    }
    const bytes = await readRecord(this.files, this.path, this.table.index, record);
    try {
      return this.table.parse(bytes, key);
    } catch (thrown) {
      return messageOf(thrown);
    }
  }

  /** The numbers of the rows of each picture, in the order in which the pictures come first. */
  private async byImage({ signal, onProgress }: TableOptions): Promise<number[][]> {
    const groups: number[][] = [];
    const known = new Map<string, number[]>();
    for (let number = 0; number < this.size; number++) {
      throwIfAborted(signal, this.name);
      const row = await this.row(number);
      const group = typeof row === "string" ? undefined : known.get(row.image);
      if (group === undefined) groups.push([number]);
      else group.push(number);
      if (group === undefined && typeof row !== "string" && row.image !== "") known.set(row.image, groups.at(-1)!);
      onProgress?.({ stage: "group", item: this.path, done: number + 1, total: this.size, unit: "texts" });
    }
    return groups;
  }

  private key(number: number): string {
    return `${this.path}/${number + 1}`;
  }
}
