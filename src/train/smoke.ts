/** The smallest run that still goes through everything: few steps, few samples, few blocks. */
import { ToklipError } from "../core/index.ts";
import type { TrainingKind } from "./run-config.ts";

type Json = Record<string, unknown>;

const RUN: Json = {
  steps: 4,
  epochs: null,
  batch_size: 4,
  part_size: 2,
  log_every: 1,
  eval_every: 2,
  eval_batches: 1,
  checkpoint_every: 2,
  samples_every: 2,
};

function section(json: Json, name: string): Json {
  const value = json[name];
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  throw new ToklipError("CONFIG_INVALID", `model: ${name} is missing`);
}

const shallow = (json: Json, key: string, most: number): Json => ({
  ...json,
  [key]: Math.min(Number(json[key] ?? most), most),
});

/** What becomes smaller in the model of each kind. Frozen parts keep their size, since their weights are given. */
const MODELS: Record<TrainingKind, (model: Json) => Json> = {
  toklip: (model) => {
    const vision = section(model, "vision_cfg");
    return { ...model, vision_cfg: { ...vision, trunk: shallow(section(vision, "trunk"), "depth", 2) } };
  },
  teacher: (model) => ({ ...MODELS.toklip(model), text_cfg: shallow(section(model, "text_cfg"), "layers", 2) }),
  vq: (model) => {
    const vision = section(model, "vision_cfg");
    return { ...model, vision_cfg: { ...vision, vq: shallow(section(vision, "vq"), "num_res_blocks", 1) } };
  },
  ar: (model) => shallow(model, "depth", 2),
};

/** What comes late in a run of its kind comes early. */
const SETTINGS: Partial<Record<TrainingKind, (config: Json) => Json>> = {
  vq: ({ loss }) => {
    const { discriminator, ...terms } = (loss ?? {}) as Json;
    const early = discriminator ? { discriminator: { ...(discriminator as Json), start: 2 } } : {};
    return { codebook: { patience: 2, revive_every: 2 }, ...(loss !== undefined && { loss: { ...terms, ...early } }) };
  },
};

/** The smoke size of a run: its configuration with small numbers, and with a shallow model given as JSON. */
export function smokeConfig(kind: TrainingKind, config: unknown, model: Readonly<Json>): unknown {
  const augmented = typeof config === "object" && config !== null ? (config as Json) : {};
  const optimizer = { ...(augmented.optimizer as Json | undefined), warmup: 1 };
  return { ...augmented, ...RUN, ...SETTINGS[kind]?.(augmented), optimizer, model: MODELS[kind](model) };
}
