/** Files that appear whole or not at all: interfaces only, the platform brings them in. */
import type { ByteSink } from "../core/index.ts";

/** A file in the making, under no name of its own until it is committed. */
export interface AtomicSink extends ByteSink {
  /** Says that all bytes are written, and waits until they are safe on disk. Writes after it are errors. */
  finish(): Promise<void>;
  /** Gives the file its name, replacing what has it now. Finishes it first where that was not done. */
  commit(): Promise<void>;
  /** Removes what was written. Does nothing after a commit. Never rejects. */
  abort(): Promise<void>;
}

/** Starts the file that will be called `fileName` (a plain name, no folder). */
export type OpenSink = (fileName: string) => Promise<AtomicSink>;

/**
 * Writes a group of files that appear together, in the order of their names: none does when `write` fails. All are
 * started first, so that a name that cannot be had is found out before the work is done.
 * @param write gets a sink a file.
 */
export async function writeTogether(
  openSink: OpenSink,
  fileNames: readonly string[],
  write: (sinks: readonly AtomicSink[]) => Promise<void>,
): Promise<void> {
  const sinks: AtomicSink[] = [];
  try {
    for (const fileName of fileNames) sinks.push(await openSink(fileName));
    await write(sinks);
    for (const sink of sinks) await sink.finish();
    for (const sink of sinks) await sink.commit();
  } catch (thrown) {
    await Promise.all(sinks.map((sink) => sink.abort()));
    throw thrown;
  }
}
