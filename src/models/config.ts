/**
 * Model configurations: open_clip's JSON layout, plus `vision_cfg.trunk` and `vision_cfg.vq`, which say openly what
 * the reference hides behind `timm_model_name`, and `preprocess_cfg` and `zeroshot_cfg`, which say how the model wants its
 * pictures and labels. This is the one file where snake_case becomes camelCase.
 */
import { z } from "zod";
import { ToklipError } from "../core/index.ts";
import type { Activation } from "../nn/index.ts";
import { BUILT_IN_CONFIGS } from "./configs/index.ts";
import { count } from "./schema.ts";

/** LlamaGen VQ-16 (`chMult` [1,1,2,2,4]) or VQ-8 ([1,2,2,4]) shaped image tokenizer. */
export interface VqConfig {
  readonly type: "llamagen";
  readonly ch: number;
  readonly chMult: readonly number[];
  readonly numResBlocks: number;
  readonly zChannels: number;
  readonly codebookSize: number;
  readonly embedDim: number;
  /**
   * The side of the patches that the first layer takes whole and the last gives back: 1 is LlamaGen's; a larger one
   * makes the levels work on that much smaller maps, which is faster and reconstructs less detail. Default 1.
   */
  readonly stem?: number;
}

/** The image tower: a pre-norm ViT with attention pooling. */
export interface TrunkConfig {
  readonly imageSize: number;
  readonly patchSize: number;
  readonly width: number;
  readonly depth: number;
  readonly numHeads: number;
  readonly mlpRatio: number;
  readonly act: Activation;
  /**
   * Of a pixel ViT: channels of 3x3 convolutions of stride 2 before the patches are embedded (arXiv 2106.14881), which
   * then are that much smaller. It learns faster from few pictures. Default none.
   */
  readonly convStem?: readonly number[];
  /** How many residual blocks of two 3x3 convolutions (arXiv 1603.05027) follow each of them. Default none. */
  readonly convBlocks?: readonly number[];
  /** True for the paper's token encoder; false for full attention: a pixel ViT (the teacher), or an ablation. */
  readonly causal: boolean;
  /**
   * How the token encoder reads an id: its codebook row through an MLP (the paper), or a learned row of its own
   * (Chameleon, arXiv 2405.09818). Default `mlp`.
   */
  readonly mapping?: "mlp" | "embedding";
}

/** The text tower. */
export interface TextConfig {
  readonly contextLength: number;
  readonly vocabSize: number;
  readonly width: number;
  readonly numHeads: number;
  readonly depth: number;
  readonly mlpRatio: number;
  readonly act: Activation;
  readonly normEps: number;
  readonly causal: boolean;
  readonly projBias: boolean;
  /** The tokenizer's name on the hub, as a hint where to find it. */
  readonly tokenizerName?: string;
}

/** How pictures are prepared for a model, where nobody asks for something else. */
export interface PreprocessConfig {
  /** `shortest`: the shorter edge is resized and the centre cropped; `squash`: both edges. Default `shortest`. */
  readonly resize: "shortest" | "squash";
  /** The colour behind transparency, of bytes; `drop` ignores alpha. Default white. */
  readonly background: readonly [number, number, number] | "drop";
}

/** A dual tower; `vq` is there for TokLIP and absent for a pixel teacher. */
export interface ToklipConfig {
  readonly name: string;
  readonly embedDim: number;
  readonly trunk: TrunkConfig;
  readonly vq?: VqConfig;
  readonly text: TextConfig;
  readonly preprocess: PreprocessConfig;
  /** The prompt templates of labels: the name of a built-in set, or the templates. Default `simple`. */
  readonly templates: string | readonly string[];
  readonly initLogitBias?: number;
  /** The JSON it came from, for writing it back. */
  readonly source: Readonly<Record<string, unknown>>;
}

const vqSchema = z.object({
  type: z.literal("llamagen").default("llamagen"),
  ch: count.default(128),
  ch_mult: z.array(count).min(1).max(8).default([1, 1, 2, 2, 4]),
  num_res_blocks: count.default(2),
  z_channels: count.default(256),
  codebook_size: count.default(16384),
  codebook_embed_dim: count.default(8),
  stem: count.max(32).optional(),
});

