/**
 * Data sets in Parquet files: pictures as bytes in the file, as Hugging Face data sets have them (a column `image` of
 * `{bytes, path}`), or as paths; captions as text or lists of text; classes as numbers that the file's notes name.
 *
 * A row group is read whole, of the columns that are wanted; the groups of one shuffling window are held (see
 * `epoch-order.ts`), so that an epoch reads each group about once. A group that turns out to be damaged makes its rows bad
 * samples; a file whose footer is damaged is an error when it is opened.
 */
import { type ByteSource, type LongCallOptions, messageOf, ToklipError, throwIfAborted } from "../core/index.ts";
import { decodeUtf8 } from "../files/utf8.ts";
import type { ColumnOptions, IdsColumnOptions } from "./column-choice.ts";
import { type DataFiles, readPicture } from "./data-files.ts";
import type { Dataset, IdsSample, Sample } from "./dataset.ts";
import { type BlockLayout, blockStarts } from "./epoch-order.ts";
import { type IndexedEntry, indexedDataset, type SampleList } from "./indexed-dataset.ts";
import { prepareCodecs } from "./parquet-codecs.ts";
import { type Column, decodeColumn, lastAtMost } from "./parquet-column.ts";
import { type ColumnChunk, type ParquetFooter, type RowGroup, readParquetFooter } from "./parquet-footer.ts";
import { type FoundColumns, findColumns, findIdsColumns } from "./parquet-schema.ts";
import { checkedIds } from "./picture-ids.ts";
import { bytesVersion, pictureVersion } from "./recall.ts";
import { describedBy } from "./table-rows.ts";

/** How Parquet files are read, whatever they hold. */
export interface ParquetReading extends LongCallOptions {
  /** The most row groups that are shuffled together and held. Default 16. */
  readonly windowGroups?: number | undefined;
  /** The most bytes of row groups that are held, unless a single one has more. Default 256 MiB. */
  readonly windowBytes?: number | undefined;
  /** The most bytes that one row group may have. Default 1 GiB. */
  readonly maxGroupBytes?: number | undefined;
}

/** How Parquet files of pictures are read. */
export interface ParquetOptions extends ColumnOptions, ParquetReading {
  /** What relative paths of pictures are relative to. Default: each file's folder. */
  readonly imageRoot?: string | undefined;
}

const DEFAULT_WINDOW_GROUPS = 16;
const DEFAULT_WINDOW_BYTES = 2 ** 28;
const DEFAULT_MAX_GROUP_BYTES = 2 ** 30;
/** How far a row group may exceed what it is said to take, before the file is held to lie. */
const TOLERANCE = { factor: 4, bytes: 2 ** 20 };

/**
 * Opens files, of one kind and in this order, as one data set. Their footers are read.
 * @throws FILE_CORRUPT; FILE_UNSUPPORTED for a compression or row groups that are not read; DATA_INVALID for columns that
 * are not there or of another type; FILE_NOT_FOUND, FILE_READ_FAILED, ABORTED
 */
export function openParquet(
  files: DataFiles,
  paths: readonly string[],
  options: ParquetOptions = {},
): Promise<Dataset> {
  return openSamples(files, paths, options, {
    find: (footer, where) => findColumns(footer, options, where),
    sample: (row) => pictureSample(files, row, options.imageRoot ?? files.folderOf(row.file.path)),
  });
}

/**
 * Opens files that have ids in place of pictures, as a column of lists of whole numbers (or of lists of lists, one for
 * each variant).
 * @throws as `openParquet`
 */
export function openIdsParquet(
  files: DataFiles,
  paths: readonly string[],
  options: IdsColumnOptions & ParquetReading = {},
): Promise<Dataset<IdsSample>> {
  return openSamples(files, paths, options, {
    find: (footer, where) => findIdsColumns(footer, options, where),
    sample: idsSample,
  });
}

/** What the samples of a file are. */
interface SampleKind<S> {
  find(footer: ParquetFooter, where: string): FoundColumns;
  /** @throws FILE_CORRUPT for a malformed row */
  sample(row: LoadedRow): IndexedEntry<S>;
}

