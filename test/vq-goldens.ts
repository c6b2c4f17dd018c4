// The goldens of the VQ's training: configuration, weights, numbers.
import type { NDArray } from "../src/core/index.ts";
import type { VqConfig } from "../src/models/index.ts";
import { openCheckpointFile } from "../src/node/checkpoint.ts";
import { goldenJson, goldenPath, goldenTensors, readAll } from "./goldens.ts";
import type { GradientSummary } from "./gradient-summaries.ts";
import { type PrngRule, prngWeight } from "./prng-weights.ts";

export interface VqManifest {
  readonly tensors: Readonly<Record<string, unknown>>;
  readonly config: { mult: number[]; z: number; K: number; D: number; hw: [number, number]; ch: number; B: number };
  readonly seed: number;
  readonly n_params: number;
  readonly prng_rules: readonly PrngRule[] | null;
  readonly losses: Readonly<Record<"ent0" | "ent", VqLosses>>;
  readonly grad_samples: Readonly<Record<"ent0" | "ent", Readonly<Record<string, GradientSummary>>>>;
}

export interface VqLosses {
  readonly entropy_ratio: number;
  readonly codebook_usage: number;
  readonly fp64: Readonly<Record<string, number>>;
  readonly zero_grad_params?: readonly string[];
}

export interface VqGolden {
  readonly manifest: VqManifest;
  readonly config: VqConfig;
  /** The shape of the pixels. */
  readonly shape: readonly number[];
  readonly weights: ReadonlyMap<string, NDArray>;
  golden(name: string): Promise<NDArray>;
  /** The gradients of a case that are stored whole. */
  wholeGradients(which: "ent0" | "ent"): readonly { readonly key: string; readonly parameter: string }[];
}

async function readWeights(name: string, { prng_rules, seed }: VqManifest, golden: VqGolden["golden"]) {
  const weights = new Map<string, NDArray>();
  if (prng_rules === null) {
    const file = await openCheckpointFile(goldenPath(`ar/${name}.pt`));
    for (const [key, array] of await readAll(file)) weights.set(key, array);
    await file.close();
  } else {
    for (const rule of prng_rules) weights.set(rule.key, prngWeight(rule, seed));
    for (const key of ["quant_conv.weight", "quant_conv.bias"]) weights.set(key, await golden(`override.${key}`));
  }
  return weights;
}

/** Reads one of `vq8_small`, `vq8_prng`, `vq16_prng`. */
export async function readVqGolden(name: string): Promise<VqGolden> {
  const manifest = goldenJson(`ar/${name}.json`) as VqManifest;
  const golden = await goldenTensors(`ar/${name}.safetensors`);
  const { mult, z, K, D, hw, ch, B } = manifest.config;
  const prefixes = { ent0: "grad.", ent: "grad_ent." };
  return {
    manifest,
    golden,
    config: {
      type: "llamagen",
      ch,
      chMult: mult,
      numResBlocks: 2,
      zChannels: z,
      codebookSize: K,
      embedDim: D,
    },
    shape: [B, 3, ...hw],
    weights: await readWeights(name, manifest, golden),
    wholeGradients: (which) =>
      Object.keys(manifest.tensors)
        .filter((key) => key.startsWith(prefixes[which]))
        .map((key) => ({ key, parameter: key.slice(prefixes[which].length) })),
  };
}
