/**
 * The configuration of a training run: one JSON file, every key known, every default written down in the run's folder.
 * A key that later versions add is left out where it is not given, so that runs begun before it go on as they were.
 * Keys are snake_case as in the model configurations; this file says what there is, and `node/train.ts` puts it together.
 */
import { z } from "zod";
import { ToklipError } from "../core/index.ts";
import { nearestName } from "../data/nearest-name.ts";
import { SCHEDULE_NAMES } from "./schedule.ts";

const count = z.int().positive();
const every = z.int().nonnegative();
const share = z.number().min(0).max(1);
const weight = z.number().nonnegative();
const range = z.tuple([z.number(), z.number()]);
const rgb = z.tuple([z.number(), z.number(), z.number()]);

const columns = {
  image_column: z.string().optional(),
  caption_column: z.string().optional(),
  concept_column: z.string().optional(),
  image_root: z.string().optional(),
};

const webdataset = z.strictObject({
  type: z.literal("webdataset"),
  /** Paths, folders, globs or addresses; brace ranges; parts joined by `::`. */
  shards: z.string(),
  /** One weight for each part, joined by `::`. */
  weights: z.string().optional(),
  buffer_size: count.default(1000),
  line_per_caption: z.boolean().default(false),
});

const dataSource = z.discriminatedUnion("type", [
  webdataset,
  z.strictObject({ type: z.literal("folder"), path: z.string(), labels_from_folders: z.boolean().default(false) }),
  z.strictObject({
    type: z.literal("manifest"),
    path: z.string(),
    group_by_image: z.boolean().default(false),
    ...columns,
  }),
  z.strictObject({ type: z.literal("parquet"), files: z.string(), ...columns }),
]);

const idsColumns = {
  ids_column: z.string().optional(),
  caption_column: z.string().optional(),
  concept_column: z.string().optional(),
};

/** Data that have the ids of pictures in their place. */
const idsSource = z.discriminatedUnion("type", [
  webdataset,
  z.strictObject({ type: z.literal("lines"), path: z.string(), ...idsColumns }),
  z.strictObject({ type: z.literal("parquet"), files: z.string(), ...idsColumns }),
]);

const crop = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("resized-crop"),
    scale: range.default([0.9, 1]),
    ratio: range.default([3 / 4, 4 / 3]),
    expand: range.optional(),
  }),
  z.strictObject({ kind: z.literal("random-crop"), fraction: range.default([0.8, 1]) }),
  z.strictObject({ kind: z.literal("shortest") }),
  z.strictObject({ kind: z.literal("squash") }),
]);

const augmentation = z.strictObject({
  crop: crop.default({ kind: "resized-crop", scale: [0.9, 1], ratio: [3 / 4, 4 / 3] }),
  flip: share.default(0),
  color_jitter: z
    .strictObject({
      brightness: weight.default(0),
      contrast: weight.default(0),
      saturation: weight.default(0),
      hue: z.number().min(0).max(0.5).default(0),
      probability: share.default(1),
    })
    .nullable()
    .default(null),
  grayscale: share.default(0),
  background: z
    .union([z.enum(["white", "random", "mixed", "drop"]), z.tuple([z.int(), z.int(), z.int()])])
    .default("white"),
  /** After so many epochs the same pictures come again, which a cache can keep; null or absent: never. */
  variants: count.nullable().optional(),
});

const texts = {
  captions: z.enum(["first", "random"]).default("first"),
  /** A built-in set of prompt templates, or sentences with `{}`. */
  templates: z.union([z.string(), z.array(z.string())]).default("none"),
};

const badLimit = z.strictObject({ count: count.nullable().default(null), fraction: share.default(0.1) }).prefault({});

const data = z.strictObject({
  train: z.union([z.string(), dataSource]),
  /** Held-out data; null: no evaluation. */
  eval: z.union([z.string(), dataSource]).nullable().default(null),
  ...texts,
  augmentation: augmentation.prefault({}),
  /** How pictures are cut for evaluation. */
  eval_crop: z.enum(["shortest", "squash"]).default("squash"),
  workers: z.int().nonnegative().max(64).nullable().default(null),
  prefetch: count.default(2),
  bad_limit: badLimit,
});

const idsData = z.strictObject({
  train: z.union([z.string(), idsSource]),
  /** Held-out data; null: no evaluation. */
  eval: z.union([z.string(), idsSource]).nullable().default(null),
  ...texts,
  bad_limit: badLimit,
});