const activation = z.enum(["gelu", "gelu_tanh"]);

const trunkSchema = z.object({
  width: count,
  depth: count,
  heads: count,
  mlp_ratio: z.number().positive(),
  act: activation.default("gelu_tanh"),
  patch_size: count.default(16),
  causal: z.boolean(),
  conv_stem: z.array(count).max(5).optional(),
  conv_blocks: z.array(z.number().int().min(0).max(16)).max(5).optional(),
  mapping: z.enum(["mlp", "embedding"]).optional(),
});

const half = z.array(z.literal(0.5)).length(3).optional();
const byte = z.number().int().min(0).max(255);

/** open_clip's, and what shows through transparency. */
const preprocessSchema = z.looseObject({
  resize_mode: z.enum(["shortest", "squash"]).default("shortest"),
  background: z.union([z.enum(["white", "drop"]), z.tuple([byte, byte, byte])]).default("white"),
  // All that our models take; another value says that the pixels would come in wrong.
  mean: half,
  std: half,
  interpolation: z.literal("bicubic").optional(),
});

const zeroshotSchema = z.looseObject({
  templates: z.union([z.string(), z.array(z.string().max(1000)).min(1).max(1000)]).default("simple"),
});

// Unknown keys are kept in `source` and otherwise ignored, as open_clip's files carry many that do not concern us.
const configSchema = z.looseObject({
  embed_dim: count,
  init_logit_bias: z.number().optional(),
  vision_cfg: z.looseObject({
    image_size: count.max(8192),
    trunk: trunkSchema,
    vq: vqSchema.optional(),
  }),
  text_cfg: z.looseObject({
    context_length: count,
    vocab_size: count,
    width: count,
    heads: count,
    layers: count,
    mlp_ratio: z.number().positive().default(4),
    no_causal_mask: z.boolean().default(false),
    proj_bias: z.boolean().default(false),
    pool_type: z.literal("last"),
    hf_tokenizer_name: z.string().optional(),
    norm_kwargs: z.looseObject({ eps: z.number().positive().default(1e-5) }).default({ eps: 1e-5 }),
    act_kwargs: z
      .looseObject({ approximate: z.enum(["none", "tanh"]).default("none") })
      .default({ approximate: "none" }),
  }),
  preprocess_cfg: preprocessSchema.prefault({}),
  zeroshot_cfg: zeroshotSchema.prefault({}),
});

/**
 * Reads a configuration from parsed JSON: a model's, or a hub file's that has it in `model_cfg`.
 * @throws CONFIG_INVALID naming the first field that is wrong.
 */
export function parseConfig(json: unknown, name = "custom"): ToklipConfig {
  const source = unwrapped(json);
  const parsed = configSchema.safeParse(source);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new ToklipError("CONFIG_INVALID", `${name}: ${issue.path.join(".") || "configuration"}: ${issue.message}`);
  }
  const { vision_cfg: vision, text_cfg: text, preprocess_cfg: preprocess } = parsed.data;
  const config: ToklipConfig = {
    name,
    embedDim: parsed.data.embed_dim,
    trunk: {
      imageSize: vision.image_size,
      patchSize: vision.trunk.patch_size,
      width: vision.trunk.width,
      depth: vision.trunk.depth,
      numHeads: vision.trunk.heads,
      mlpRatio: vision.trunk.mlp_ratio,
      act: vision.trunk.act,
      causal: vision.trunk.causal,
      ...(vision.trunk.conv_stem !== undefined && { convStem: vision.trunk.conv_stem }),
      ...(vision.trunk.conv_blocks !== undefined && { convBlocks: vision.trunk.conv_blocks }),
      ...(vision.trunk.mapping !== undefined && { mapping: vision.trunk.mapping }),
    },
    ...(vision.vq && {
      vq: {
        type: vision.vq.type,
        ch: vision.vq.ch,
        chMult: vision.vq.ch_mult,
        numResBlocks: vision.vq.num_res_blocks,
        zChannels: vision.vq.z_channels,
        codebookSize: vision.vq.codebook_size,
        embedDim: vision.vq.codebook_embed_dim,
        ...(vision.vq.stem !== undefined && { stem: vision.vq.stem }),
      },
    }),
    text: {
      contextLength: text.context_length,
      vocabSize: text.vocab_size,
      width: text.width,
      numHeads: text.heads,
      depth: text.layers,
      mlpRatio: text.mlp_ratio,
      act: text.act_kwargs.approximate === "tanh" ? "gelu_tanh" : "gelu",
      normEps: text.norm_kwargs.eps,
      causal: !text.no_causal_mask,
      projBias: text.proj_bias,
      ...(text.hf_tokenizer_name !== undefined && { tokenizerName: text.hf_tokenizer_name }),
    },
    preprocess: {
      resize: preprocess.resize_mode,
      background: preprocess.background === "white" ? [255, 255, 255] : preprocess.background,
    },
    templates: parsed.data.zeroshot_cfg.templates,
    ...(parsed.data.init_logit_bias !== undefined && { initLogitBias: parsed.data.init_logit_bias }),
    source: source as Record<string, unknown>,
  };
  checkConfig(config);
  return config;
}

