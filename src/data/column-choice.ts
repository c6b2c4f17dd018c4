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

/** As `ColumnOptions`, of tables that hold ids in place of pictures. */
export interface IdsColumnOptions extends Omit<ColumnOptions, "imageColumn"> {
  /** Usual names: ids, image_ids, codes. */
  readonly idsColumn?: string | undefined;
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
  ids: ["ids", "image_ids", "codes"],
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
  const image = options.imageColumn === null ? undefined : chooseContent(columns, "image", options.imageColumn, where);
  const caption = choose(columns, "caption", options.captionColumn, where);
  const concept = choose(columns, "concept", options.conceptColumn, where);
  return { image, caption, concept: concept ?? (caption === CLASS_COLUMN ? caption : undefined) };
}

/** Finds the columns of a table of ids. @throws DATA_INVALID for a named column that is not there, or no column of ids */
export function chooseIdsColumns(
  columns: readonly string[],
  options: IdsColumnOptions,
  where: string,
): Omit<ColumnChoice, "image"> & { readonly ids: string } {
  const { image: _, ...others } = chooseColumns(columns, { ...options, imageColumn: null }, where);
  return { ...others, ids: chooseContent(columns, "ids", options.idsColumn, where) };
}

const CONTENTS = { image: "pictures", ids: "ids" } as const;

function chooseContent(
  columns: readonly string[],
  kind: keyof typeof CONTENTS,
  named: string | undefined,
  where: string,
): string {
  const column = choose(columns, kind, named, where);
  if (column !== undefined) return column;
  throw new ToklipError(
    "DATA_INVALID",
    `${where}: no column of ${CONTENTS[kind]} (${USUAL[kind].join(", ")}): it has ${listed(columns)}; name one with ${kind}Column`,
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