async function openSamples<S>(
  files: DataFiles,
  paths: readonly string[],
  options: ParquetReading,
  kind: SampleKind<S>,
): Promise<Dataset<S>> {
  const { signal, onProgress } = options;
  if (paths.length === 0) throw new ToklipError("DATA_EMPTY", "parquet: no files are named");
  await prepareCodecs();
  const groups: Group[] = [];
  for (const [i, path] of paths.entries()) {
    throwIfAborted(signal, path);
    groups.push(...(await fileGroups(files, path, options, kind)));
    onProgress?.({ stage: "open", item: path, done: i + 1, total: paths.length, unit: "files" });
  }
  const name = paths.length === 1 ? `parquet ${paths[0]}` : `parquet ${paths[0]} and ${paths.length - 1} more`;
  return indexedDataset(new ParquetSamples(name, files, groups, options, kind));
}

/** A file as it was when it was opened. */
interface ParquetFile {
  readonly path: string;
  readonly byteLength: number;
  readonly columns: FoundColumns;
}

/** A row group of one of the files. */
interface Group {
  readonly file: ParquetFile;
  readonly rowGroup: RowGroup;
  /** The number of its first row in the file. */
  readonly firstRow: number;
  /** The memory that it takes, if its description is right. */
  readonly bytes: number;
}

async function fileGroups(
  files: DataFiles,
  path: string,
  options: ParquetReading,
  kind: SampleKind<unknown>,
): Promise<Group[]> {
  return withSource(files, path, async (source) => {
    const footer = await readParquetFooter(source);
    const columns = kind.find(footer, source.name);
    return groupsOf(footer, { path, byteLength: source.byteLength, columns }, options);
  });
}

function groupsOf(footer: ParquetFooter, file: ParquetFile, options: ParquetReading): Group[] {
  const { maxGroupBytes = DEFAULT_MAX_GROUP_BYTES } = options;
  let firstRow = 0;
  return footer.rowGroups.map((rowGroup, i) => {
    const chunks = Object.values(file.columns).map(({ index }) => rowGroup.columns[index]!);
    const bytes = chunks.reduce((sum, chunk) => sum + chunkBytes(chunk, rowGroup.rows), 0);
    if (bytes > maxGroupBytes) {
      const problem = `row group ${i} takes ${bytes} bytes, of ${maxGroupBytes} allowed`;
      throw new ToklipError("FILE_UNSUPPORTED", `${file.path}: ${problem}; write the file with smaller row groups`);
    }
    firstRow += rowGroup.rows;
    return { file, rowGroup, firstRow: firstRow - rowGroup.rows, bytes };
  });
}

/** A column's pages, and where its values and rows begin in them. */
function chunkBytes({ byteLength, uncompressedBytes, valueCount }: ColumnChunk, rows: number): number {
  return Math.max(byteLength, uncompressedBytes) + 8 * valueCount + 4 * rows;
}

/** The columns of a row group, decoded. */
type LoadedColumns = Readonly<Record<string, Column>>;

/** The same, or why that was not possible. */
type LoadedGroup = LoadedColumns | ToklipError;

/** A row of a row group. */
interface LoadedRow {
  readonly key: string;
  readonly file: ParquetFile;
  readonly columns: LoadedColumns;
  /** Its number in the group. */
  readonly row: number;
}

class ParquetSamples<S> implements SampleList<S> {
  readonly name: string;
  readonly size: number;
  readonly layout: BlockLayout;
  private readonly files: DataFiles;
  private readonly groups: readonly Group[];
  private readonly starts: Float64Array;
  private readonly kind: SampleKind<S>;
  /** Groups in the order of their last use. */
  private readonly held = new Map<number, Promise<LoadedGroup>>();

  constructor(name: string, files: DataFiles, groups: readonly Group[], options: ParquetReading, kind: SampleKind<S>) {
    this.name = name;
    this.files = files;
    this.kind = kind;
    this.groups = groups.filter(({ rowGroup }) => rowGroup.rows > 0);
    this.layout = {
      blocks: this.groups.map(({ rowGroup, bytes }) => ({ rows: rowGroup.rows, bytes })),
      windowBlocks: Math.max(1, options.windowGroups ?? DEFAULT_WINDOW_GROUPS),
      windowBytes: options.windowBytes ?? DEFAULT_WINDOW_BYTES,
    };
    this.starts = blockStarts(this.layout.blocks);
    this.size = this.groups.reduce((sum, { rowGroup }) => sum + rowGroup.rows, 0);
  }

  async entry(index: number, signal?: AbortSignal): Promise<IndexedEntry<S>> {
    const at = lastAtMost(this.starts, index);
    const group = this.groups[at]!;
    const row = index - this.starts[at]!;
    const key = `${group.file.path}/${group.firstRow + row + 1}`;
    const loaded = await this.group(at, signal);
    if (loaded instanceof ToklipError) {
      return { bad: { key, reason: "damaged row group", message: `${key}: ${messageOf(loaded)}` } };
    }
    try {
      return this.kind.sample({ key, file: group.file, columns: loaded, row });
    } catch (thrown) {
      return { bad: { key, reason: "malformed row", message: `${key}: ${messageOf(thrown)}` } };
    }
  }

