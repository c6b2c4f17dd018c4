/** The rows of a text table, read from its file one by one when they are asked for. */
import { type ByteSource, messageOf } from "../core/index.ts";
import type { DataFiles } from "./data-files.ts";
import type { BadSample } from "./dataset.ts";
import { MAX_RECORD_BYTES, readRecord } from "./record-index.ts";
import type { OpenTable, TableRow } from "./table.ts";

/** Opens a table over the bytes of its file. */
export type OpenRows<R> = (source: ByteSource) => Promise<OpenTable<R>>;

/** Rows by number. */
export class TableRows<R = TableRow> {
  readonly path: string;
  readonly size: number;
  private readonly files: DataFiles;
  private readonly table: OpenTable<R>;

  private constructor(files: DataFiles, path: string, table: OpenTable<R>) {
    this.files = files;
    this.path = path;
    this.table = table;
    this.size = Math.max(0, table.index.size - table.firstRecord);
  }

  /** Finds where the rows are. @throws FILE_NOT_FOUND, and what `open` throws */
  static async open<R>(files: DataFiles, path: string, open: OpenRows<R>): Promise<TableRows<R>> {
    const source = await files.open(path);
    try {
      return new TableRows(files, path, await open(source));
    } finally {
      await source.close?.();
    }
  }

  /** What a row is called. */
  key(number: number): string {
    return `${this.path}/${number + 1}`;
  }

  /** A row, or what is wrong with it. @throws DATA_INVALID, FILE_NOT_FOUND, FILE_READ_FAILED */
  async row(number: number): Promise<{ readonly row: R } | { readonly bad: BadSample }> {
    const record = number + this.table.firstRecord;
    const key = this.key(number);
    const malformed = (message: string) => ({ bad: { key, reason: "malformed row", message } });
    if (this.table.index.at(record).length > MAX_RECORD_BYTES) {
      return malformed(`${key}: is longer than ${MAX_RECORD_BYTES} bytes: a quote is not closed`);
    }
    const bytes = await readRecord(this.files, this.path, this.table.index, record);
    try {
      return { row: this.table.parse(bytes, key) };
    } catch (thrown) {
      return malformed(messageOf(thrown));
    }
  }
}

/** The texts of captions that say something, each once, and the concept where one is named. */
export function describedBy(captions: readonly string[], concepts: readonly (string | undefined)[]) {
  const texts = new Set(captions.map((caption) => caption.trim()));
  texts.delete("");
  const concept = concepts.map((name) => name?.trim()).find((name) => name !== undefined && name !== "");
  return { captions: [...texts], ...(concept !== undefined && { concept }) };
}