const optimizer = (defaults: { learning_rate: number; eps: number; weight_decay: number; clip_norm: number | null }) =>
  z
    .strictObject({
      learning_rate: z.number().positive().default(defaults.learning_rate),
      betas: range.default([0.9, 0.95]),
      eps: z.number().positive().default(defaults.eps),
      weight_decay: weight.default(defaults.weight_decay),
      /** The largest norm of the gradients; null: no clipping. */
      clip_norm: z.number().positive().nullable().default(defaults.clip_norm),
      schedule: z.enum(SCHEDULE_NAMES as readonly [string, ...string[]]).default("cosine"),
      /** Steps of linear warm-up. */
      warmup: every.default(0),
      final_fraction: share.default(0),
    })
    .prefault({});

/** A built-in name, the path of a JSON file, or the configuration itself. */
const model = z.union([z.string(), z.record(z.string(), z.unknown())]);

/** A model that is given: its checkpoint, and its configuration where neither the file nor those beside it have it. */
const given = { checkpoint: z.string(), model: model.nullable().default(null) };

const common = {
  model,
  seed: z.int().nonnegative().max(0xffffffff).default(0),
  /** Optimizer steps; or `epochs`, where the size of the data is known. */
  steps: count.nullable().default(null),
  epochs: count.nullable().default(null),
  /** Samples of one step, over all processes. */
  batch_size: count,
  /** Samples that one process takes at once; null: all of its share. Smaller parts need less memory, not other results. */
  part_size: count.nullable().default(null),
  /** Compute the inside of blocks again for the gradient instead of keeping it. */
  recompute: z.boolean().default(false),
  /** Checkpoints to begin from, the first that has a parameter gives it. */
  init: z.array(z.string()).default([]),
  data,
  ema: z
    .strictObject({ decay: z.number().min(0).max(1), warmup: z.boolean().default(true) })
    .nullable()
    .default(null),
  /**
   * Where to compute. On WebGPU the towers' parameters stay there between steps, where one process takes its batch
   * whole; otherwise, and for a VQ, they travel with each step.
   */
  device: z.enum(["cpu", "cuda", "webgpu"]).default("cpu"),
  threads: count.nullable().default(null),
  log_every: every.default(10),
  eval_every: every.default(500),
  /** The most batches of one evaluation. */
  eval_batches: count.default(50),
  checkpoint_every: every.default(500),
  samples_every: every.default(500),
  keep_last: count.default(2),
  best: z.strictObject({ metric: z.string(), mode: z.enum(["min", "max"]) }).default({ metric: "loss", mode: "min" }),
};

const towers = {
  /** The tokenizer.json of the text tower. */
  tokenizer: z.string(),
  /** The range of the logarithm of the logit scale; null: free. */
  logit_scale_range: range.nullable().default([0, Math.log(100)]),
};

/** The share of patches (of a TokLIP: tokens) that a step leaves out of each picture (FLIP); 0 or absent: none. */
const patchDropout = z.number().min(0).lt(1).optional();

const adamw = optimizer({ learning_rate: 1e-5, eps: 1e-6, weight_decay: 0.1, clip_norm: null });

const toklip = z.strictObject({
  kind: z.literal("toklip").default("toklip"),
  ...common,
  ...towers,
  /** The pixel model that the features are drawn to, and whose weights the student begins with. */
  teacher: z
    .strictObject({
      ...given,
      /** Whether the student's blocks begin as the teacher's. */
      initialize: z.boolean().default(true),
    })
    .nullable()
    .default(null),
  loss: z
    .strictObject({
      contrastive: weight.default(1),
      distillation: weight.default(1000),
      token_distillation: weight.default(0),
    })
    .prefault({}),
  /**
   * Keep the results of the frozen parts on disk, in the run's folder or in one that runs share; only where nothing about
   * a picture is random, or its variants are counted (`data.augmentation.variants`).
   */
  cache: z.union([z.boolean(), z.string().min(1)]).default(false),
  patch_dropout: patchDropout,
  optimizer: adamw,
});

const teacher = z.strictObject({
  kind: z.literal("teacher").default("teacher"),
  ...common,
  ...towers,
  loss: z.strictObject({ type: z.enum(["softmax", "sigmoid"]).default("softmax") }).prefault({}),
  patch_dropout: patchDropout,
  optimizer: optimizer({ learning_rate: 1e-3, eps: 1e-6, weight_decay: 0.1, clip_norm: 1 }),
});

