/**
 * Configurations of LlamaGen's GPT (arXiv 2406.06525, table 2), in the names of its `ModelArgs`. A released checkpoint
 * carries no configuration: what its shapes say is read from them, and the rest from the table of sizes.
 */
import { z } from "zod";
import { ToklipError } from "../core/index.ts";
import type { Checkpoint, TensorEntry } from "../files/checkpoint.ts";
import { count } from "./schema.ts";

/** A class label before the ids: one position, from a table. */
export interface ClassCondition {
  readonly kind: "class";
  readonly classes: number;
  /** 1. */
  readonly tokens: 1;
  /** Whether the table ends in a row for "no class", which guidance needs. */
  readonly hasNull: boolean;
}

/** Features of a caption before the ids: a fixed number of positions, of a text encoder of its own. */
export interface CaptionCondition {
  readonly kind: "caption";
  /** Width of the features: 2048 for FLAN-T5-XL. */
  readonly width: number;
  readonly tokens: number;
  /** Whether training dropped captions, without which guidance means nothing. */
  readonly hasNull: boolean;
}

/** A decoder-only transformer over image ids behind a condition. */
export interface GptConfig {
  readonly name: string;
  readonly width: number;
  readonly depth: number;
  readonly numHeads: number;
  /** Heads of keys and values; fewer than `numHeads` where they are shared. */
  readonly numKvHeads: number;
  /** Width inside of the SwiGLU. */
  readonly hidden: number;
  readonly vocabSize: number;
  /** Side of the grid of ids. */
  readonly side: number;
  readonly normEps: number;
  readonly rotaryBase: number;
  readonly condition: ClassCondition | CaptionCondition;
}

/** LlamaGen's sizes: width, blocks, heads. */
export const GPT_SIZES: Readonly<
  Record<string, { readonly dim: number; readonly n_layer: number; readonly n_head: number }>
> = {
  "GPT-B": { dim: 768, n_layer: 12, n_head: 12 },
  "GPT-L": { dim: 1024, n_layer: 24, n_head: 16 },
  "GPT-XL": { dim: 1280, n_layer: 36, n_head: 20 },
  "GPT-XXL": { dim: 1536, n_layer: 48, n_head: 24 },
  "GPT-XXXL": { dim: 2560, n_layer: 48, n_head: 40 },
  "GPT-1B": { dim: 2048, n_layer: 22, n_head: 32 },
  "GPT-3B": { dim: 3200, n_layer: 24, n_head: 32 },
  "GPT-7B": { dim: 4096, n_layer: 32, n_head: 32 },
};

// Unknown keys are ignored: rates of dropout and other affairs of training.
const schema = z.looseObject({
  /** One of `GPT_SIZES`, in place of dim, n_layer and n_head. */
  size: z.string().optional(),
  dim: count.optional(),
  n_layer: count.max(1000).optional(),
  n_head: count.optional(),
  n_kv_head: count.nullish(),
  /** The hidden width itself, in place of what the next two make it. */
  ffn_hidden: count.optional(),
  multiple_of: count.default(256),
  ffn_dim_multiplier: z.number().positive().nullish(),
  norm_eps: z.number().positive().default(1e-5),
  rope_base: z.number().positive().default(10000),
  vocab_size: count.default(16384),
  block_size: count.default(256),
  model_type: z.enum(["c2i", "t2i"]).default("c2i"),
  num_classes: count.default(1000),
  caption_dim: count.default(2048),
  cls_token_num: count.default(1),
  class_dropout_prob: z.number().min(0).max(1).default(0.1),
});

type Args = z.infer<typeof schema>;

/** Two thirds of four times the width, times the multiplier, rounded up to a whole multiple. */
function hiddenWidth(dim: number, { ffn_hidden, ffn_dim_multiplier, multiple_of }: Args): number {
  const plain = Math.trunc((2 * 4 * dim) / 3);
  return ffn_hidden ?? Math.ceil(Math.trunc((ffn_dim_multiplier ?? 1) * plain) / multiple_of) * multiple_of;
}

function conditionOf({ model_type, num_classes, caption_dim, cls_token_num, class_dropout_prob }: Args) {
  const hasNull = class_dropout_prob > 0;
  return model_type === "c2i"
    ? ({ kind: "class", classes: num_classes, tokens: 1, hasNull } as const)
    : ({ kind: "caption", width: caption_dim, tokens: cls_token_num, hasNull } as const);
}

/**
 * Reads a configuration from parsed JSON in the names of LlamaGen's `ModelArgs`; `size` names one of `GPT_SIZES`.
 * @throws CONFIG_INVALID naming the first field that is wrong
 */
