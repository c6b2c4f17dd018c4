/** Checkpoints in the file system. */
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ToklipError } from "../core/index.ts";
import { type Checkpoint, openCheckpoint, type TorchOptions } from "../files/index.ts";
import { readError } from "./file-errors.ts";
import { openFileSource } from "./file-source.ts";

/** What is looked for in a folder, in this order. */
const FOLDER_PATTERNS = [/\.safetensors\.index\.json$/, /\.safetensors$/, /\.(?:pt|pth|ckpt|bin)$/];

/**
 * Opens a checkpoint: a file of any supported format, the index of several, or a folder that holds one index, else one
 * .safetensors file, else one PyTorch file.
 * @throws FILE_NOT_FOUND; FILE_READ_FAILED; FILE_UNSUPPORTED; FILE_CORRUPT; CHECKPOINT_MISMATCH
 */
export async function openCheckpointFile(path: string, options: TorchOptions = {}): Promise<Checkpoint> {
  const file = await checkpointIn(path);
  const source = await openFileSource(file);
  try {
    return await openCheckpoint(source, (name) => openFileSource(join(dirname(file), name)), options);
  } catch (thrown) {
    await source.close?.();
    throw thrown;
  }
}

/** The path itself where it is a file, otherwise that of the one checkpoint in the folder. */
async function checkpointIn(path: string): Promise<string> {
  const names = await namesIn(path);
  if (names === undefined) return path;
  for (const pattern of FOLDER_PATTERNS) {
    const found = names.filter((name) => pattern.test(name));
    if (found.length === 1) return join(path, found[0]!);
    if (found.length > 1) {
      throw new ToklipError(
        "FILE_UNSUPPORTED",
        `${path}: several checkpoints (${found.sort().slice(0, 5).join(", ")})`,
      );
    }
  }
  throw new ToklipError("FILE_NOT_FOUND", `${path}: no checkpoint in this folder`);
}

async function namesIn(path: string): Promise<string[] | undefined> {
  try {
    return (await stat(path)).isDirectory() ? await readdir(path) : undefined;
  } catch (thrown) {
    throw readError(thrown, path);
  }
}
