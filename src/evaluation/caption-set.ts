/**
 * Pictures with several captions each, as retrieval is measured on: Karpathy's split of COCO and Flickr30k
 * (`dataset_coco.json`), the flat list that ALBEF and BLIP made of it, which the reference reads, and JSON lines of ours:
 *
 *     {"images": [{"split": "test", "filepath": "val2014", "filename": "a.jpg", "sentences": [{"raw": "..."}]}]}
 *     [{"image": "val2014/a.jpg", "caption": ["...", "..."]}]
 *     {"image": "a.png", "captions": ["...", "..."], "groups": ["label", "tags"]}
 *
 * `groups`, where it is there, names the kind of each caption, so that each kind can be scored apart. What is malformed is
 * counted and passed over; a picture that comes twice is one picture with the captions of both.
 */
import { type LongCallOptions, messageOf, ToklipError } from "../core/index.ts";
import { readPicture } from "../data/data-files.ts";
import { type DataFiles, type Dataset, indexedDataset } from "../data/index.ts";
import { pictureVersion } from "../data/recall.ts";
import { indexRecords, MAX_RECORD_BYTES } from "../data/record-index.ts";
import { quoted } from "../files/quoted.ts";
import { decodeUtf8 } from "../files/utf8.ts";
import type { EvaluatedData } from "./evaluation.ts";

/** A text below a picture. */
export interface Caption {
  readonly text: string;
  /** Its kind, where it is named. */
  readonly group?: string;
}

/** A picture and its captions. */
export interface CaptionedPicture {
  /** A path relative to the set's root or absolute, or an address. */
  readonly image: string;
  /** At least one. */
  readonly captions: readonly Caption[];
}

/** A data set of pictures with captions. */
export interface CaptionSet {
  readonly name: string;
  readonly pictures: readonly CaptionedPicture[];
  /** What could not be used, by reason. */
  readonly skipped: EvaluatedData["skipped"];
}

/** How a caption file is read. */
export interface CaptionSetOptions extends LongCallOptions {
  /** Which part of a file that has parts. Default `"test"`. */
  readonly split?: string | undefined;
}

/** An entry as it is written, not yet checked. */
interface Entry {
  readonly where: string;
  readonly image: unknown;
  readonly captions: unknown;
  readonly groups?: unknown;
}

const JSON_LINES = /\.(jsonl|ndjson)$/i;
const DEFAULT_SPLIT = "test";

/**
 * Reads a caption file: `.jsonl` or `.ndjson` as JSON lines, anything else as one JSON value.
 * @throws FILE_CORRUPT for a file that is no JSON; DATA_INVALID for one of another layout, or without the split;
 * DATA_EMPTY when no picture has a caption; FILE_NOT_FOUND, FILE_READ_FAILED, ABORTED
 */
export async function openCaptionSet(
  files: DataFiles,
  path: string,
  options: CaptionSetOptions = {},
): Promise<CaptionSet> {
  const skipped = new SkipCount();
  const gathered = new Map<string, Caption[]>();
  const entries = JSON_LINES.test(path) ? linesOf(files, path, skipped, options) : entriesOf(files, path, options);
  for await (const entry of entries) gather(entry, gathered, skipped);
  const pictures = Array.from(gathered, ([image, captions]) => ({ image, captions })).filter(({ image, captions }) => {
    if (captions.length === 0) skipped.add("picture without captions", image);
    return captions.length > 0;
  });
  if (pictures.length > 0) return { name: path, pictures, skipped: skipped.list() };
  const why = skipped.list().map(({ reason, count, example }) => `${count} ${reason} (${example})`);
  throw new ToklipError(
    "DATA_EMPTY",
    `${path}: no picture has a caption${why.length > 0 ? `: ${why.join(", ")}` : ""}`,
  );
}

/** The pictures as a data set: the key of each is how the file names it. */
export function captionedPictures(files: DataFiles, { name, pictures }: CaptionSet, root: string): Dataset {
  return indexedDataset({
    name,
    size: pictures.length,
    entry: async (index) => {
      const { image, captions } = pictures[index]!;
      return {
        sample: {
          key: image,
          image: (signal) => readPicture(files, root, image, signal),
          version: () => pictureVersion(files, root, image),
          captions: captions.map(({ text }) => text),
        },
      };
    },
  });
}

/** Counts what is passed over, by reason, and keeps the first of each. */
class SkipCount {
  private readonly counts = new Map<string, { reason: string; count: number; example: string }>();

  add(reason: string, example: string): void {
    const known = this.counts.get(reason);
    if (known === undefined) this.counts.set(reason, { reason, count: 1, example });
    else known.count++;
  }

  list(): EvaluatedData["skipped"] {
    return [...this.counts.values()];
  }
}

