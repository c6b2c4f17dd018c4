// The goldens of LlamaGen's GPT: configuration, weights, numbers.
import { type NDArray, ndarray } from "../src/core/index.ts";
import type { Checkpoint } from "../src/files/checkpoint.ts";
import { type GptConfig, parseGptConfig } from "../src/models/index.ts";
import { openCheckpointFile } from "../src/node/checkpoint.ts";
import { goldenJson, goldenPath, goldenTensors, readAll } from "./goldens.ts";

export interface GptManifest {
  readonly tensors: Readonly<Record<string, { readonly shape: readonly number[] }>>;
  readonly model_args: Readonly<Record<string, unknown>>;
  readonly ffn_hidden: number;
  readonly state_dict: Readonly<Record<string, readonly number[]>>;
  readonly trainable: readonly string[];
}

export interface GptGolden {
  readonly manifest: GptManifest;
  readonly config: GptConfig;
  readonly checkpoint: Checkpoint;
  readonly weights: ReadonlyMap<string, NDArray>;
  golden(name: string): Promise<NDArray>;
}

export const GPT_NAMES = ["gpt_c2i", "gpt_c2i_gqa", "gpt_t2i"];

export async function readGptGolden(name: string): Promise<GptGolden> {
  const manifest = goldenJson(`ar/${name}.json`) as GptManifest;
  const checkpoint = await openCheckpointFile(goldenPath(`ar/${name}.pt`));
  return {
    manifest,
    config: parseGptConfig(manifest.model_args, name),
    checkpoint,
    weights: await readAll(checkpoint),
    golden: await goldenTensors(`ar/${name}.safetensors`),
  };
}

/** Whole numbers as truth values. */
export function asBool({ shape, data }: NDArray): NDArray<"bool"> {
  return ndarray("bool", shape, Uint8Array.from(data as Int32Array));
}

/** Whole numbers as f32. */
export function asF32({ shape, data }: NDArray): NDArray<"f32"> {
  return ndarray("f32", shape, Float32Array.from(data as Int32Array));
}
