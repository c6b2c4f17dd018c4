/** Tables of pictures or their ids, with captions, as one JSON object a line. Objects may have other keys, each its own. */
import { type ByteSource, type LongCallOptions, ToklipError } from "../core/index.ts";
import { quoted } from "../files/quoted.ts";
import { type Json, type JsonObject, parseJson } from "../files/strict-json.ts";
import { decodeUtf8 } from "../files/utf8.ts";
import { type ColumnChoice, chooseColumns, chooseIdsColumns, type IdsColumnOptions } from "./column-choice.ts";
import { idsOfJson } from "./picture-ids.ts";
import { indexRecords, MAX_RECORD_BYTES } from "./record-index.ts";
import type { IdsRow, OpenTable, TableOptions, TableRow } from "./table.ts";

const MAX_DEPTH = 32;

/**
 * Opens a table of JSON lines. Keys that the user names must be in the first object.
 * @throws DATA_INVALID for a named key that is not there, or no key of pictures; FILE_READ_FAILED, ABORTED
 */
export function openJsonlTable(source: ByteSource, options: TableOptions): Promise<OpenTable> {
  return openLines<Pick<ColumnChoice, "image" | "caption" | "concept">, TableRow>(source, options, {
    choose: (keys, where) => chooseColumns(keys, options, where),
    named: [options.imageColumn, options.captionColumn, options.conceptColumn],
    read: (object, choice, row) => ({
      image: textsAt(object, choice.image, row)[0] ?? "",
      ...describe(object, choice, row),
    }),
  });
}

/**
 * As `openJsonlTable`, of lines with ids in place of a picture: a list, or a list of lists, one for each variant.
 * @throws as `openJsonlTable`
 */
export function openIdsLines(
  source: ByteSource,
  options: IdsColumnOptions & LongCallOptions,
): Promise<OpenTable<IdsRow>> {
  return openLines(source, options, {
    choose: (keys, where) => chooseIdsColumns(keys, options, where),
    named: [options.idsColumn, options.captionColumn, options.conceptColumn],
    read: (object, choice, row) => ({
      ids: idsOfJson(object.get(choice.ids), row),
      ...describe(object, choice, row),
    }),
  });
}

/** What the lines of a table are read for. */
interface LineReader<C, R> {
  /** Columns that the user names. */
  readonly named: readonly (string | null | undefined)[];
  /** @throws DATA_INVALID */
  readonly choose: (keys: readonly string[], where: string) => C;
  readonly read: (object: JsonObject, choice: C, row: string) => R;
}

async function openLines<C, R>(
  source: ByteSource,
  options: LongCallOptions,
  { named, choose, read }: LineReader<C, R>,
): Promise<OpenTable<R>> {
  const index = await indexRecords(source, undefined, options);
  if (index.size > 0 && index.at(0).length <= MAX_RECORD_BYTES) {
    const { start, length } = index.at(0);
    const first = objectOrNone(await source.read(start, length), source.name);
    if (first !== undefined) choose([...first.keys()], `${source.name}: line 1`);
  }
  const parse = (bytes: Uint8Array, row: string): R => {
    const object = parseObject(bytes, row);
    // A column that only other objects have is an empty one here.
    const keys = [...object.keys(), ...named.filter((name) => typeof name === "string")];
    return read(object, choose(keys, row), row);
  };
  return { index, firstRecord: 0, parse };
}

function objectOrNone(bytes: Uint8Array, where: string): JsonObject | undefined {
  try {
    return parseObject(bytes, where);
  } catch {
    return undefined; // a bad line is met, and counted, when its turn comes
  }
}

function parseObject(bytes: Uint8Array, where: string): JsonObject {
  const value = parseJson(decodeUtf8(bytes, where), where, MAX_DEPTH);
  if (value instanceof Map) return value;
  throw new ToklipError("FILE_CORRUPT", `${where}: expected a JSON object`);
}

function describe(object: JsonObject, choice: Pick<ColumnChoice, "caption" | "concept">, row: string) {
  return { captions: textsAt(object, choice.caption, row), concept: textsAt(object, choice.concept, row)[0] };
}

/** The texts, or the numbers as text, of a key that holds one or a list of them. */
function textsAt(object: JsonObject, key: string | undefined, where: string): string[] {
  const value = (key === undefined ? undefined : object.get(key)) ?? [];
  return (Array.isArray(value) ? value : [value]).map((item: Json) => {
    if (typeof item === "string" || typeof item === "number") return String(item);
    throw new ToklipError("FILE_CORRUPT", `${where}: ${quoted(key!)} is neither a text nor a list of texts`);
  });
}
