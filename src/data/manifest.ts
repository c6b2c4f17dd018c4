/**
 * Data sets described by a table of picture paths and captions: .csv, .tsv, .jsonl, .parquet.
 *
 * Rows of text tables stay on disk: what is held is where each begins. A row that is malformed is a bad sample, met when
 * its turn comes.
 */
import { ToklipError, throwIfAborted } from "../core/index.ts";
import { openCsvTable } from "./csv-table.ts";
import { type DataFiles, readPicture } from "./data-files.ts";
import type { BadSample, Dataset, Sample } from "./dataset.ts";
import { type IndexedEntry, indexedDataset, type SampleList } from "./indexed-dataset.ts";
import { openJsonlTable } from "./jsonl-table.ts";
import { openParquet } from "./parquet.ts";
import { pictureVersion } from "./recall.ts";
import type { TableOptions, TableRow } from "./table.ts";
import { describedBy, TableRows } from "./table-rows.ts";

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
  const rows = await openRows(files, path, { ...options, imageColumn: null });
  for (let index = 0; index < rows.size; index++) {
    throwIfAborted(options.signal, path);
    const read = await rows.row(index);
    yield "row" in read ? { captions: read.row.captions } : read;
  }
}

function extensionOf(path: string): string {
  return /\.[a-z]+$/.exec(path.toLowerCase())?.[0] ?? "";
}

async function openRows(files: DataFiles, path: string, options: TableOptions): Promise<TableRows> {
  const open = TABLES.get(extensionOf(path));
  if (open === undefined) {
    const known = [...TABLES.keys(), ".parquet"].join(", ");
    throw new ToklipError("FILE_UNSUPPORTED", `${path}: expected a table: ${known}`);
  }
  return TableRows.open(files, path, (source) => open(source, options));
}

/** The rows of a table as samples: each its own, or those of one picture together. */
class TableSamples implements SampleList {
  readonly name: string;
  readonly size: number;
  private readonly files: DataFiles;
  private readonly rows: TableRows;
  private readonly imageRoot: string;
  private readonly groups: readonly (readonly number[])[] | undefined;

  /** Finds the rows, and groups them where that is wanted, for which all are read. */
  static async open(files: DataFiles, path: string, options: TableOptions): Promise<TableSamples> {
    const rows = await openRows(files, path, options);
    return new TableSamples(files, rows, options, options.groupByImage ? await byImage(rows, options) : undefined);
  }

  private constructor(
    files: DataFiles,
    rows: TableRows,
    options: TableOptions,
    groups: readonly (readonly number[])[] | undefined,
  ) {
    this.name = `manifest ${rows.path}`;
    this.files = files;
    this.rows = rows;
    this.imageRoot = options.imageRoot ?? files.folderOf(rows.path);
    this.groups = groups;
    this.size = groups?.length ?? rows.size;
  }

  async entry(index: number): Promise<IndexedEntry> {
    const numbers = this.groups?.[index] ?? [index];
    const rows: TableRow[] = [];
    for (const number of numbers) {
      const read = await this.rows.row(number);
      if ("bad" in read) return { bad: { ...read.bad, key: this.rows.key(numbers[0]!) } };
      rows.push(read.row);
    }
    return this.sample(this.rows.key(numbers[0]!), rows);
  }

  private sample(key: string, rows: readonly TableRow[]): IndexedEntry {
    const { image } = rows[0]!;
    if (image === "") return { bad: { key, reason: "no image", message: `${key}: names no picture` } };
    const sample: Sample = {
      key,
      image: (signal) => readPicture(this.files, this.imageRoot, image, signal),
      version: () => pictureVersion(this.files, this.imageRoot, image),
      ...describedBy(
        rows.flatMap((row) => row.captions),
        rows.map((row) => row.concept),
      ),
    };
    return { sample };
  }
}

/** The numbers of the rows of each picture, in the order in which the pictures come first. */
async function byImage(rows: TableRows, { signal, onProgress }: TableOptions): Promise<number[][]> {
  const groups: number[][] = [];
  const known = new Map<string, number[]>();
  for (let number = 0; number < rows.size; number++) {
    throwIfAborted(signal, rows.path);
    const read = await rows.row(number);
    const image = "row" in read ? read.row.image : "";
    const group = known.get(image);
    if (group === undefined) groups.push([number]);
    else group.push(number);
    if (group === undefined && image !== "") known.set(image, groups.at(-1)!);
    onProgress?.({ stage: "group", item: rows.path, done: number + 1, total: rows.size, unit: "texts" });
  }
  return groups;
}
