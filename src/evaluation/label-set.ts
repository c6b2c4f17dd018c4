/**
 * The classes that a picture is named from, and the words for each: a text file with a class a line, or JSON.
 *
 *     tabby cat                         a class and its only name
 *     n02123045<TAB>tabby,tabby cat     a class as the data name it, and its names, which are averaged
 *     ["tabby cat", ["fox", "red fox"]]                JSON: names; of several the first is the class
 *     {"n02123045": ["tabby", "tabby cat"]}            JSON: names by class
 *
 * Underscores in a class are as good as spaces, since folders are named so. Names of other classes may be equal (there are
 * such in ImageNet): the first class is then taken.
 */
import { ToklipError } from "../core/index.ts";
import { quoted } from "../files/quoted.ts";
import { type Json, parseJson } from "../files/strict-json.ts";

/** A class. */
export interface LabelClass {
  /** As the data name it. */
  readonly name: string;
  /** What it is called in prompts, one or more. */
  readonly names: readonly string[];
}

/** Classes to choose among, no two of one name. */
export interface LabelSet {
  /** What it is, for messages and reports: its file. */
  readonly name: string;
  readonly classes: readonly LabelClass[];
}

/** More classes than this are a mistaken file. */
const MOST_CLASSES = 1_000_000;
const MAX_DEPTH = 4;

/** A class and where it stands in its file. */
interface Entry extends LabelClass {
  readonly where: string;
}

/** The form of a class's name that two ways of writing it share. */
export function classKey(name: string): string {
  return name.replaceAll("_", " ").trim();
}

/**
 * Reads a label file.
 * @param name the file, for messages
 * @throws DATA_INVALID for a class that comes twice, an empty line or name, or no class; FILE_CORRUPT for malformed JSON
 */
export function parseLabels(text: string, name: string): LabelSet {
  const plain = text.replace(/^\uFEFF/, "");
  const entries = /^\s*[[{]/.test(plain) ? jsonEntries(plain, name) : lineEntries(plain, name);
  if (entries.length === 0) throw new ToklipError("DATA_INVALID", `${name}: holds no label`);
  if (entries.length > MOST_CLASSES) {
    throw new ToklipError("DATA_INVALID", `${name}: ${entries.length} labels are more than ${MOST_CLASSES}`);
  }
  const known = new Map<string, Entry>();
  for (const entry of entries) {
    const earlier = known.get(classKey(entry.name));
    if (earlier !== undefined) {
      throw new ToklipError("DATA_INVALID", `${entry.where}: ${quoted(entry.name)} stands at ${earlier.where} already`);
    }
    known.set(classKey(entry.name), entry);
  }
  return { name, classes: entries.map(({ where: _, ...rest }) => rest) };
}

function lineEntries(text: string, file: string): Entry[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1)?.trim() === "") lines.pop();
  return lines.map((line, i) => {
    const where = `${file}, line ${i + 1}`;
    if (line.trim() === "") throw new ToklipError("DATA_INVALID", `${where}: is empty`);
    const tab = line.indexOf("\t");
    if (tab < 0) return entryOf(line, [line], where);
    return entryOf(line.slice(0, tab), line.slice(tab + 1).split(","), where);
  });
}

function jsonEntries(text: string, file: string): Entry[] {
  const value = parseJson(text, file, MAX_DEPTH);
  if (value instanceof Map) {
    return [...value].map(([key, names]) =>
      entryOf(key, namesOf(names, `${file}, ${quoted(key)}`), `${file}, ${quoted(key)}`),
    );
  }
  return (value as Json[]).map((item, i) => {
    const where = `${file}, entry ${i + 1}`;
    const names = namesOf(item, where);
    return entryOf(names[0]!, names, where);
  });
}

function namesOf(value: Json, where: string): string[] {
  const names = Array.isArray(value) ? value : [value];
  if (names.length > 0 && names.every((name) => typeof name === "string")) return names;
  throw new ToklipError("DATA_INVALID", `${where}: expected a name or a list of names`);
}

function entryOf(name: string, names: readonly string[], where: string): Entry {
  const [trimmed, ...words] = [name, ...names].map((text) => text.trim());
  if (trimmed === "" || words.includes("")) throw new ToklipError("DATA_INVALID", `${where}: a name is empty`);
  return { name: trimmed!, names: [...new Set(words)], where };
}

/** The number of each class of a set by the name that data may give it; undefined for what it does not have. */
export function classNumbers({ classes }: LabelSet): (name: string) => number | undefined {
  const numbers = new Map(classes.map(({ name }, i) => [classKey(name), i]));
  return (name) => numbers.get(classKey(name));
}
