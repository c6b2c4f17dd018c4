/**
 * Finds the pictures that a user named by files, folders and glob patterns.
 *
 * The order is that of the arguments; within a folder it is the plain order of the path strings, so that a second run
 * sees the same names in the same order. A folder is walked as its pictures are asked for: memory holds the names of
 * the folders that are open, not of the whole tree. (The matches of a glob pattern are all held, to sort them.) Each
 * folder is entered once, so links cannot loop and overlapping arguments give no picture twice. Hidden files and
 * folders are left out. A picture named directly may have any extension.
 */
import type { Dirent, Stats } from "node:fs";
import { opendir, realpath, stat } from "node:fs/promises";
import path from "node:path";
import { messageOf, ToklipError, throwIfAborted } from "../core/index.ts";

/** What a file in a folder must end in, in either case, to be taken for a picture. */
export const IMAGE_EXTENSIONS: ReadonlySet<string> = new Set(
  ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "tif", "tiff", "avif", "svg"].map((e) => `.${e}`),
);

export interface FindImagesOptions {
  /** A folder that is not entered: the one the results go to. */
  readonly exclude?: string;
  /** Takes what cannot be read inside a folder. Without it, that is thrown. */
  readonly onUnreadable?: ((folder: string, error: ToklipError) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** An argument, and the folder below which its pictures lie. */
export interface ImageInputs {
  readonly kind: "file" | "folder" | "glob";
  readonly argument: string;
  readonly root: string;
}

/**
 * Tells files, folders and patterns apart, before any work is done.
 * @throws FILE_NOT_FOUND for a name that is neither there nor a pattern
 */
export async function resolveImageInputs(args: readonly string[]): Promise<ImageInputs[]> {
  return Promise.all(args.map(resolveArgument));
}

async function resolveArgument(argument: string): Promise<ImageInputs> {
  const found = await stat(argument).catch(() => undefined);
  if (found?.isDirectory()) return { kind: "folder", argument, root: argument };
  if (found) return { kind: "file", argument, root: path.dirname(argument) };
  const pattern = process.platform === "win32" ? argument.replaceAll("\\", "/") : argument;
  const glob = await globbing();
  if (pattern === "" || !glob.isDynamicPattern(pattern)) {
    throw new ToklipError("FILE_NOT_FOUND", `${argument}: there is no such file or folder`);
  }
  return { kind: "glob", argument: pattern, root: globRoot(pattern, glob.isDynamicPattern) };
}

/** The part of a pattern before its first special character, up to a folder. */
function globRoot(pattern: string, isSpecial: (part: string) => boolean): string {
  const parts = pattern.split("/");
  const special = parts.findIndex((part) => part !== "" && isSpecial(part));
  const fixed = parts.slice(0, special < 0 ? -1 : special).join("/");
  return fixed === "" ? (pattern.startsWith("/") ? "/" : ".") : fixed;
}

/**
 * Yields the pictures' names, relative or absolute as the arguments are.
 * @throws NO_IMAGES at the end when there was none; ABORTED
 */
export async function* findImages(
  inputs: readonly ImageInputs[],
  options: FindImagesOptions = {},
): AsyncGenerator<string, void, undefined> {
  const seen: Seen = { folders: new Set(), files: new Set() };
  if (options.exclude !== undefined) seen.folders.add(await realpath(options.exclude).catch(() => ""));
  let count = 0;
  for (const input of inputs) {
    for await (const file of input.kind === "folder"
      ? walk(input.argument, seen, options)
      : named(input, seen, options)) {
      count++;
      yield file;
    }
  }
  if (count === 0) {
    throw new ToklipError("NO_IMAGES", `no pictures found in ${inputs.map(({ argument }) => argument).join(", ")}`);
  }
}

/** Counts what `findImages` yields, without keeping it. */
export async function countImages(inputs: readonly ImageInputs[], options: FindImagesOptions = {}): Promise<number> {
  let count = 0;
  for await (const _ of findImages(inputs, { ...options, onUnreadable: () => {} })) count++;
  return count;
}

async function picturesLike(pattern: string): Promise<string[]> {
  const glob = await globbing();
  return (await glob(pattern, { followSymbolicLinks: false })).filter(isPicture);
}

/** Loaded with the first pattern: most commands name files and folders, and should begin at once. */
async function globbing() {
  return (await import("fast-glob")).default;
}

/** What earlier arguments gave: folders walked, and files named one by one, as real absolute paths. */
interface Seen {
  readonly folders: Set<string>;
  readonly files: Set<string>;
}

/** The pictures of a file argument or a glob that no earlier argument gave. */
async function* named({ kind, argument, root }: ImageInputs, seen: Seen, { exclude, signal }: FindImagesOptions) {
  throwIfAborted(signal, argument);
  const names = kind === "file" ? [argument] : await picturesLike(argument);
  const kept = exclude === undefined ? names : names.filter((name) => !isInside(name, exclude));
  for (const name of kept.sort()) {
    const folder = await realpath(path.dirname(name)).catch(() => path.resolve(root));
    const real = path.join(folder, path.basename(name));
    if (seen.files.has(real) || (seen.folders.has(folder) && isPicture(name))) continue;
    seen.files.add(real);
    yield name;
  }
}

function isInside(name: string, folder: string): boolean {
  return path.resolve(name).startsWith(path.resolve(folder) + path.sep);
}

async function* walk(folder: string, seen: Seen, options: FindImagesOptions): AsyncGenerator<string, void, undefined> {
  throwIfAborted(options.signal, folder);
  const real = await realpath(folder).catch(() => folder);
  if (seen.folders.has(real)) return;
  seen.folders.add(real);
  for (const entry of await list(folder, options)) {
    const name = path.join(folder, entry);
    if (entry.endsWith(path.sep)) yield* walk(name.slice(0, -1), seen, options);
    else if (!seen.files.has(path.join(real, entry))) yield name;
  }
}

/** The pictures and subfolders (these with a separator at the end) of a folder, in the order of their path strings. */
async function list(folder: string, { onUnreadable }: FindImagesOptions): Promise<string[]> {
  const entries: string[] = [];
  try {
    for await (const entry of await opendir(folder, { bufferSize: 256 })) {
      const kind = entry.name.startsWith(".") ? undefined : await kindOf(folder, entry);
      if (kind !== undefined) entries.push(kind === "folder" ? entry.name + path.sep : entry.name);
    }
  } catch (error) {
    const wrapped = new ToklipError("FILE_NOT_FOUND", `${folder}: cannot be read (${messageOf(error)})`, {
      cause: error,
    });
    if (!onUnreadable) throw wrapped;
    onUnreadable(folder, wrapped);
  }
  return entries.sort();
}

async function kindOf(folder: string, entry: Dirent): Promise<"picture" | "folder" | undefined> {
  // A link that leads nowhere but is called a picture is one: that it cannot be read is told when its turn comes.
  const target: Dirent | Stats | undefined = entry.isSymbolicLink()
    ? await stat(path.join(folder, entry.name)).catch(() => undefined)
    : entry;
  if (target?.isDirectory()) return "folder";
  return isPicture(entry.name) && (target === undefined || target.isFile()) ? "picture" : undefined;
}

function isPicture(name: string): boolean {
  return IMAGE_EXTENSIONS.has(path.extname(name).toLowerCase());
}
