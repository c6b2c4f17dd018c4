/** Features of captions from files: what a text encoder of one's own has made for a GPT that continues captions. */
import { basename, extname } from "node:path";
import { type NDArray, ndarray, ToklipError, toF32 } from "../core/index.ts";
import { readNpy, readTensor } from "../files/index.ts";
import { openCheckpointFile } from "./checkpoint.ts";
import { openFileSource } from "./file-source.ts";

/** A caption by the name that its file gives it. */
export interface NamedCaption {
  readonly name: string;
  /** f32 (T, W). */
  readonly features: NDArray<"f32">;
}

const FLOATS: ReadonlySet<string> = new Set(["f32", "f16", "bf16", "f64"]);

/**
 * Reads the caption of an .npy file, or those of a .safetensors file, one a tensor. Each is floats (T, W) or (1, T, W), of
 * T valid tokens without padding, as LlamaGen's extraction writes them.
 * @throws FILE_NOT_FOUND, FILE_READ_FAILED, FILE_CORRUPT, FILE_UNSUPPORTED, SHAPE_MISMATCH, DTYPE_MISMATCH
 */
export async function readCaptionFeatures(path: string): Promise<NamedCaption[]> {
  const read = READERS[extname(path)];
  if (read !== undefined) return read(path);
  const known = Object.keys(READERS).join(" or ");
  throw new ToklipError("FILE_UNSUPPORTED", `${path}: features of captions are read from ${known} files`);
}

const READERS: Readonly<Record<string, (path: string) => Promise<NamedCaption[]>>> = {
  ".npy": async (path) => {
    const source = await openFileSource(path);
    try {
      return [{ name: basename(path, ".npy"), features: captionOf(await readNpy(source), path) }];
    } finally {
      await source.close?.();
    }
  },
  ".safetensors": async (path) => {
    const file = await openCheckpointFile(path);
    try {
      const captions: NamedCaption[] = [];
      for (const [name, entry] of file.tensors) {
        captions.push({ name, features: captionOf(await readTensor(entry), `${path}: ${name}`) });
      }
      return captions;
    } finally {
      await file.close();
    }
  },
};

function captionOf({ dtype, shape, data }: NDArray, where: string): NDArray<"f32"> {
  const [length, width, ...more] = shape.length === 3 && shape[0] === 1 ? shape.slice(1) : shape;
  if (!length || !width || more.length > 0) {
    throw new ToklipError("SHAPE_MISMATCH", `${where}: expected features (tokens, width), got [${shape}]`);
  }
  if (!FLOATS.has(dtype)) throw new ToklipError("DTYPE_MISMATCH", `${where}: expected floats, got ${dtype}`);
  return ndarray("f32", [length, width], toF32(dtype, data));
}
