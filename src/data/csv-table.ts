/**
 * Tables of pictures and captions as comma- or tab-separated text with a header row: open_clip's are tab-separated, in files
 * named .csv, with the columns `filepath` and `title`.
 */
import { type ByteSource, ToklipError } from "../core/index.ts";
import { decodeUtf8 } from "../files/utf8.ts";
import { type ColumnOptions, chooseColumns } from "./column-choice.ts";
import { type CsvSeparator, guessSeparator, parseCsvRow } from "./csv.ts";
import { indexRecords, MAX_RECORD_BYTES, type RecordIndex } from "./record-index.ts";
import type { OpenTable, TableOptions, TableRow } from "./table.ts";

/** The most that is read to find the header row. */
const MAX_HEADER_BYTES = 2 ** 16;

/**
 * Opens a table whose first row names its columns.
 * @throws DATA_INVALID for no header row, or columns that are not there; FILE_READ_FAILED, ABORTED
 */
export async function openCsvTable(source: ByteSource, options: TableOptions): Promise<OpenTable> {
  const separator = options.separator ?? (await headerSeparator(source));
  const index = await indexRecords(source, separator.charCodeAt(0), options);
  const header = await headerRow(source, index, separator);
  const parse = rowParser(header, separator, options, source.name);
  return { index, firstRecord: 1, parse };
}

/** By the first line, whatever is in it: a header with line ends in its names is told apart well enough. */
async function headerSeparator(source: ByteSource): Promise<CsvSeparator> {
  if (source.name.toLowerCase().endsWith(".tsv")) return "\t";
  const head = await source.read(0, Math.min(MAX_HEADER_BYTES, source.byteLength));
  return guessSeparator(new TextDecoder().decode(head).split(/\r?\n/, 1)[0]!);
}

async function headerRow(source: ByteSource, index: RecordIndex, separator: CsvSeparator): Promise<string[]> {
  const { start, length } = index.size > 0 ? index.at(0) : { start: 0, length: 0 };
  const text =
    length > 0 && length <= MAX_RECORD_BYTES ? decodeUtf8(await source.read(start, length), source.name) : "";
  const header = text === "" ? undefined : parseCsvRow(text, separator);
  if (header === undefined) throw new ToklipError("DATA_INVALID", `${source.name}: does not begin with a header row`);
  return header.map((name) => name.trim());
}

function rowParser(header: readonly string[], separator: CsvSeparator, options: ColumnOptions, where: string) {
  const { image, caption, concept } = chooseColumns(header, options, where);
  const columnOf = (name: string | undefined) => (name === undefined ? -1 : header.indexOf(name));
  const [imageAt, captionAt, conceptAt] = [columnOf(image), columnOf(caption), columnOf(concept)];
  return (bytes: Uint8Array, row: string): TableRow => {
    const fields = parseCsvRow(decodeUtf8(bytes, row), separator);
    if (fields === undefined) throw new ToklipError("FILE_CORRUPT", `${row}: a quote is not closed, or not at its end`);
    if (fields.length !== header.length) {
      throw new ToklipError("FILE_CORRUPT", `${row}: ${fields.length} fields under ${header.length} column names`);
    }
    return {
      image: fields[imageAt]?.trim() ?? "",
      captions: captionAt < 0 ? [] : [fields[captionAt]!],
      concept: fields[conceptAt],
    };
  };
}