const vq = z.strictObject({
  kind: z.literal("vq").default("vq"),
  ...common,
  /** What is trained: all of it, or the decoder alone, so that ids, and whatever reads them, stay what they were. */
  trained: z.enum(["all", "decoder"]).optional(),
  loss: z
    .strictObject({
      reconstruction: z.enum(["l1", "l2"]).default("l2"),
      reconstruction_weight: weight.default(1),
      perceptual: z
        .strictObject({
          weight: z.number().positive().default(1),
          /** LPIPS on VGG16: its weights, names as `net.slice1.0.weight`. */
          lpips: z.string().nullable().default(null),
          /** Or any network as an ONNX file, and which of its values are compared; null: its outputs. */
          onnx: z.string().nullable().default(null),
          features: z.array(z.string()).nullable().default(null),
          /** What the network expects its pixels, of [0, 1], to be shifted and divided by; ImageNet's by default. */
          mean: rgb.default([0.485, 0.456, 0.406]),
          std: rgb.default([0.229, 0.224, 0.225]),
        })
        .refine(({ lpips, onnx }) => (lpips === null) !== (onnx === null), "give lpips or onnx, one of the two")
        .nullable()
        .default(null),
      beta: weight.default(0.25),
      entropy_ratio: weight.default(0),
      entropy_temperature: z.number().positive().default(0.01),
      discriminator: z
        .strictObject({
          loss: z.enum(["hinge", "vanilla", "non-saturating"]).default("hinge"),
          weight: z.number().positive().default(0.5),
          start: count.default(20000),
          adaptive: z.boolean().default(false),
          ndf: count.default(64),
          layers: count.default(3),
        })
        .nullable()
        .default(null),
    })
    .prefault({}),
  codebook: z.strictObject({ patience: count.default(500), revive_every: every.default(100) }).prefault({}),
  optimizer: optimizer({ learning_rate: 1e-4, eps: 1e-8, weight_decay: 0, clip_norm: 1 }),
});

const ar = z.strictObject({
  kind: z.literal("ar").default("ar"),
  ...common,
  data: idsData,
  /** The tokenizer.json of the texts. */
  tokenizer: z.string(),
  /** The TokLIP whose ids the data are. Entries that read token features need it, and so do pictures of samples. */
  toklip: z.strictObject(given).nullable().default(null),
  /** Whether its token encoder stays as it is, or is trained with the transformer. */
  token_encoder: z.enum(["frozen", "trained"]).default("frozen"),
  /** The odds of each direction. */
  tasks: z
    .strictObject({ text_to_image: weight.default(1), image_to_text: weight.default(1) })
    .refine(({ text_to_image, image_to_text }) => text_to_image + image_to_text > 0, "one of them must be above 0")
    .prefault({}),
  /** What each target counts; `image_prior` is that of the ids of pictures that come first. */
  loss: z
    .strictObject({
      text_to_image: z.number().positive().default(1),
      image_to_text: z.number().positive().default(1),
      image_prior: weight.default(0),
    })
    .prefault({}),
  /** How pictures of samples are drawn. */
  samples: z
    .strictObject({
      guidance_scale: weight.default(3),
      temperature: z.number().positive().default(1),
      top_k: every.default(0),
      top_p: z.number().positive().max(1).default(1),
    })
    .prefault({}),
  /** Keep token features, or their codes, on disk: in the run's folder or in one that runs share. */
  cache: z.union([z.boolean(), z.string().min(1)]).default(false),
  optimizer: optimizer({ learning_rate: 1e-4, eps: 1e-8, weight_decay: 0.05, clip_norm: 1 }),
});

const SCHEMAS = { toklip, teacher, vq, ar } as const;

/** What can be trained. */
export type TrainingKind = keyof typeof SCHEMAS;

/** The kinds of training, in the order of help texts. */
export const TRAINING_KINDS = Object.keys(SCHEMAS) as readonly TrainingKind[];

/** The complete configuration of a run of each kind. */
export type RunConfigs = { readonly [K in TrainingKind]: z.infer<(typeof SCHEMAS)[K]> };
/** The complete configuration of any run. */
export type RunConfig = RunConfigs[TrainingKind];
/** What is trained on pictures; the others on ids. */
export type PictureTrainingKind = Exclude<TrainingKind, "ar">;
/** The complete configuration of a run on pictures. */
export type PictureRunConfig = RunConfigs[PictureTrainingKind];
/** Where samples come from. */
export type DataSourceConfig = z.infer<typeof dataSource>;
/** What is done to training pictures. */
export type AugmentationConfig = z.infer<typeof augmentation>;
/** The data of a run on pictures. */
export type DataConfig = z.infer<typeof data>;
/** Where samples of ids come from. */
export type IdsSourceConfig = z.infer<typeof idsSource>;
/** The data of a run on ids. */
export type IdsDataConfig = z.infer<typeof idsData>;

const MAY_DIFFER: readonly string[] = [
  "log_every",
  "eval_every",
  "eval_batches",
  "checkpoint_every",
  "samples_every",
  "keep_last",
  "best",
  "device",
  "threads",
  "data.eval",
  "data.workers",
  "data.prefetch",
  "data.bad_limit",
  "cache",
  "samples",
];

/**
 * Keys that a resumed run may have otherwise: they change what is said of it and how quickly, not its steps. Its length
 * is among them where the learning rate does not depend on it.
 */