/** open_clip's files on the hub hold the model's configuration in `model_cfg`, and what goes with it beside that. */
function unwrapped(json: unknown): unknown {
  if (typeof json !== "object" || json === null || !("model_cfg" in json)) return json;
  const { model_cfg: model, ...beside } = json;
  return typeof model === "object" ? { ...beside, ...model } : model;
}

function checkConfig({ name, embedDim, trunk, vq, text }: ToklipConfig): void {
  const wrong = (message: string): never => {
    throw new ToklipError("CONFIG_INVALID", `${name}: ${message}`);
  };
  if (trunk.width % trunk.numHeads !== 0)
    wrong(`vision width ${trunk.width} is not a multiple of ${trunk.numHeads} heads`);
  if (text.width % text.numHeads !== 0) wrong(`text width ${text.width} is not a multiple of ${text.numHeads} heads`);
  if (trunk.imageSize % trunk.patchSize !== 0) {
    wrong(`image_size ${trunk.imageSize} is not a multiple of patch_size ${trunk.patchSize}`);
  }
  if (trunk.width !== embedDim)
    wrong(`embed_dim ${embedDim} differs from the vision width ${trunk.width} (timm_proj none)`);
  if (vq === undefined) {
    if (trunk.causal) wrong("trunk.causal is for models with vision_cfg.vq: a pixel model attends in full");
    if (trunk.mapping) wrong("trunk.mapping is for models with vision_cfg.vq: a pixel model has no image ids");
    const halvings = trunk.convStem?.length ?? 0;
    if (trunk.convBlocks && trunk.convBlocks.length !== halvings) {
      wrong(`trunk.conv_blocks is a number for each of the ${halvings} layers of trunk.conv_stem`);
    }
    if (trunk.patchSize % 2 ** halvings !== 0) {
      wrong(
        `trunk.conv_stem halves ${halvings} times, but patch_size ${trunk.patchSize} is no multiple of ${2 ** halvings}`,
      );
    }
  } else {
    if (trunk.convStem || trunk.convBlocks) {
      wrong("trunk.conv_stem and conv_blocks are for pixel models: a token encoder reads no pixels");
    }
    const stride = (vq.stem ?? 1) * 2 ** (vq.chMult.length - 1);
    if (stride !== trunk.patchSize) wrong(`the VQ divides by ${stride}, but patch_size is ${trunk.patchSize}`);
    const odd = [1, ...vq.chMult].find((mult) => (vq.ch * mult) % 32 !== 0);
    if (odd !== undefined) wrong(`vq channels ${vq.ch * odd} are not a multiple of the 32 groups of GroupNorm`);
  }
}

/**
 * The built-in configuration of a name.
 * @throws CONFIG_UNKNOWN listing the names there are.
 */
export function builtInConfig(name: string): ToklipConfig {
  const json = Object.hasOwn(BUILT_IN_CONFIGS, name) ? BUILT_IN_CONFIGS[name] : undefined;
  if (json === undefined) {
    const known = Object.keys(BUILT_IN_CONFIGS).join(", ");
    throw new ToklipError("CONFIG_UNKNOWN", `configuration "${name}" is not built in (there are ${known})`);
  }
  return parseConfig(json, name);
}

export { BUILT_IN_CONFIGS };
