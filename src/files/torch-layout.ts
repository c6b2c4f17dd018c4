/**
 * Where the weights are in what a PyTorch file holds. Training codes agree on a dictionary of tensors by name, and on
 * nothing around it:
 *
 * | layout | written by |
 * |---|---|
 * | `{name: tensor}` | plain `torch.save(model.state_dict())` |
 * | `{state_dict, epoch, optimizer, ...}` | open_clip, TokLIP, Lightning |
 * | `{model, ema, optimizer, args, ...}` | LlamaGen |
 * | `{module}` | DeepSpeed |
 */
import { ToklipError } from "../core/index.ts";
import { PickleObject } from "./pickle.ts";
import { plainTree } from "./pickle-plain.ts";
import { quoted } from "./quoted.ts";
import { StorageReference, TensorReference } from "./torch-pickle.ts";

/** `model`: the weights as trained. `ema`: their running average. */
export type WeightsChoice = "model" | "ema";

/** Under which keys the weights are looked for, first come first served. The root itself is the last to be tried. */
const KEYS: Record<WeightsChoice, readonly string[]> = { model: ["state_dict", "model", "module"], ema: ["ema"] };

/** What data-parallel training puts before every name. */
const PARALLEL_PREFIX = "module.";

export interface ChosenWeights {
  /** By name, without the prefix of data-parallel training. */
  readonly tensors: ReadonlyMap<string, TensorReference>;
  /** The dictionary that they were found in: the root, or one of its values. */
  readonly holder: Map<unknown, unknown>;
}

/**
 * Finds the weights. `model` takes `state_dict`, else `model`, else `module`, else the tensors of the root itself; `ema`
 * takes `ema` and nothing else, so that nobody gets other weights than asked for.
 * `module.` is taken from the names where the first name has it.
 * @throws FILE_UNSUPPORTED when there are no tensors; CHECKPOINT_MISMATCH when there is no `ema`; FILE_CORRUPT when two
 *   names become one.
 */
export function chooseWeights(root: unknown, file: string, choice: WeightsChoice): ChosenWeights {
  if (!(root instanceof Map)) {
    const kind = root instanceof PickleObject ? `a pickled ${root.global}` : "no dictionary";
    throw new ToklipError("FILE_UNSUPPORTED", `torch: holds ${kind}, expected a state_dict (${file})`);
  }
  const key = KEYS[choice].find((candidate) => root.get(candidate) instanceof Map);
  if (key === undefined && choice === "ema") {
    throw new ToklipError("CHECKPOINT_MISMATCH", `torch: holds no ema weights, only ${keysOf(root)} (${file})`);
  }
  const holder = key === undefined ? root : (root.get(key) as Map<unknown, unknown>);
  const tensors = namedTensors(holder, file);
  if (tensors.size === 0) {
    throw new ToklipError("FILE_UNSUPPORTED", `torch: no tensors found, only ${keysOf(holder)} (${file})`);
  }
  return { tensors, holder };
}

function namedTensors(holder: Map<unknown, unknown>, file: string): Map<string, TensorReference> {
  const tensors = new Map<string, TensorReference>();
  const [first] = holder.keys();
  const parallel = typeof first === "string" && first.startsWith(PARALLEL_PREFIX);
  for (const [key, value] of holder) {
    if (typeof key !== "string" || !(value instanceof TensorReference)) continue;
    const name = parallel && key.startsWith(PARALLEL_PREFIX) ? key.slice(PARALLEL_PREFIX.length) : key;
    if (tensors.has(name))
      throw new ToklipError("FILE_CORRUPT", `torch: two tensors are called ${quoted(name)} (${file})`);
    tensors.set(name, value);
  }
  return tensors;
}

/** A few of a dictionary's keys, for messages. */
function keysOf(map: Map<unknown, unknown>): string {
  const keys = [...map.keys()].slice(0, 8).map((key) => (typeof key === "string" ? quoted(key) : typeof key));
  return `the keys ${keys.join(", ")}${map.size > keys.length ? ", ..." : ""}`;
}

/** What is left to say of a file: all but weights, tensors and the optimizer's state, as plain data. */
export function layoutMetadata(root: unknown, holder: Map<unknown, unknown>): Readonly<Record<string, unknown>> {
  const kept = new Map<string, unknown>();
  for (const map of [root as Map<unknown, unknown>, holder]) {
    for (const [key, value] of map) {
      if (typeof key === "string" && !kept.has(key) && !isBulk(key, value, holder)) kept.set(key, value);
    }
  }
  // One tree for all, so that its bounds hold for all.
  return plainTree(kept, describeTensor) as Readonly<Record<string, unknown>>;
}

function isBulk(key: string, value: unknown, holder: Map<unknown, unknown>): boolean {
  if (value instanceof TensorReference || value === holder || /^optimizer/.test(key)) return true;
  return value instanceof Map && hasTensor(value);
}

/** Whether one of its first values is a tensor. A pickle may refer to one large dictionary many times. */
function hasTensor(map: Map<unknown, unknown>): boolean {
  let left = 8;
  for (const value of map.values()) {
    if (value instanceof TensorReference) return true;
    if (--left === 0) break;
  }
  return false;
}

function describeTensor(value: object): string | undefined {
  if (value instanceof StorageReference) return `a storage (${value.type.slice(0, 100)})`;
  if (!(value instanceof TensorReference)) return undefined;
  return `a tensor (${value.dtype ?? "unsupported type"})`;
}
