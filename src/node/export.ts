/** `export` in Node: a checkpoint -> ONNX files in a folder. */
import { join } from "node:path";
import { type LongCallOptions, ToklipError } from "../core/index.ts";
import { checkCheckpoint, checkpointGraphs, GRAPHS, type GraphName, withModelNames } from "../models/index.ts";
import { exportModel } from "../pipelines/export.ts";
import { findConfig } from "../pipelines/model-files.ts";
import { openAtomicFile } from "./atomic-file.ts";
import { makeFolder } from "./make-folder.ts";
import { nodePlatform } from "./platform.ts";

export interface ExportFilesOptions extends LongCallOptions {
  /** The folder to write to; made if it is not there. */
  readonly out: string;
  readonly config?: string | object;
  /** Lets files of the same names be replaced. Default false. */
  readonly overwrite?: boolean;
  /** Graphs to write, such as "vq_encoder". Default: all that the checkpoint has. */
  readonly parts?: readonly string[];
}

function isGraphName(name: string): name is GraphName {
  return Object.hasOwn(GRAPHS, name);
}

/**
 * Writes a model as ONNX files with a manifest.
 * @throws ARGUMENT_INVALID, FILE_NOT_FOUND, CHECKPOINT_MISMATCH, CONFIG_UNKNOWN, FILE_WRITE_FAILED, ABORTED
 */
export async function exportOnnx(
  source: string,
  { out, config, parts, overwrite, signal, onProgress }: ExportFilesOptions,
): Promise<{ files: string[] }> {
  const unknown = parts?.find((name) => !isGraphName(name));
  if (unknown !== undefined) {
    throw new ToklipError("ARGUMENT_INVALID", `part "${unknown}": expected ${Object.keys(GRAPHS).join(", ")}`);
  }
  const location = await nodePlatform.locate(source, { download: false, signal });
  const checkpoint = withModelNames(await nodePlatform.openCheckpoint(location));
  try {
    const found = await findConfig(nodePlatform, location, checkpoint, config);
    checkCheckpoint(checkpoint, found, checkpointGraphs(checkpoint, found));
    await makeFolder(out);
    const openSink = (file: string) => openAtomicFile(join(out, file), { overwrite, signal });
    const { files } = await exportModel(checkpoint, found, {
      openSink,
      signal,
      onProgress,
      ...(parts && { parts: parts.filter(isGraphName) }),
    });
    return { files: files.map((file) => join(out, file)) };
  } finally {
    await checkpoint.close();
  }
}
