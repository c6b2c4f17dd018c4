/**
 * What the small files beside a picture say of it: `.txt` a caption, `.json` captions and a concept, `.cls` a concept.
 * The fields of `.json`: `caption`, `captions`, `text` (a text or a list of texts each), `concept`, `concept_key`.
 */
import { type Json, parseJson } from "../files/strict-json.ts";
import { decodeUtf8 } from "../files/utf8.ts";

/** The extensions of the files that are read. */
export const SIDECARS: ReadonlySet<string> = new Set(["txt", "json", "cls"]);

const CAPTION_FIELDS = ["caption", "captions", "text"];
const CONCEPT_FIELDS = ["concept", "concept_key"];
const MAX_JSON_DEPTH = 32;

/** What is known of a picture. */
export interface Description {
  readonly captions: readonly string[];
  readonly concept?: string;
}

/**
 * Reads the files beside a picture. A caption that comes twice counts once; a `.json`'s concept goes before a `.cls`'s.
 * @param files their bytes by extension
 * @param linePerCaption every line of a `.txt` that is not empty is a caption of its own
 * @throws FILE_CORRUPT for what is not UTF-8, or not JSON
 */
export function describePicture(files: ReadonlyMap<string, Uint8Array>, linePerCaption: boolean): Description {
  const texts = new Map([...files].map(([extension, bytes]) => [extension, decodeText(bytes, extension)]));
  const text = texts.get("txt") ?? "";
  const json = texts.get("json");
  const fields = json === undefined ? null : parseJson(json, "its .json", MAX_JSON_DEPTH);
  const lines = linePerCaption ? text.split("\n") : [text];
  const captions = trimmed([
    ...lines,
    ...valuesOf(fields, CAPTION_FIELDS).filter((value) => typeof value === "string"),
  ]);
  const [concept] = trimmed([...valuesOf(fields, CONCEPT_FIELDS).filter(isName).map(String), texts.get("cls") ?? ""]);
  return { captions: [...new Set(captions)], ...(concept !== undefined && { concept }) };
}

function decodeText(bytes: Uint8Array, extension: string): string {
  return decodeUtf8(bytes, `its .${extension}`).replace(/^\uFEFF/, "");
}

/** What an object has under the keys; the members of a list one by one. */
function valuesOf(object: Json, keys: readonly string[]): Json[] {
  return object instanceof Map ? keys.flatMap((key) => object.get(key) ?? []) : [];
}

function isName(value: Json): value is string | number {
  return typeof value === "string" || typeof value === "number";
}

function trimmed(texts: readonly string[]): string[] {
  return texts.map((text) => text.trim()).filter((text) => text !== "");
}
