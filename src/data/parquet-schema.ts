/** Where the pictures or ids, captions and concepts of a Parquet file are: by its schema, and by what its writer noted. */
import { ToklipError } from "../core/index.ts";
import { quoted } from "../files/quoted.ts";
import { type Json, parseJson } from "../files/strict-json.ts";
import {
  type ColumnChoice,
  type ColumnOptions,
  chooseColumns,
  chooseIdsColumns,
  type IdsColumnOptions,
} from "./column-choice.ts";
import { isKnownCodec } from "./parquet-codecs.ts";
import type { ColumnLevels } from "./parquet-column.ts";
import { PARQUET_TYPES, type ParquetField, type ParquetFooter } from "./parquet-footer.ts";

/** A column as it is stored. */
export interface LeafColumn extends ColumnLevels {
  /** Its number among the columns of a row group. */
  readonly index: number;
  /** What its numbers stand for. */
  readonly classNames?: readonly string[] | undefined;
}

/** The columns that were found, by what they are for. */
export type FoundColumns = Readonly<Record<string, LeafColumn>>;

const READ_TYPES: ReadonlySet<number> = new Set(Object.values(PARQUET_TYPES));
const MAX_NOTE_DEPTH = 64;

/** A leaf of the schema, before it is known to be one that can be read. */
interface Leaf {
  readonly index: number;
  readonly path: readonly ParquetField[];
}

/**
 * Finds the columns of pictures: `imageBytes` or `imagePath` or both, `caption`, `concept`.
 * @throws DATA_INVALID for columns that are not there or hold something else; FILE_UNSUPPORTED for a compression that is not
 * read; FILE_CORRUPT where row groups do not have the columns of the schema
 */
export function findColumns(footer: ParquetFooter, options: ColumnOptions, where: string): FoundColumns {
  const leaves = listLeaves(footer.fields);
  const { image, ...texts } = chooseColumns(namesOf(footer), options, where);
  const pictures = image === undefined ? {} : pictureColumns(leaves, image, where);
  return checkedColumns(footer, { ...pictures, ...textColumns(footer, leaves, texts, where) }, leaves, where);
}

/** Finds the columns of ids: `ids`, `caption`, `concept`. @throws as `findColumns` */
export function findIdsColumns(footer: ParquetFooter, options: IdsColumnOptions, where: string): FoundColumns {
  const leaves = listLeaves(footer.fields);
  const { ids, ...texts } = chooseIdsColumns(namesOf(footer), options, where);
  const columns = { ids: only(leaves, ids, where), ...textColumns(footer, leaves, texts, where) };
  return checkedColumns(footer, columns, leaves, where);
}

function namesOf({ fields }: ParquetFooter): string[] {
  return fields.map(({ name }) => name);
}

function textColumns(
  footer: ParquetFooter,
  leaves: readonly Leaf[],
  { caption, concept }: Pick<ColumnChoice, "caption" | "concept">,
  where: string,
) {
  const column = (name: string | undefined): LeafColumn | undefined =>
    name === undefined ? undefined : { ...only(leaves, name, where), classNames: classNames(footer, name) };
  return { caption: column(caption), concept: column(concept) };
}

/** The columns that there are. */
function checkedColumns(
  footer: ParquetFooter,
  columns: Readonly<Record<string, LeafColumn | undefined>>,
  leaves: readonly Leaf[],
  where: string,
): FoundColumns {
  const found = Object.entries(columns).filter((entry): entry is [string, LeafColumn] => entry[1] !== undefined);
  checkRowGroups(
    footer,
    found.map(([, leaf]) => leaf),
    leaves,
    where,
  );
  return Object.fromEntries(found);
}

/** A struct of bytes and path, either alone, or one column that holds bytes, or text: then paths. */
function pictureColumns(leaves: readonly Leaf[], name: string, where: string): FoundColumns {
  const found = leaves.filter(({ path }) => path[0]!.name === name && path.at(-1)!.type === PARQUET_TYPES.BYTE_ARRAY);
  const child = (key: string) => found.find(({ path }) => path.length === 2 && path[1]!.name === key);
  const plain = found.find(({ path }) => path.length === 1);
  const isText = plain !== undefined && plain.path[0]!.isText;
  const bytes = child("bytes") ?? (isText ? undefined : plain);
  const path = child("path") ?? (isText ? plain : undefined);
  if (bytes === undefined && path === undefined) {
    throw new ToklipError(
      "DATA_INVALID",
      `${where}: column ${quoted(name)} holds no pictures: expected bytes, text (paths), or both as {bytes, path}`,
    );
  }
  return { ...(bytes && { imageBytes: levelsOf(bytes) }), ...(path && { imagePath: levelsOf(path) }) };
}

/** The one leaf of a column of texts or whole numbers, or of lists of them. */
function only(leaves: readonly Leaf[], name: string, where: string): LeafColumn {
  const found = leaves.filter(({ path }) => path[0]!.name === name);
  const leaf = found.length === 1 ? levelsOf(found[0]!) : undefined;
  if (leaf === undefined || !READ_TYPES.has(found[0]!.path.at(-1)!.type ?? -1)) {
    throw new ToklipError(
      "DATA_INVALID",
      `${where}: column ${quoted(name)}: expected text, whole numbers, or lists of them`,
    );
  }
  return leaf;
}

/** The schema's leaves are numbered in their order; row groups have their columns in the same. */
function listLeaves(fields: readonly ParquetField[]): Leaf[] {
  const leaves: Leaf[] = [];
  const walk = (path: readonly ParquetField[]) => {
    const { children } = path.at(-1)!;
    if (children.length === 0) leaves.push({ index: leaves.length, path });
    for (const child of children) walk([...path, child]);
  };
  for (const field of fields) walk([field]);
  return leaves;
}

function levelsOf({ index, path }: Leaf): LeafColumn {
  return {
    index,
    maxDefinition: path.filter(({ repetition }) => repetition !== "required").length,
    maxRepetition: path.filter(({ repetition }) => repetition === "repeated").length,
  };
}

function checkRowGroups(footer: ParquetFooter, columns: readonly LeafColumn[], leaves: readonly Leaf[], where: string) {
  for (const [number, { columns: chunks }] of footer.rowGroups.entries()) {
    for (const { index } of columns) {
      const { path } = leaves[index]!;
      const chunk = chunks[index];
      if (chunk?.path.join(".") !== path.map(({ name }) => name).join(".") || chunk.type !== path.at(-1)!.type) {
        throw new ToklipError("FILE_CORRUPT", `${where}: row group ${number} does not have the columns of the schema`);
      }
      if (!isKnownCodec(chunk.codec)) {
        const problem = `column ${quoted(path[0]!.name)} is compressed in a way that is not read (codec ${chunk.codec})`;
        throw new ToklipError("FILE_UNSUPPORTED", `${where}: ${problem}; write it with snappy, gzip, zstd or lz4_raw`);
      }
    }
  }
}

/** The names of a column's classes, where Hugging Face's `datasets` wrote the file. */
function classNames({ notes }: ParquetFooter, column: string): string[] | undefined {
  const note = notes.get("huggingface");
  if (note === undefined) return undefined;
  const names = ["info", "features", column, "names"].reduce<Json | undefined>(
    (value, key) => (value instanceof Map ? value.get(key) : undefined),
    noteOrNone(note),
  );
  return Array.isArray(names) ? names.map(String) : undefined;
}

/** Notes are read for what they add; a file is no worse for one that is not JSON. */
function noteOrNone(note: string): Json | undefined {
  try {
    return parseJson(note, "note", MAX_NOTE_DEPTH);
  } catch {
    return undefined;
  }
}