export function mayDiffer({ optimizer: { schedule } }: RunConfig): readonly string[] {
  return schedule === "constant" ? [...MAY_DIFFER, "steps", "epochs"] : MAY_DIFFER;
}

/**
 * Checks a configuration and fills in every default.
 * @throws CONFIG_INVALID naming the first key that is wrong; for an unknown one with the nearest that exists
 */
export function parseRunConfig<K extends TrainingKind>(kind: K, json: unknown, name: string): RunConfigs[K] {
  const schema = SCHEMAS[kind];
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw new ToklipError("CONFIG_INVALID", `${name}: ${describe(parsed.error.issues, schema)}`);
  const config = parsed.data as RunConfigs[K];
  if ((config.steps === null) === (config.epochs === null)) {
    throw new ToklipError("CONFIG_INVALID", `${name}: give steps or epochs, one of the two`);
  }
  if (config.kind === "ar" && config.steps === null) {
    throw new ToklipError("CONFIG_INVALID", `${name}: epochs: packed rows are no known number of samples; give steps`);
  }
  if (config.kind === "toklip" && config.cache !== false) checkCacheable(config.data, name);
  return config;
}

/** Checks the settings of `data.augmentation` alone. @throws CONFIG_INVALID naming the first key that is wrong */
export function parseAugmentation(json: unknown, name: string): AugmentationConfig {
  const parsed = augmentation.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new ToklipError("CONFIG_INVALID", `${name}: ${describe(parsed.error.issues, augmentation)}`);
}

/** Checks that pictures come again. */
function checkCacheable({ augmentation }: DataConfig, name: string): void {
  const { crop, flip, color_jitter, grayscale, background, variants } = augmentation;
  const random = {
    crop: crop.kind !== "shortest" && crop.kind !== "squash",
    flip: flip !== 0,
    color_jitter: color_jitter !== null,
    grayscale: grayscale !== 0,
    background: background === "random" || background === "mixed",
  };
  const key = Object.entries(random).find(([, isRandom]) => isRandom)?.[0];
  if (key === undefined || typeof variants === "number") return;
  const advice = `${key === "crop" ? "use the crop shortest or squash" : "leave it out"}, give data.augmentation.variants`;
  throw new ToklipError(
    "CONFIG_INVALID",
    `${name}: cache: data.augmentation.${key} is random, so that no epoch could use another's features; ${advice}, or leave out the cache`,
  );
}

type Issue = z.core.$ZodIssue;

/** The issue that says most: an unknown key, which may be why another is missing; else the first. */
function mostTelling(issues: readonly Issue[]): Issue {
  return issues.find(({ code }) => code === "unrecognized_keys") ?? issues[0]!;
}

/** Of a union, the issue of the member that the value was meant as: one about something in it, not about its type. */
function innermost(issue: Issue): Issue {
  if (issue.code !== "invalid_union") return issue;
  const members = issue.errors.filter((issues) => issues.length > 0).map(mostTelling);
  const meant = members.find(({ path, code }) => path.length > 0 || code === "unrecognized_keys");
  if (meant !== undefined) return innermost({ ...meant, path: [...issue.path, ...meant.path] });
  const expected = members.map(({ message }) => message.replace(/^Invalid \w+: |, received .*$/g, ""));
  return { ...issue, message: expected.join(" or ") || issue.message };
}

function describe(issues: readonly Issue[], schema: z.ZodType): string {
  const issue = innermost(mostTelling(issues));
  const path = issue.path.join(".");
  if (issue.code !== "unrecognized_keys") return `${path || "configuration"}: ${issue.message}`;
  const key = issue.keys[0]!;
  const known = keysAt(schema, issue.path);
  const nearest = nearestName(key, known);
  const where = path === "" ? key : `${path}.${key}`;
  const hint = nearest === undefined ? `there are ${known.join(", ")}` : `did you mean ${nearest}?`;
  return `unknown key ${where} (${hint})`;
}

/** The keys that an object at a path of the schema may have. */
function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): readonly string[] {
  const [first, ...rest] = path;
  const objects = objectsOf(schema);
  if (first === undefined) return [...new Set(objects.flatMap((object) => Object.keys(object.shape)))];
  return objects.flatMap((object) => {
    const inner = (object.shape as Record<string, z.ZodType>)[String(first)];
    return inner === undefined ? [] : keysAt(inner, rest);
  });
}

/** The object schemas that a schema comes down to: without defaults and nulls, each member of a union. */
function objectsOf(schema: z.ZodType): readonly z.ZodObject[] {
  if (schema instanceof z.ZodObject) return [schema];
  if (schema instanceof z.ZodUnion) return (schema.options as z.ZodType[]).flatMap(objectsOf);
  const { innerType } = schema.def as { readonly innerType?: z.ZodType };
  return innerType === undefined ? [] : objectsOf(innerType);
}
