/** ONNX files of others: a model with all of its weights, and what tells it from another. */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { loadExternalData, type OnnxModel, readOnnx } from "../onnx/index.ts";
import { openFileSource } from "./file-source.ts";

/**
 * Reads a model with the files that its weights are in.
 * @throws FILE_NOT_FOUND, FILE_READ_FAILED, FILE_CORRUPT, FILE_UNSUPPORTED
 */
export async function readOnnxFile(path: string): Promise<OnnxModel> {
  const source = await openFileSource(path);
  try {
    const model = readOnnx(await source.read(0, source.byteLength), path);
    return await loadExternalData(model, (location) => openFileSource(join(dirname(path), location)));
  } finally {
    await source.close?.();
  }
}

/** A hash of all that a model computes with, wherever its file is: 64 hexadecimal digits. */
export function onnxDigest({ nodes, inputs, outputs, opsets, initializers }: OnnxModel): string {
  const hash = createHash("sha256");
  hash.update(JSON.stringify({ nodes, inputs, outputs, opsets }));
  for (const { data, ...rest } of initializers) {
    hash.update(JSON.stringify(rest));
    hash.update(data instanceof Uint8Array ? data : JSON.stringify(data));
  }
  return hash.digest("hex");
}
