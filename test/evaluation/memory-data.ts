// A data set whose pictures are texts, a model that reads them, and a folder in memory: what passes are tested with.
import { createHash } from "node:crypto";
import { type NDArray, ndarray, ToklipError } from "../../src/core/index.ts";
import { type Dataset, indexedDataset } from "../../src/data/index.ts";
import { type FeaturePassOptions, passFeatures, sampleViews } from "../../src/evaluation/feature-pass.ts";
import { KeptRows } from "../../src/evaluation/kept-rows.ts";
import type { ScratchFile } from "../../src/evaluation/ordered-rows.ts";
import { MemoryStorage } from "../train/memory-storage.ts";

/** A sample: its key, its class, and whether something is wrong with it. */
export interface MemorySample {
  readonly key: string;
  readonly concept?: string;
  readonly caption?: string;
  readonly fault?: "undecodable" | "no image";
}

/** A data set whose pictures are the bytes of their keys. `version` changes when the pictures do. */
export function memoryData(samples: readonly MemorySample[], version = "1"): Dataset {
  return indexedDataset({
    name: "memory",
    size: samples.length,
    entry: async (index) => {
      const { key, concept, caption, fault } = samples[index]!;
      if (fault === "no image") return { bad: { key, reason: "no image", message: `${key}: names no picture` } };
      return {
        sample: {
          key,
          image: async () => new TextEncoder().encode(fault ?? key),
          version: async () => version,
          captions: caption === undefined ? [] : [caption],
          ...(concept !== undefined && { concept }),
        },
      };
    },
  });
}

/** A scratch file in memory. */
export function memoryScratch(): ScratchFile {
  let bytes = new Uint8Array(0);
  return {
    append: async (added) => {
      bytes = Uint8Array.from([...bytes, ...added]);
    },
    read: async (offset, length) => bytes.slice(offset, offset + length),
    close: async () => {},
  };
}

const SIZE = 2;
/** Floats of a feature. */
export const WIDTH = 3;

/** What the pixels of a picture hold: a number for its key. */
const markOf = (key: string) => createHash("sha256").update(key).digest()[0]! / 255;

/** The feature of a picture. */
export const featureOf = (key: string) =>
  Array.from({ length: WIDTH }, (_, i) => Math.fround(Math.fround(markOf(key)) + i));

/** A model that counts what it encodes, over a folder that outlives it. */
export class MemoryPass {
  readonly storage: MemoryStorage;
  /** Pictures that were decoded, and rows that went through the model in each batch. */
  readonly decoded: string[] = [];
  readonly batches: number[] = [];
  readonly warnings: string[] = [];

  constructor(storage = new MemoryStorage()) {
    this.storage = storage;
  }

  async run(
    dataset: Dataset,
    options: Partial<FeaturePassOptions> & { readonly identity?: string; session?: string } = {},
  ) {
    const { identity = "model", session = "a", ...rest } = options;
    const kept = await KeptRows.open({
      storage: this.storage,
      session,
      kind: "pictures",
      identity,
      width: WIDTH,
      digest: (bytes) => createHash("sha256").update(bytes).digest(),
      warn: (message) => this.warnings.push(message),
    });
    return passFeatures(dataset, {
      ...this.decoding,
      encode: async (pixels) => this.encode(pixels),
      batch: 4,
      width: WIDTH,
      kept,
      scope: "memory",
      scratch: memoryScratch(),
      ...rest,
    });
  }

  views(dataset: Dataset, keys: ReadonlySet<string>) {
    return sampleViews(dataset, keys, this.decoding);
  }

  private get decoding(): Pick<FeaturePassOptions, "decode" | "imageSize" | "augmentation"> {
    const decode: FeaturePassOptions["decode"] = async (bytes, { key }) => {
      const text = new TextDecoder().decode(bytes);
      if (text === "undecodable") throw new ToklipError("IMAGE_UNREADABLE", `${key}: is no picture`);
      this.decoded.push(key);
      return ndarray("f32", [3, SIZE, SIZE], new Float32Array(3 * SIZE * SIZE).fill(markOf(text)));
    };
    return { decode, imageSize: SIZE, augmentation: { crop: { kind: "squash" } } };
  }

  encode(pixels: NDArray<"f32">): NDArray<"f32"> {
    const count = pixels.shape[0]!;
    this.batches.push(count);
    const stride = pixels.data.length / count;
    const features = ndarray("f32", [count, WIDTH]);
    for (let i = 0; i < features.data.length; i++) {
      features.data[i] = pixels.data[Math.floor(i / WIDTH) * stride]! + (i % WIDTH);
    }
    return features;
  }
}