export function parseGptConfig(json: unknown, name = "custom"): GptConfig {
  const wrong = (message: string): never => {
    throw new ToklipError("CONFIG_INVALID", `${name}: ${message}`);
  };
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    return wrong(`${issue.path.join(".") || "configuration"}: ${issue.message}`);
  }
  const args = parsed.data;
  if (args.size !== undefined && !Object.hasOwn(GPT_SIZES, args.size)) {
    wrong(`size "${args.size}" is none of ${Object.keys(GPT_SIZES).join(", ")}`);
  }
  const { dim, n_layer, n_head } = { ...(args.size !== undefined && GPT_SIZES[args.size]), ...definedSizes(args) };
  if (dim === undefined || n_layer === undefined || n_head === undefined) {
    return wrong("give dim, n_layer and n_head, or a size");
  }
  const side = Math.sqrt(args.block_size);
  const numKvHeads = args.n_kv_head ?? n_head;
  if (!Number.isInteger(side)) wrong(`block_size ${args.block_size} is no square`);
  if (dim % n_head !== 0 || (dim / n_head) % 4 !== 0) wrong(`dim ${dim} over ${n_head} heads is no multiple of 4`);
  if (n_head % numKvHeads !== 0) wrong(`${n_head} heads cannot share ${numKvHeads} of keys and values`);
  if (args.model_type === "c2i" && args.cls_token_num !== 1) wrong("cls_token_num is 1 where a class is the condition");
  return {
    name,
    width: dim,
    depth: n_layer,
    numHeads: n_head,
    numKvHeads,
    hidden: hiddenWidth(dim, args),
    vocabSize: args.vocab_size,
    side,
    normEps: args.norm_eps,
    rotaryBase: args.rope_base,
    condition: conditionOf(args),
  };
}

function definedSizes({ dim, n_layer, n_head }: Args) {
  return { ...(dim && { dim }), ...(n_layer && { n_layer }), ...(n_head && { n_head }) };
}

/**
 * The configuration of a checkpoint, from its shapes: width, blocks, vocabulary, condition; the number of heads from the
 * size that they are, or from `known`. The side of the grid is in no shape: the training arguments in the file say it,
 * else `known`, else it is 16 (256 pixels). A table of classes is taken to end in its row for "no class", unless
 * `known.class_dropout_prob` is 0.
 * @param known fields of `parseGptConfig` that the shapes do not say, or that are to be held against them
 * @throws CHECKPOINT_MISMATCH for no GPT; CONFIG_INVALID where the heads are not known
 */
export function inferGptConfig(checkpoint: Checkpoint, known: Readonly<Record<string, unknown>> = {}): GptConfig {
  const { name, tensors } = checkpoint;
  const shapeOf = (key: string): readonly number[] => {
    const entry: TensorEntry | undefined = tensors.get(key);
    if (entry?.shape.length === 2) return entry.shape;
    throw new ToklipError("CHECKPOINT_MISMATCH", `${name} is no GPT of LlamaGen: it has no matrix ${key}`);
  };
  const [vocab_size, dim] = shapeOf("tok_embeddings.weight") as [number, number];
  const blocks = [...tensors.keys()].filter((key) => /^layers\.\d+\.attention\.wqkv\.weight$/.test(key));
  const n_layer = blocks.length;
  const size = Object.values(GPT_SIZES).find((candidate) => candidate.dim === dim && candidate.n_layer === n_layer);
  const n_head = known.n_head ?? size?.n_head;
  const rows = shapeOf("layers.0.attention.wqkv.weight")[0]!;
  const inferred = {
    dim,
    n_layer,
    n_head,
    vocab_size,
    ffn_hidden: shapeOf("layers.0.feed_forward.w1.weight")[0],
    // Rows of queries, keys, values: (H + 2 Hk) times dim/H.
    ...(typeof n_head === "number" && { n_kv_head: ((rows / dim - 1) * n_head) / 2 }),
    ...blockSizeOf(checkpoint),
    ...inferCondition(tensors, shapeOf, known.class_dropout_prob !== 0),
  };
  return parseGptConfig({ ...inferred, ...known }, name);
}

function inferCondition(tensors: Checkpoint["tensors"], shapeOf: (key: string) => readonly number[], hasNull: boolean) {
  if (tensors.has("cls_embedding.uncond_embedding")) {
    const [cls_token_num, caption_dim] = shapeOf("cls_embedding.uncond_embedding");
    return { model_type: "t2i", cls_token_num, caption_dim };
  }
  const rows = shapeOf("cls_embedding.embedding_table.weight")[0]!;
  return { model_type: "c2i", num_classes: hasNull ? rows - 1 : rows };
}

/** What LlamaGen's training arguments, where the file has them, say of the grid. */
function blockSizeOf({ metadata }: Checkpoint): { readonly block_size?: number } {
  const args = z.looseObject({ image_size: count, downsample_size: count }).safeParse(metadata.args);
  return args.success ? { block_size: (args.data.image_size / args.data.downsample_size) ** 2 } : {};
}
