/** Node as a platform: files, pictures by sharp, the hub's cache, ONNX Runtime in a worker thread. */
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { ToklipError } from "../core/index.ts";
import type { ImageInput } from "../pipelines/model.ts";
import type { Platform } from "../pipelines/platform.ts";
import { bundledFile } from "./bundled-file.ts";
import { openCheckpointFile } from "./checkpoint.ts";
import { openFileSource } from "./file-source.ts";
import { isHubName, resolveHubFile } from "./hub.ts";
import { decodeImage } from "./image.ts";
import { createOrtBackend } from "./ort-backend.ts";

export const nodePlatform: Platform = {
  async locate(source, { download, signal, onProgress }) {
    const bundled = bundledFile(source);
    if (bundled !== undefined) return bundled;
    const path = resolve(source);
    if (existsSync(path)) return path;
    if (isHubName(source)) return resolveHubFile(source, { download, signal, onProgress });
    throw new ToklipError("FILE_NOT_FOUND", `there is no model at ${source}`);
  },
  openCheckpoint: openCheckpointFile,
  async findFile(names, besideCheckpoint) {
    const candidates = names.map((name) =>
      besideCheckpoint === "" ? resolve(name) : join(dirname(besideCheckpoint), name),
    );
    const found = candidates.find((path) => existsSync(path));
    return found === undefined ? undefined : openFileSource(found);
  },
  decodeImage: (input: ImageInput, { exif = true, maxPixels }) =>
    typeof input === "string" || input instanceof Uint8Array
      ? decodeImage(input, { exif, ...(maxPixels !== undefined && { maxPixels }) })
      : Promise.resolve(input),
  createBackend: ({ device, threads }) => createOrtBackend({ device, ...(threads !== undefined && { threads }) }),
};
