/** Which columns of a table hold pictures, captions and concepts: by the names that data sets use, or as the user says. */
import { ToklipError } from "../core/index.ts";
import { quoted } from "../files/quoted.ts";
import { nearestName } from "./nearest-name.ts";

/** Columns that the user names. Where one is not named, its usual names are tried. */
export interface ColumnOptions {
  /**
   * Usual names: filepath, image, file, path, file_name, filename, image_path, jpg, url, image_url. Null where the table is
   * read for its captions alone.
   */
  readonly imageColumn?: string | null | undefined;
  /** Usual names: title, caption, captions, text, texts, label. */
  readonly captionColumn?: string | undefined;
  /** Usual name: concept; or the caption's column where that is `label`. */
  readonly conceptColumn?: string | undefined;
}

/** The columns that were found. */
export interface ColumnChoice {
  /** Undefined only where none is wanted. */
  readonly image: string | undefined;
  readonly caption: string | undefined;
  readonly concept: string | undefined;
}

/** The usual names, the first found being taken. */
const USUAL = {
  image: ["filepath", "image", "file", "path", "file_name", "filename", "image_path", "jpg", "url", "image_url"],
  caption: ["title", "caption", "captions", "text", "texts", "label"],
  concept: ["concept"],
} as const;

/** A caption of this name is a class: pictures that share it share a concept. */
const CLASS_COLUMN = "label";

/**
 * Finds the columns among those there are. Data without captions are data too.
 * @throws DATA_INVALID for a named column that is not there, or no column of pictures
 */
export function chooseColumns(columns: readonly string[], options: ColumnOptions, where: string): ColumnChoice {
  const image = options.imageColumn === null ? undefined : chooseImage(columns, options.imageColumn, where);
  const caption = choose(columns, "caption", options.captionColumn, where);
  const concept = choose(columns, "concept", options.conceptColumn, where);
  return { image, caption, concept: concept ?? (caption === CLASS_COLUMN ? caption : undefined) };
}

function chooseImage(columns: readonly string[], named: string | undefined, where: string): string {
  const image = choose(columns, "image", named, where);
  if (image !== undefined) return image;
  const usual = USUAL.image.join(", ");
  throw new ToklipError(
    "DATA_INVALID",
    `${where}: no column of pictures (${usual}): it has ${listed(columns)}; name one with imageColumn`,
  );
}

function choose(columns: readonly string[], kind: keyof typeof USUAL, named: string | undefined, where: string) {
  if (named === undefined) return USUAL[kind].find((name) => columns.includes(name));
  if (columns.includes(named)) return named;
  const nearest = nearestName(named, columns);
  const hint = nearest === undefined ? "" : `; did you mean ${quoted(nearest)}?`;
  const problem = `no column ${quoted(named)} (${kind}Column): it has ${listed(columns)}${hint}`;
  throw new ToklipError("DATA_INVALID", `${where}: ${problem}`);
}

const MOST_LISTED = 30;

function listed(columns: readonly string[]): string {
  const shown = columns.slice(0, MOST_LISTED).map(quoted).join(", ");
  return columns.length > MOST_LISTED ? `${shown} and ${columns.length - MOST_LISTED} more` : shown || "none";
}
