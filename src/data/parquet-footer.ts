/**
 * The end of a Parquet file: its schema and where the columns of each row group lie.
 * Source: the format's Thrift definition (apache/parquet-format), of which only what reading columns needs is taken:
 * statistics, indexes, filters and encryption are not here.
 */
import { type ByteSource, ToklipError } from "../core/index.ts";
import { quoted } from "../files/quoted.ts";
import { ThriftReader, type ThriftStruct, type ThriftValue } from "./parquet-thrift.ts";

/** A node of the schema. */
export interface ParquetField {
  readonly name: string;
  /** The physical type's number; undefined for a group. */
  readonly type: number | undefined;
  readonly repetition: "required" | "optional" | "repeated";
  /** Whether its bytes are said to be UTF-8 text. */
  readonly isText: boolean;
  readonly children: readonly ParquetField[];
}

/** One column's bytes in one row group. */
export interface ColumnChunk {
  /** Names from the top of the schema to the leaf. */
  readonly path: readonly string[];
  readonly type: number;
  readonly codec: number;
  /** Values, nulls among them. */
  readonly valueCount: number;
  readonly start: number;
  readonly byteLength: number;
  /** As the writer says; not to be relied on. */
  readonly uncompressedBytes: number;
}

/** Rows that lie together. */
export interface RowGroup {
  readonly rows: number;
  readonly columns: readonly ColumnChunk[];
}

/** What a file says of itself. */
export interface ParquetFooter {
  /** Its top-level columns. */
  readonly fields: readonly ParquetField[];
  readonly rowGroups: readonly RowGroup[];
  /** Free notes of the writer, by key. */
  readonly notes: ReadonlyMap<string, string>;
}

/** Physical types by their numbers, those that are read. */
export const PARQUET_TYPES = { INT32: 1, INT64: 2, BYTE_ARRAY: 6 } as const;

const MAGIC = 0x31524150; // "PAR1"
const ENCRYPTED_MAGIC = 0x45524150; // "PARE"
const MAX_FOOTER_BYTES = 2 ** 24;
const MAX_SCHEMA_DEPTH = 32;
const REPETITIONS = ["required", "optional", "repeated"] as const;
const UTF8_CONVERTED = 0;
const STRING_LOGICAL = 1;

/** Reads the footer of a file. @throws FILE_CORRUPT, FILE_UNSUPPORTED (encrypted, or a footer beyond 16 MB) */
export async function readParquetFooter(source: ByteSource): Promise<ParquetFooter> {
  const { name, byteLength } = source;
  if (byteLength < 12) throw new ToklipError("FILE_CORRUPT", `${name}: ${byteLength} bytes are no Parquet file`);
  const tail = await source.read(byteLength - 8, 8);
  const view = new DataView(tail.buffer, tail.byteOffset, 8);
  const magic = view.getUint32(4, true);
  if (magic === ENCRYPTED_MAGIC) throw new ToklipError("FILE_UNSUPPORTED", `${name}: is an encrypted Parquet file`);
  if (magic !== MAGIC) throw new ToklipError("FILE_CORRUPT", `${name}: does not end as a Parquet file does`);
  const length = view.getUint32(0, true);
  if (length > byteLength - 12) {
    throw new ToklipError("FILE_CORRUPT", `${name}: a footer of ${length} bytes in a file of ${byteLength}`);
  }
  if (length > MAX_FOOTER_BYTES) {
    throw new ToklipError("FILE_UNSUPPORTED", `${name}: a footer of ${length} bytes; at most ${MAX_FOOTER_BYTES}`);
  }
  return parseFooter(await source.read(byteLength - 8 - length, length), source);
}

function parseFooter(bytes: Uint8Array, source: ByteSource): ParquetFooter {
  const where = `${source.name}: Parquet footer`;
  const footer = new Fields(new ThriftReader(bytes, 0, where).struct(), where);
  const [root] = parseSchema(footer.structs(2), where);
  const rowGroups = footer.structs(4).map((group) => ({
    rows: group.count(3),
    columns: group.structs(1).map((column) => parseColumn(column, source, where)),
  }));
  const notes = footer.structs(5, []).map((note) => [note.text(1), note.text(2, "")] as const);
  return { fields: root!.children, rowGroups, notes: new Map(notes) };
}

