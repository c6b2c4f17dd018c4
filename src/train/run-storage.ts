/**
 * The folder of a run as the loop sees it: files that are made whole, files that grow, and their removal.
 * Interfaces only, the platform brings them in. Paths are relative to the folder, with `/` between their parts.
 */
import { type ByteSink, type ByteSource, ToklipError } from "../core/index.ts";
import type { AtomicSink } from "../files/index.ts";
import type { Image } from "../image/index.ts";

/** A file that grows. What is written reaches the system at once, so that a killed process loses none of it. */
export interface GrowingFile extends ByteSink {
  /** Appends bytes, all or (after a failure) none. @throws FILE_WRITE_FAILED */
  write(bytes: Uint8Array): Promise<void>;
  /** Forces all of it to disk. @throws FILE_WRITE_FAILED */
  sync(): Promise<void>;
  /** Closes it. */
  close(): Promise<void>;
}

/** A folder. */
export interface RunStorage {
  /** What to call it in messages: its path. */
  readonly name: string;
  /** The names in one of its folders (`""` is itself), sorted; none where there is no such folder. @throws FILE_READ_FAILED */
  list(folder: string): Promise<readonly string[]>;
  /** Opens a file for reading. @throws FILE_NOT_FOUND, FILE_READ_FAILED */
  open(path: string): Promise<ByteSource>;
  /** Starts a file that will appear whole, replacing one of its name; makes the folders above it. @throws FILE_WRITE_FAILED */
  create(path: string): Promise<AtomicSink>;
  /** Goes on writing a file after its first `keepBytes` bytes, the rest of it is cut off. @throws FILE_WRITE_FAILED */
  append(path: string, keepBytes: number): Promise<GrowingFile>;
  /** Removes a file, or a folder with all that it holds, if it is there. @throws FILE_WRITE_FAILED */
  remove(path: string): Promise<void>;
  /** Forces what a folder says of its files to disk. @throws FILE_WRITE_FAILED */
  sync(folder: string): Promise<void>;
  /** Makes sure that the folder is still this process's alone. @throws FOLDER_BUSY */
  confirm(): Promise<void>;
}

/** How a platform makes picture files. */
export interface PictureWriter {
  /** The picture as a PNG file. */
  encodePng(image: Image): Promise<Uint8Array>;
  /** A drawing as a PNG file. */
  renderSvg(svg: string): Promise<Uint8Array>;
}

/** No file of a run that is read as a whole is larger. */
const LARGEST_TEXT_BYTES = 512 * 2 ** 20;

/**
 * The text of a file.
 * @throws FILE_NOT_FOUND, FILE_READ_FAILED; FILE_CORRUPT beyond 512 MB
 */
export async function readText(storage: RunStorage, path: string): Promise<string> {
  const source = await storage.open(path);
  try {
    if (source.byteLength > LARGEST_TEXT_BYTES) {
      throw new ToklipError("FILE_CORRUPT", `${locate(storage, path)}: ${source.byteLength} bytes are over 512 MB`);
    }
    return new TextDecoder().decode(await source.read(0, source.byteLength));
  } finally {
    await source.close?.();
  }
}

/** Writes a file that appears whole. @throws FILE_WRITE_FAILED */
export async function writeWhole(storage: RunStorage, path: string, content: string | Uint8Array): Promise<void> {
  const sink = await storage.create(path);
  try {
    await sink.write(typeof content === "string" ? new TextEncoder().encode(content) : content);
    await sink.commit();
  } catch (thrown) {
    await sink.abort();
    throw thrown;
  }
}

/** What to call a file of the folder in messages. */
export function locate(storage: RunStorage, path: string): string {
  return `${storage.name}/${path}`;
}
