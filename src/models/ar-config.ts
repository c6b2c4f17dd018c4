/**
 * Configurations of the unified transformer, `model_type` "toklip-ar". Unlike configurations of others, which carry much
 * that does not concern us, these are ours alone: an unknown field is an error.
 */
import { z } from "zod";
import { ToklipError } from "../core/index.ts";
import type { DecoderConfig } from "../nn/index.ts";
import { count } from "./schema.ts";

/** The `model_type` of these configurations. */
export const AR_MODEL_TYPE = "toklip-ar";

/**
 * How a picture enters: `vq` an embedding of each id (Chameleon, arXiv 2405.09818; Emu3, arXiv 2409.18869), `toklip` the
 * projected token feature at each id (TokLIP, arXiv 2505.05422), `toklip+vq` the sum of both, `semantic-codes` embeddings
 * of what residual quantisation makes of the feature (VILA-U, arXiv 2409.04429).
 */
export const AR_ENTRIES = ["vq", "toklip", "toklip+vq", "semantic-codes"] as const;

/** A name of `AR_ENTRIES`. */
export type ArEntry = (typeof AR_ENTRIES)[number];

/** How features are quantised: so many codebooks of so many rows. */
export interface SemanticCodesConfig {
  readonly levels: number;
  readonly size: number;
}

/** A decoder-only transformer over one vocabulary of text ids and image ids. */
export interface ArConfig extends DecoderConfig {
  readonly name: string;
  readonly rotaryBase: number;
  /** The most positions of a sequence. */
  readonly contextLength: number;
  /** Ids of the text tokenizer. */
  readonly textVocabSize: number;
  /** Ids of the VQ. */
  readonly codebookSize: number;
  /** Ids of a picture, a square number. */
  readonly imageTokens: number;
  readonly entry: ArEntry;
  /** Width of the token features, 0 for an entry that reads none. */
  readonly featureWidth: number;
  /** There for the entry `semantic-codes` alone. */
  readonly semanticCodes?: SemanticCodesConfig;
  /** The share of pictures that training showed without their text; where it is 0, guidance means nothing. */
  readonly conditionDropout: number;
  /** The JSON it came from, for writing it back. */
  readonly source: Readonly<Record<string, unknown>>;
}

const schema = z.strictObject({
  model_type: z.literal(AR_MODEL_TYPE),
  width: count.max(1 << 16),
  depth: count.max(1000),
  heads: count.max(1 << 12),
  /** Default: as many as `heads`. */
  kv_heads: count.optional(),
  hidden: count,
  norm_eps: z.number().positive().max(1).default(1e-5),
  rope_base: z.number().min(1).max(1e9).default(10000),
  context_length: count.max(1 << 17),
  text_vocab_size: count,
  codebook_size: count,
  image_tokens: count.max(1 << 14),
  entry: z.enum(AR_ENTRIES),
  feature_width: count.max(1 << 16).optional(),
  semantic_codes: z.strictObject({ levels: count.max(32), size: count.max(1 << 16) }).optional(),
  condition_dropout: z.number().min(0).max(1).default(0.1),
});

/**
 * Reads a configuration from parsed JSON.
 * @throws CONFIG_INVALID naming the first field that is wrong
 */
export function parseArConfig(json: unknown, name = "custom"): ArConfig {
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new ToklipError("CONFIG_INVALID", `${name}: ${issue.path.join(".") || "configuration"}: ${issue.message}`);
  }
  const args = parsed.data;
  const config: ArConfig = {
    name,
    width: args.width,
    depth: args.depth,
    numHeads: args.heads,
    numKvHeads: args.kv_heads ?? args.heads,
    hidden: args.hidden,
    normEps: args.norm_eps,
    rotaryBase: args.rope_base,
    contextLength: args.context_length,
    textVocabSize: args.text_vocab_size,
    codebookSize: args.codebook_size,
    imageTokens: args.image_tokens,
    entry: args.entry,
    featureWidth: args.feature_width ?? 0,
    ...(args.semantic_codes && { semanticCodes: args.semantic_codes }),
    conditionDropout: args.condition_dropout,
    source: json as Record<string, unknown>,
  };
  checkConfig(config);
  return config;
}

function checkConfig(config: ArConfig): void {
  const wrong = (message: string): never => {
    throw new ToklipError("CONFIG_INVALID", `${config.name}: ${message}`);
  };
  const { width, numHeads, numKvHeads, imageTokens, contextLength, entry } = config;
  if (width % numHeads !== 0 || (width / numHeads) % 2 !== 0) {
    wrong(`width ${width} over ${numHeads} heads is no multiple of 2`);
  }
  if (numHeads % numKvHeads !== 0) wrong(`${numHeads} heads cannot share ${numKvHeads} of keys and values`);
  if (!Number.isInteger(Math.sqrt(imageTokens))) wrong(`image_tokens ${imageTokens} is no square`);
  // <bos>, <image>, the ids, </image>, <eos>
  if (contextLength < imageTokens + 4) {
    wrong(`context_length ${contextLength} has no room for a picture of ${imageTokens} ids and 4 more`);
  }
  const needsFeatures = entry !== "vq";
  if (needsFeatures !== config.featureWidth > 0) {
    wrong(needsFeatures ? `entry ${entry} needs feature_width` : "feature_width is for entries that read features");
  }
  const needsCodes = entry === "semantic-codes";
  if (needsCodes !== (config.semanticCodes !== undefined)) {
    wrong(needsCodes ? `entry ${entry} needs semantic_codes` : "semantic_codes is for the entry semantic-codes");
  }
}
