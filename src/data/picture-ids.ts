/**
 * Ids of pictures as data sets store them: an .npy array of whole numbers (LlamaGen stores one of (1, variants, ids) a
 * picture), or JSON: a list, a list of lists, or an object that has one at `ids`, as `tokenize` writes its lines.
 *
 * How many ids a variant has is not known here; the numbers come one after another.
 */
import { memorySource, ToklipError } from "../core/index.ts";
import { readNpy } from "../files/npy.ts";
import { type Json, parseJson } from "../files/strict-json.ts";
import { decodeUtf8 } from "../files/utf8.ts";

/** The extensions of files that hold ids. */
export const IDS_FILES: ReadonlySet<string> = new Set(["ids", "npy", "ids.npy", "ids.json"]);

const MAX_DEPTH = 32;
const LARGEST_ID = 0x7fffffff;
/** What an .npy file begins with. */
const NPY_START = 0x93;

/**
 * Reads the ids that a file holds.
 * @throws FILE_CORRUPT for what is no such file, or has no ids; FILE_UNSUPPORTED for an array of no whole numbers
 */
export async function readPictureIds(bytes: Uint8Array, where: string): Promise<Int32Array> {
  if (bytes[0] !== NPY_START) return idsOfJson(parseJson(decodeUtf8(bytes, where), where, MAX_DEPTH), where);
  const { dtype, data } = await readNpy(memorySource(bytes, where));
  if (!/^[iu]\d+$/.test(dtype)) {
    throw new ToklipError("FILE_UNSUPPORTED", `${where}: ids of dtype ${dtype}, expected whole numbers`);
  }
  return checkedIds(data as ArrayLike<number | bigint>, where);
}

/** The ids of a parsed list, list of lists, or object that has one at `ids`. @throws FILE_CORRUPT */
export function idsOfJson(value: Json | undefined, where: string): Int32Array {
  const list = value instanceof Map ? value.get("ids") : value;
  if (!Array.isArray(list)) throw new ToklipError("FILE_CORRUPT", `${where}: ids are not a list`);
  return checkedIds(list.flat(), where);
}

/** Numbers as ids. @throws FILE_CORRUPT unless there are some, and all are whole numbers from 0 to 2^31 - 1 */
export function checkedIds(values: ArrayLike<unknown>, where: string): Int32Array {
  if (values.length === 0) throw new ToklipError("FILE_CORRUPT", `${where}: there are no ids`);
  return Int32Array.from(values, (value) => {
    const id = typeof value === "bigint" ? Number(value) : value;
    if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id <= LARGEST_ID) return id;
    throw new ToklipError("FILE_CORRUPT", `${where}: an id is no whole number from 0 to ${LARGEST_ID}`);
  });
}