/** The schema is stored as the nodes of a tree, each before its children. */
function parseSchema(elements: readonly Fields[], where: string): ParquetField[] {
  let next = 0;
  const node = (depth: number): ParquetField => {
    const element = elements[next++];
    if (element === undefined) throw new ToklipError("FILE_CORRUPT", `${where}: the schema ends too early`);
    if (depth > MAX_SCHEMA_DEPTH) throw new ToklipError("FILE_CORRUPT", `${where}: the schema is nested too deeply`);
    const count = element.count(5, 0);
    if (count > elements.length - next) throw new ToklipError("FILE_CORRUPT", `${where}: the schema ends too early`);
    const children: ParquetField[] = [];
    for (let i = 0; i < count; i++) children.push(node(depth + 1));
    return {
      name: element.text(4),
      type: children.length > 0 ? undefined : element.count(1, -1),
      repetition: REPETITIONS[element.count(3, 0)] ?? "required",
      isText: element.count(6, -1) === UTF8_CONVERTED || element.struct(10)?.has(STRING_LOGICAL) === true,
      children,
    };
  };
  return [node(0)];
}

function parseColumn(column: Fields, source: ByteSource, where: string): ColumnChunk {
  if (column.has(1)) {
    throw new ToklipError("FILE_UNSUPPORTED", `${where}: column data in another file (${quoted(column.text(1))})`);
  }
  const meta = column.struct(3);
  if (meta === undefined) throw new ToklipError("FILE_CORRUPT", `${where}: a column without a description`);
  const dataStart = meta.count(9);
  const dictionaryStart = meta.count(11, 0);
  // Some writers leave a zero where there is no dictionary.
  const start = dictionaryStart > 0 ? Math.min(dictionaryStart, dataStart) : dataStart;
  const byteLength = meta.count(7);
  if (start + byteLength > source.byteLength) {
    const range = `bytes ${start} to ${start + byteLength}`;
    throw new ToklipError("FILE_CORRUPT", `${where}: a column at ${range} of a file of ${source.byteLength}`);
  }
  return {
    path: meta.texts(3),
    type: meta.count(1),
    codec: meta.count(4),
    valueCount: meta.count(5),
    uncompressedBytes: meta.count(6),
    start,
    byteLength,
  };
}

/** The fields of a struct, each checked for its kind when it is taken. */
export class Fields {
  private readonly fields: ThriftStruct;
  private readonly where: string;

  constructor(fields: ThriftStruct, where: string) {
    this.fields = fields;
    this.where = where;
  }

  has(field: number): boolean {
    return this.fields.has(field);
  }

  /** A whole number from 0 on. */
  count(field: number, absent?: number): number {
    const value = this.fields.get(field) ?? absent;
    if (Number.isSafeInteger(value) && ((value as number) >= 0 || value === absent)) return value as number;
    throw this.fault(field);
  }

  flag(field: number, absent: boolean): boolean {
    const value = this.fields.get(field) ?? absent;
    if (typeof value === "boolean") return value;
    throw this.fault(field);
  }

  text(field: number, absent?: string): string {
    const value = this.fields.get(field);
    if (value === undefined && absent !== undefined) return absent;
    return this.decode(value, field);
  }

  texts(field: number): string[] {
    return this.list(field).map((value) => this.decode(value, field));
  }

  struct(field: number): Fields | undefined {
    const value = this.fields.get(field);
    if (value === undefined) return undefined;
    return this.wrap(value, field);
  }

  structs(field: number, absent?: readonly Fields[]): readonly Fields[] {
    if (absent !== undefined && !this.fields.has(field)) return absent;
    return this.list(field).map((value) => this.wrap(value, field));
  }

  private list(field: number): ThriftValue[] {
    const value = this.fields.get(field);
    if (Array.isArray(value)) return value;
    throw this.fault(field);
  }

  private wrap(value: ThriftValue, field: number): Fields {
    if (value instanceof Map) return new Fields(value, this.where);
    throw this.fault(field);
  }

  private decode(value: ThriftValue | undefined, field: number): string {
    if (value instanceof Uint8Array) return new TextDecoder("utf-8", { ignoreBOM: true }).decode(value);
    throw this.fault(field);
  }

  private fault(field: number): ToklipError {
    return new ToklipError("FILE_CORRUPT", `${this.where}: field ${field} is missing or of another kind`);
  }
}
