/** Converting a checkpoint from path to path. */
import { stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ToklipError } from "../core/index.ts";
import type { WeightsChoice } from "../files/index.ts";
import { type ConvertOptions, type ConvertResult, convertCheckpoint } from "../pipelines/convert.ts";
import { openAtomicFile } from "./atomic-file.ts";
import { openCheckpointFile } from "./checkpoint.ts";

export interface ConvertFileOptions extends Omit<ConvertOptions, "openSink" | "fileName"> {
  /** Which weights of a PyTorch file are taken. Default `model`. */
  readonly weights?: WeightsChoice | undefined;
  /** Lets files that exist be replaced. Default false. */
  readonly overwrite?: boolean | undefined;
}

/**
 * Converts a checkpoint to .safetensors.
 * @param input as `openCheckpointFile` takes it.
 * @param output a path ending in `.safetensors`, or a folder that exists, which gets a `model.safetensors`.
 * @returns what was written, with the paths of the files.
 * @throws ARGUMENT_INVALID; FILE_EXISTS; FILE_WRITE_FAILED; ABORTED; whatever `openCheckpointFile` throws.
 */
export async function convertFile(
  input: string,
  output: string,
  options: ConvertFileOptions = {},
): Promise<ConvertResult> {
  const path = (await isFolder(output)) ? join(output, "model.safetensors") : output;
  if (!path.endsWith(".safetensors")) {
    throw new ToklipError("ARGUMENT_INVALID", `${output}: expected a path ending in .safetensors, or a folder`);
  }
  const { weights, overwrite, ...rest } = options;
  const checkpoint = await openCheckpointFile(input, { weights });
  try {
    const result = await convertCheckpoint(checkpoint, {
      ...rest,
      fileName: basename(path),
      openSink: (name) => openAtomicFile(join(dirname(path), name), { overwrite, signal: options.signal }),
    });
    return { ...result, files: result.files.map((name) => join(dirname(path), name)) };
  } finally {
    await checkpoint.close();
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