  /** The row group, held or read. As many as a window has are held. */
  private group(at: number, signal: AbortSignal | undefined): Promise<LoadedGroup> {
    const loading = this.held.get(at) ?? this.load(this.groups[at]!, signal);
    this.held.delete(at);
    this.held.set(at, loading);
    loading.catch(() => this.held.delete(at));
    this.dropOldest();
    return loading;
  }

  private dropOldest(): void {
    let bytes = 0;
    const newestFirst = [...this.held.keys()].reverse();
    for (const [i, at] of newestFirst.entries()) {
      bytes += this.groups[at]!.bytes;
      if (i > 0 && (i >= this.layout.windowBlocks || bytes > this.layout.windowBytes)) this.held.delete(at);
    }
  }

  /** @throws what says nothing about the file's content: FILE_NOT_FOUND, FILE_READ_FAILED, DATA_INVALID, ABORTED */
  private async load(
    { file, rowGroup, bytes: expected }: Group,
    signal: AbortSignal | undefined,
  ): Promise<LoadedGroup> {
    try {
      return await withSource(this.files, file.path, async (source) => {
        if (source.byteLength !== file.byteLength) {
          throw new ToklipError("DATA_INVALID", `${file.path}: was changed while it was in use`);
        }
        const columns: { [name: string]: Column } = {};
        let maxBytes = TOLERANCE.factor * expected + TOLERANCE.bytes;
        for (const [name, leaf] of Object.entries(file.columns)) {
          throwIfAborted(signal, file.path);
          const chunk = rowGroup.columns[leaf.index]!;
          const bytes = await source.read(chunk.start, chunk.byteLength);
          const where = `${source.name}: column ${chunk.path.join(".")}`;
          columns[name] = decodeColumn(bytes, chunk, leaf, { rows: rowGroup.rows, maxBytes }, where);
          maxBytes -= columns[name].byteLength;
        }
        return columns;
      });
    } catch (thrown) {
      const isDamage = thrown instanceof ToklipError && /^FILE_(CORRUPT|UNSUPPORTED)$/.test(thrown.code);
      if (isDamage) return thrown;
      throw thrown;
    }
  }
}

function pictureSample(files: DataFiles, loaded: LoadedRow, imageRoot: string): IndexedEntry<Sample> {
  const { key, columns, row } = loaded;
  const bytes = columns.imageBytes?.values(row)[0];
  const path = textsOf(columns.imagePath, row, undefined, key)[0];
  // A copy: views would keep the pages of their row group for as long as the sample waits in some buffer.
  const picture = bytes instanceof Uint8Array && bytes.length > 0 ? bytes.slice() : undefined;
  if (picture === undefined && !path) {
    return { bad: { key, reason: "no image", message: `${key}: has neither bytes nor a path of a picture` } };
  }
  return {
    sample: {
      key,
      image: async (signal) => picture ?? readPicture(files, imageRoot, path!, signal),
      version: async () => (picture ? bytesVersion(picture) : pictureVersion(files, imageRoot, path!)),
      ...describe(loaded),
    },
  };
}

function idsSample(loaded: LoadedRow): IndexedEntry<IdsSample> {
  const { key, columns, row } = loaded;
  return { sample: { key, ids: checkedIds(columns.ids!.values(row), key), ...describe(loaded) } };
}

function describe({ key, file, columns, row }: LoadedRow) {
  const texts = (name: string) => textsOf(columns[name], row, file.columns[name]?.classNames, key);
  return describedBy(texts("caption"), texts("concept"));
}

/** The texts of a row; numbers as the names of their classes. @throws FILE_CORRUPT for what is not UTF-8 */
function textsOf(column: Column | undefined, row: number, names: readonly string[] | undefined, key: string): string[] {
  return (column?.values(row) ?? []).flatMap((value) => {
    if (typeof value !== "number") return decodeUtf8(value, key);
    return names === undefined ? String(value) : (names[value] ?? []); // -1 is no class
  });
}

async function withSource<T>(files: DataFiles, path: string, use: (source: ByteSource) => Promise<T>): Promise<T> {
  const source = await files.open(path);
  try {
    return await use(source);
  } finally {
    await source.close?.();
  }
}
