/** What every parser must do with any bytes. */
import { memorySource, ToklipError } from "../../src/core/index.ts";
import { type Checkpoint, readTensor } from "../../src/files/index.ts";

/** Gives the value or the `ToklipError`; rethrows any other exception. */
export async function valueOrError<T>(attempt: () => T | Promise<T>): Promise<T | ToklipError> {
  try {
    return await attempt();
  } catch (thrown) {
    if (thrown instanceof ToklipError) return thrown;
    throw thrown;
  }
}

/** Opens bytes as a checkpoint and reads all its tensors and metadata. */
export async function readAll(
  open: (source: ReturnType<typeof memorySource>) => Promise<Checkpoint>,
  bytes: Uint8Array,
): Promise<Checkpoint | ToklipError> {
  return valueOrError(async () => {
    const checkpoint = await open(memorySource(bytes, "fuzzed"));
    for (const entry of checkpoint.tensors.values()) await readTensor(entry);
    JSON.stringify(checkpoint.metadata);
    return checkpoint;
  });
}

/** The code of the `ToklipError` that an attempt fails with, or "none". */
export async function codeOf(attempt: () => unknown): Promise<string> {
  const result = await valueOrError(attempt);
  return result instanceof ToklipError ? result.code : "none";
}
