/** What tables of pictures and captions have in common, whatever they are written as. */
import type { LongCallOptions } from "../core/index.ts";
import type { ColumnOptions } from "./column-choice.ts";
import type { CsvSeparator } from "./csv.ts";
import type { RecordIndex } from "./record-index.ts";

/** How a table is read. */
export interface TableOptions extends ColumnOptions, LongCallOptions {
  /** What relative paths of pictures are relative to. Default: the table's folder. */
  readonly imageRoot?: string | undefined;
  /** What separates the fields of a .csv or .tsv. Default: what makes the header row one of several columns. */
  readonly separator?: CsvSeparator | undefined;
  /** Rows of one picture become one sample with all their captions. Default false: a sample each. */
  readonly groupByImage?: boolean | undefined;
}

/** A row of pictures as it is written. */
export interface TableRow {
  /** A path or an address; empty where there is none. */
  readonly image: string;
  readonly captions: readonly string[];
  readonly concept: string | undefined;
}

/** A row of ids as it is written. */
export interface IdsRow extends Omit<TableRow, "image"> {
  readonly ids: Int32Array;
}

/** A table of text records, ready to be read row by row. */
export interface OpenTable<R = TableRow> {
  readonly index: RecordIndex;
  /** The number of records before the first row. */
  readonly firstRecord: number;
  /** Takes a record apart; `row` names it in messages. @throws FILE_CORRUPT, DATA_INVALID for a malformed one */
  parse(bytes: Uint8Array, row: string): R;
}
