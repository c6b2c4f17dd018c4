/** Converting a checkpoint from path to path. */
import { stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type ErrorCode, ToklipError } from "../core/index.ts";
import type { Checkpoint, WeightsChoice } from "../files/index.ts";
import { checkCheckpoint, checkpointGraphs, withModelNames } from "../models/index.ts";
import { type ConvertOptions, type ConvertResult, convertCheckpoint } from "../pipelines/convert.ts";
import { configMetadata, findConfig } from "../pipelines/model-files.ts";
import { openAtomicFile } from "./atomic-file.ts";
import { openCheckpointFile } from "./checkpoint.ts";
import { nodePlatform } from "./platform.ts";

export interface ConvertFileOptions extends Omit<ConvertOptions, "openSink" | "fileName"> {
  /** Which weights of a PyTorch file are taken. Default `model`. */
  readonly weights?: WeightsChoice | undefined;
  /** Lets files that exist be replaced. Default false. */
  readonly overwrite?: boolean | undefined;
}

/** What is said of checkpoints that are none of this project's models; their tensors are converted all the same. */
const UNKNOWN_CONFIG: ReadonlySet<ErrorCode> = new Set(["CONFIG_UNKNOWN", "CONFIG_INVALID", "CHECKPOINT_MISMATCH"]);

/**
 * Converts a checkpoint to .safetensors. The result carries the checkpoint's configuration, so that it opens wherever it
 * is moved to.
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
      metadata: { ...(await ownConfig(input, checkpoint)), ...rest.metadata },
      fileName: basename(path),
      openSink: (name) => openAtomicFile(join(dirname(path), name), { overwrite, signal: options.signal }),
    });
    return { ...result, files: result.files.map((name) => join(dirname(path), name)) };
  } finally {
    await checkpoint.close();
  }
}

/** The configuration that the checkpoint would be loaded with; nothing where none is found that fits it. */
async function ownConfig(input: string, checkpoint: Checkpoint): Promise<Readonly<Record<string, string>>> {
  try {
    const named = withModelNames(checkpoint);
    const config = await findConfig(nodePlatform, input, named, undefined);
    checkCheckpoint(named, config, checkpointGraphs(named, config));
    return configMetadata(config);
  } catch (thrown) {
    if (thrown instanceof ToklipError && UNKNOWN_CONFIG.has(thrown.code)) return {};
    throw thrown;
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