/** Checks an entry and adds its captions to those of its picture. */
function gather({ where, image, captions, groups }: Entry, pictures: Map<string, Caption[]>, skipped: SkipCount): void {
  if (typeof image !== "string" || image.trim() === "") {
    skipped.add("captions without a picture", where);
    return;
  }
  const checked = checkCaptions(captions, groups);
  if (typeof checked === "string") {
    skipped.add(checked, `${where} ${image}`);
    return;
  }
  const known = pictures.get(image) ?? [];
  pictures.set(image, known);
  for (const caption of checked) {
    if (caption.text === "") skipped.add("empty caption", `${where} ${image}`);
    else known.push(caption);
  }
}

/** Captions and their kinds together, or what is wrong with them. */
function checkCaptions(captions: unknown, groups: unknown): Caption[] | string {
  const texts = typeof captions === "string" ? [captions] : (captions ?? []);
  if (!Array.isArray(texts) || !texts.every((text) => typeof text === "string")) {
    return "entry whose captions are not texts";
  }
  const kinds = groups ?? texts.map(() => null);
  if (!Array.isArray(kinds) || kinds.length !== texts.length || !kinds.every(isKind)) {
    return "entry whose groups are not one text a caption";
  }
  return texts.map((text, i) => ({ text: text.trim(), ...(kinds[i] !== null && { group: kinds[i] as string }) }));
}

function isKind(group: unknown): boolean {
  return group === null || (typeof group === "string" && group !== "");
}

async function* linesOf(
  files: DataFiles,
  path: string,
  skipped: SkipCount,
  options: CaptionSetOptions,
): AsyncGenerator<Entry> {
  const source = await files.open(path);
  try {
    const index = await indexRecords(source, undefined, options);
    for (let line = 0; line < index.size; line++) {
      const where = `${path}: entry ${line + 1}`;
      const { start, length } = index.at(line);
      const object = length > MAX_RECORD_BYTES ? undefined : objectIn(await source.read(start, length), where);
      if (object === undefined) skipped.add("line that is no JSON object", where);
      else yield { where, image: object.image, captions: object.captions ?? object.caption, groups: object.groups };
    }
  } finally {
    await source.close?.();
  }
}

/** The JSON object in some bytes, if that is what they are. */
function objectIn(bytes: Uint8Array, where: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return objectOf(JSON.parse(decodeUtf8(bytes, where)));
  } catch {
    return undefined;
  }
}

/** The value as an object whose keys may be asked for; undefined for anything else. */
function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

async function* entriesOf(files: DataFiles, path: string, options: CaptionSetOptions): AsyncGenerator<Entry> {
  const json = parse(await files.read(path, options.signal), path);
  if (Array.isArray(json)) return yield* flatEntries(json, path);
  const images = objectOf(json)?.images;
  if (Array.isArray(images)) return yield* karpathyEntries(images, path, options.split ?? DEFAULT_SPLIT);
  throw new ToklipError("DATA_INVALID", `${path}: expected {"images": [...]} or [{"image": ..., "caption": [...]}]`);
}

function parse(bytes: Uint8Array, path: string): unknown {
  const text = decodeUtf8(bytes, path);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ToklipError("FILE_CORRUPT", `${path}: ${messageOf(cause)}`, { cause });
  }
}

function* flatEntries(list: readonly unknown[], path: string): Generator<Entry> {
  for (const [i, item] of list.entries()) {
    const { image, caption, captions = caption, groups } = objectOf(item) ?? {};
    yield { where: `${path}: entry ${i + 1}`, image, captions, groups };
  }
}

/** @throws DATA_INVALID when no picture is of the split */
function* karpathyEntries(images: readonly unknown[], path: string, split: string): Generator<Entry> {
  const others = new Map<string, number>();
  let found = false;
  for (const [i, item] of images.entries()) {
    const { split: own = split, filepath, filename, sentences } = objectOf(item) ?? {};
    if (own !== split) {
      others.set(String(own), (others.get(String(own)) ?? 0) + 1);
      continue;
    }
    found = true;
    const image = typeof filepath === "string" && typeof filename === "string" ? `${filepath}/${filename}` : filename;
    const captions = Array.isArray(sentences) ? sentences.map((sentence) => objectOf(sentence)?.raw) : sentences;
    yield { where: `${path}: image ${i + 1}`, image, captions };
  }
  if (found || others.size === 0) return;
  const there = Array.from(others, ([name, count]) => `${quoted(name)} (${count})`)
    .slice(0, 10)
    .join(", ");
  throw new ToklipError("DATA_INVALID", `${path}: no picture is of the split ${quoted(split)}; there are ${there}`);
}
