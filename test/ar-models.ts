// Unified transformers small enough for the float64 interpreter, with weights that make every part matter.
import { bytesOf, fnv1a, memorySource, type NDArray, ndarray, Random, sizeOf } from "../src/core/index.ts";
import type { Checkpoint } from "../src/files/index.ts";
import { AR_ENTRIES, type ArConfig, type ArEntry, arParameterShapes, parseArConfig } from "../src/models/index.ts";

export const TINY_AR = {
  model_type: "toklip-ar",
  width: 32,
  depth: 2,
  heads: 4,
  kv_heads: 2,
  hidden: 48,
  context_length: 40,
  text_vocab_size: 12,
  codebook_size: 10,
  image_tokens: 4,
  entry: "vq",
};

/** A configuration of an entry, with shared heads of keys and values unless `change` says otherwise. */
export function tinyAr(entry: ArEntry, change: object = {}): ArConfig {
  const features = entry === "vq" ? {} : { feature_width: 6 };
  const codes = entry === "semantic-codes" ? { semantic_codes: { levels: 2, size: 5 } } : {};
  return parseArConfig({ ...TINY_AR, ...features, ...codes, entry, ...change }, entry);
}

/** Every entry with shared heads, and one without. */
export const TINY_ARS: readonly (readonly [string, ArConfig])[] = [
  ...AR_ENTRIES.map((entry) => [entry, tinyAr(entry)] as const),
  ["toklip, no shared heads", tinyAr("toklip", { kv_heads: 4 })],
];

/** Normal numbers from a name. */
export function normals(name: string, shape: readonly number[], deviation = 1): NDArray<"f32"> {
  const random = new Random(fnv1a(name));
  return ndarray(
    "f32",
    shape,
    Float32Array.from({ length: sizeOf(shape) }, () => deviation * random.normal()),
  );
}

/** Weights by name: large enough that logits differ by much more than rounding. */
export function tinyWeights(config: ArConfig): Map<string, NDArray<"f32">> {
  const shapes = arParameterShapes(config);
  return new Map([...shapes].map(([name, shape]) => [name, normals(name, shape, name.includes("norm") ? 1 : 0.3)]));
}

/** The weights as a checkpoint in memory. */
export function tinyCheckpoint(config: ArConfig, weights = tinyWeights(config)): Checkpoint {
  const entry = ([name, { dtype, shape, data }]: readonly [string, NDArray<"f32">]) =>
    [name, { name, dtype, shape, offset: 0, source: memorySource(bytesOf(data), name) }] as const;
  const tensors = new Map([...weights].map(entry));
  return { name: "tiny", format: "safetensors", tensors, metadata: {}, close: async () => {} };
}
