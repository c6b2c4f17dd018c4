/**
 * A folder of files that are made whole and files that grow: what rows, and the runs of a training, are kept in.
 * Interfaces only, the platform brings them in. Paths are relative to the folder, with `/` between their parts.
 */
import type { ByteSink, ByteSource } from "../core/index.ts";
import type { AtomicSink } from "../files/index.ts";

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
export interface RowStorage {
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
}

/** Writes a file that appears whole. @throws FILE_WRITE_FAILED */
export async function writeWhole(storage: RowStorage, path: string, content: string | Uint8Array): Promise<void> {
  const sink = await storage.create(path);
  try {
    await sink.write(typeof content === "string" ? new TextEncoder().encode(content) : content);
    await sink.commit();
  } catch (thrown) {
    await sink.abort();
    throw thrown;
  }
}
