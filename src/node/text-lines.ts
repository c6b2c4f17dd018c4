/**
 * Text files of one record a line: read without holding more than a line, appended to so that a reader, or a run that
 * was killed, never meets half a line that looks whole.
 */
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { messageOf, ToklipError, throwIfAborted } from "../core/index.ts";

/** A line longer than this is not one of ours. */
const LONGEST_LINE_BYTES = 64e6;

const LINE_FEED = 10;

/** A line of a file. */
export interface TextLine {
  /** Without its line end. */
  readonly text: string;
  /** From 1. */
  readonly number: number;
  /** The offset of the byte after its line end. */
  readonly end: number;
  /** False for a last line that has no line end. */
  readonly whole: boolean;
}

/**
 * Yields the lines of a UTF-8 file.
 * @throws FILE_NOT_FOUND; FILE_CORRUPT for a line beyond 64 MB; ABORTED
 */
export async function* readLines(
  file: string,
  { signal }: { signal?: AbortSignal | undefined } = {},
): AsyncGenerator<TextLine, void, undefined> {
  let pieces: Buffer[] = [];
  let held = 0;
  let number = 0;
  let end = 0;
  const take = (whole: boolean): TextLine => {
    const text = Buffer.concat(pieces).toString("utf8").replace(/\r$/, "");
    pieces = [];
    held = 0;
    return { text, number: ++number, end, whole };
  };
  for await (const chunk of openStream(file)) {
    throwIfAborted(signal, file);
    let begin = 0;
    for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, begin)) {
      pieces.push(chunk.subarray(begin, at));
      end += at + 1 - begin;
      begin = at + 1;
      yield take(true);
    }
    if (begin === chunk.length) continue;
    pieces.push(chunk.subarray(begin));
    held += chunk.length - begin;
    end += chunk.length - begin;
    if (held > LONGEST_LINE_BYTES) throw new ToklipError("FILE_CORRUPT", `${file}: line ${number + 1} has over 64 MB`);
  }
  if (held > 0) yield take(false);
}

async function* openStream(file: string): AsyncGenerator<Buffer, void, undefined> {
  try {
    yield* createReadStream(file) as AsyncIterable<Buffer>;
  } catch (error) {
    throw new ToklipError("FILE_NOT_FOUND", `${file}: cannot be read (${messageOf(error)})`, { cause: error });
  }
}

/** A file that grows by whole lines. It is made, or cut to `keepBytes`, when the first line comes. */
export class LineFile {
  private readonly path: string;
  private readonly keepBytes: number;
  private handle: FileHandle | undefined;
  private length = 0;

  constructor(path: string, { keepBytes = 0 }: { keepBytes?: number } = {}) {
    this.path = path;
    this.keepBytes = keepBytes;
  }

  /**
   * Appends one line. When that fails, what was written of it is taken back.
   * @throws FILE_WRITE_FAILED
   */
  async line(text: string): Promise<void> {
    const bytes = Buffer.from(`${text}\n`);
    try {
      this.handle ??= await this.open();
      await this.handle.appendFile(bytes);
      this.length += bytes.length;
    } catch (error) {
      await this.handle?.truncate(this.length).catch(() => {});
      throw new ToklipError("FILE_WRITE_FAILED", `${this.path}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Closes the file. */
  async close(): Promise<void> {
    await this.handle?.close();
    this.handle = undefined;
  }

  private async open(): Promise<FileHandle> {
    const handle = await open(this.path, "a");
    await handle.truncate(this.keepBytes);
    this.length = this.keepBytes;
    return handle;
  }
}
