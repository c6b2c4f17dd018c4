/** Data sets whose pictures are ids in the lines of a .jsonl file, as `tokenize --captions` writes it. */
import { type LongCallOptions, ToklipError } from "../core/index.ts";
import type { IdsColumnOptions } from "./column-choice.ts";
import type { DataFiles } from "./data-files.ts";
import type { Dataset, IdsSample } from "./dataset.ts";
import { type IndexedEntry, indexedDataset } from "./indexed-dataset.ts";
import { openIdsLines } from "./jsonl-table.ts";
import type { IdsRow } from "./table.ts";
import { describedBy, TableRows } from "./table-rows.ts";

/**
 * Opens lines of ids and captions as a data set. A line without ids is a bad sample, `"malformed row"`.
 * @throws DATA_INVALID for columns that are not there; FILE_UNSUPPORTED for another kind of file; FILE_NOT_FOUND,
 * FILE_READ_FAILED, ABORTED
 */
export async function openIdsTable(
  files: DataFiles,
  path: string,
  options: IdsColumnOptions & LongCallOptions = {},
): Promise<Dataset<IdsSample>> {
  if (!/\.(jsonl|ndjson)$/i.test(path)) {
    throw new ToklipError("FILE_UNSUPPORTED", `${path}: expected a table of ids: .jsonl or .parquet`);
  }
  const rows = await TableRows.open<IdsRow>(files, path, (source) => openIdsLines(source, options));
  const entry = async (index: number): Promise<IndexedEntry<IdsSample>> => {
    const read = await rows.row(index);
    if ("bad" in read) return read;
    const { ids, captions, concept } = read.row;
    return { sample: { key: rows.key(index), ids, ...describedBy(captions, [concept]) } };
  };
  return indexedDataset({ name: `ids ${path}`, size: rows.size, entry });
}
