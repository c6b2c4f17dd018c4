/** Tables of pictures and captions as one JSON object a line. Objects may have other keys, and each its own. */
import { type ByteSource, ToklipError } from "../core/index.ts";
import { quoted } from "../files/quoted.ts";
import { type Json, type JsonObject, parseJson } from "../files/strict-json.ts";
import { decodeUtf8 } from "../files/utf8.ts";
import { type ColumnChoice, chooseColumns } from "./column-choice.ts";
import { indexRecords, MAX_RECORD_BYTES } from "./record-index.ts";
import type { OpenTable, TableOptions, TableRow } from "./table.ts";

const MAX_DEPTH = 32;

/**
 * Opens a table of JSON lines. Keys that the user names must be in the first object.
 * @throws DATA_INVALID for a named key that is not there, or no key of pictures; FILE_READ_FAILED, ABORTED
 */
export async function openJsonlTable(source: ByteSource, options: TableOptions): Promise<OpenTable> {
  const index = await indexRecords(source, undefined, options);
  if (index.size > 0 && index.at(0).length <= MAX_RECORD_BYTES) {
    const { start, length } = index.at(0);
    const first = objectOrNone(await source.read(start, length), source.name);
    if (first !== undefined) chooseColumns([...first.keys()], options, `${source.name}: line 1`);
  }
  return { index, firstRecord: 0, parse: (bytes, row) => parseRow(bytes, row, options) };
}

function objectOrNone(bytes: Uint8Array, where: string): JsonObject | undefined {
  try {
    return parseObject(bytes, where);
  } catch {
    return undefined; // a bad line is met, and counted, when its turn comes
  }
}

function parseRow(bytes: Uint8Array, row: string, options: TableOptions): TableRow {
  const object = parseObject(bytes, row);
  const choice = columnsOf(object, options, row);
  const concept = textsAt(object, choice.concept, row)[0];
  return {
    image: textsAt(object, choice.image, row)[0] ?? "",
    captions: textsAt(object, choice.caption, row),
    concept,
  };
}

/** A column that only other objects have is an empty one here. */
function columnsOf(object: JsonObject, options: TableOptions, row: string): ColumnChoice {
  const { imageColumn, captionColumn, conceptColumn } = options;
  const named = [imageColumn, captionColumn, conceptColumn].filter((name) => typeof name === "string");
  return chooseColumns([...object.keys(), ...named], options, row);
}

function parseObject(bytes: Uint8Array, where: string): JsonObject {
  const value = parseJson(decodeUtf8(bytes, where), where, MAX_DEPTH);
  if (value instanceof Map) return value;
  throw new ToklipError("FILE_CORRUPT", `${where}: expected a JSON object`);
}

/** The texts, or the numbers as text, of a key that holds one or a list of them. */
function textsAt(object: JsonObject, key: string | undefined, where: string): string[] {
  const value = (key === undefined ? undefined : object.get(key)) ?? [];
  return (Array.isArray(value) ? value : [value]).map((item: Json) => {
    if (typeof item === "string" || typeof item === "number") return String(item);
    throw new ToklipError("FILE_CORRUPT", `${where}: ${quoted(key!)} is neither a text nor a list of texts`);
  });
}
