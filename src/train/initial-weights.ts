/**
 * The weights that a training begins with: each from the first checkpoint that has it in the right shape, at random where
 * none does. A student takes its blocks from its teacher that way, because both name them alike.
 */
import { type NDArray, ndarray, sizeOf, ToklipError, toF32 } from "../core/index.ts";
import { type Checkpoint, readTensor } from "../files/index.ts";
import { initialPieces, isResampled, parameterShapes, resamplePositions, type ToklipConfig } from "../models/index.ts";
import { checkpointWeights, type Weight } from "../runtime/index.ts";
import type { Parameters } from "./training-graph.ts";

/** Trained parameters, and which of them no checkpoint had. */
export interface InitialParameters {
  readonly parameters: Parameters;
  /** Names of those that begin at random, or at a constant of their own. */
  readonly fresh: readonly string[];
}

/** Shapes by the names of parameters. */
type Shapes = ReadonlyMap<string, readonly number[]>;

/**
 * Checks, from headers alone, that checkpoints to begin from have something of a model, and what they have in its shapes.
 * @throws CHECKPOINT_MISMATCH
 */
export function checkInit(checkpoints: readonly Checkpoint[], model: ToklipConfig): void {
  checkBeginnings(model.name, parameterShapes(model), checkpoints);
}

/**
 * The same of any model's shapes.
 * @param what the model, for messages
 * @throws CHECKPOINT_MISMATCH
 */
export function checkBeginnings(what: string, shapes: Shapes, checkpoints: readonly Checkpoint[]): void {
  for (const checkpoint of checkpoints) {
    const held = [...shapes].filter(([name]) => checkpoint.tensors.has(name));
    if (held.length === 0) {
      throw new ToklipError("CHECKPOINT_MISMATCH", `${checkpoint.name}: has no parameter of ${what}`);
    }
    for (const [name, shape] of held) checkBeginning(checkpoint, name, shape);
  }
}

/**
 * Checks, from headers alone, that checkpoints have all weights of what is not trained.
 * @param what the part of the model, for messages
 * @throws CHECKPOINT_MISMATCH saying what is missing, or has another shape
 */
export function checkWeights(what: string, shapes: Shapes, checkpoints: readonly Checkpoint[]): void {
  const missing: string[] = [];
  for (const [name, shape] of shapes) {
    const holder = checkpoints.find(({ tensors }) => tensors.has(name));
    if (holder === undefined) missing.push(name);
    else checkShape(holder, name, shape);
  }
  if (missing.length === 0) return;
  const looked = checkpoints.map((checkpoint) => checkpoint.name).join(", ") || "no checkpoint";
  const more = missing.length > 1 ? ` and ${missing.length - 1} more of its ${shapes.size} parameters` : "";
  throw new ToklipError(
    "CHECKPOINT_MISMATCH",
    `${what} is not trained, so its weights must be given: ${looked} has no ${missing[0]}${more}`,
  );
}

function checkShape({ tensors, name: file }: Checkpoint, name: string, shape: readonly number[]): void {
  const stored = tensors.get(name)!.shape;
  if (stored.join() === shape.join()) return;
  throw new ToklipError("CHECKPOINT_MISMATCH", `${file}: ${name} expected [${shape}], got [${stored}]`);
}

/** A trained parameter may begin as positions of another grid. */
function checkBeginning(checkpoint: Checkpoint, name: string, shape: readonly number[]): void {
  if (!isResampled(name, checkpoint.tensors.get(name)!.shape, shape)) checkShape(checkpoint, name, shape);
}

/**
 * Reads or makes the parameters of these shapes; positions of another grid are resampled.
 * @param scalars where parameters without dimensions begin when no checkpoint has them
 * @throws CHECKPOINT_MISMATCH when a checkpoint has one in another shape
 */
export async function initialParameters(
  shapes: Shapes,
  checkpoints: readonly Checkpoint[],
  { seed, scalars = {} }: { readonly seed: number; readonly scalars?: Readonly<Record<string, number>> },
): Promise<InitialParameters> {
  const parameters: Parameters = new Map();
  const fresh: string[] = [];
  for (const [name, shape] of shapes) {
    const found = await storedParameter(name, shape, checkpoints);
    if (found === undefined) fresh.push(name);
    parameters.set(name, found ?? freshParameter(name, shape, seed, scalars));
  }
  return { parameters, fresh };
}

async function storedParameter(
  name: string,
  shape: readonly number[],
  checkpoints: readonly Checkpoint[],
): Promise<NDArray<"f32"> | undefined> {
  const holder = checkpoints.find(({ tensors }) => tensors.has(name));
  if (holder === undefined) return undefined;
  checkBeginning(holder, name, shape);
  const { dtype, data, shape: stored } = await readTensor(holder.tensors.get(name)!);
  const values = ndarray("f32", stored, toF32(dtype, data).slice());
  return isResampled(name, stored, shape) ? resamplePositions(values, shape[1]!) : values;
}

function freshParameter(
  name: string,
  shape: readonly number[],
  seed: number,
  scalars: Readonly<Record<string, number>>,
): NDArray<"f32"> {
  const data = new Float32Array(sizeOf(shape));
  const scalar = scalars[name];
  if (scalar !== undefined) return ndarray("f32", shape, data.fill(scalar));
  let at = 0;
  for (const piece of initialPieces(name, shape, seed)) {
    data.set(piece, at);
    at += piece.length;
  }
  return ndarray("f32", shape, data);
}

/** The weights of frozen parts: each from the first checkpoint that has it. */
export function weightsOf(checkpoints: readonly Checkpoint[], what: string): (name: string) => Promise<Weight> {
  return async (name) => {
    const holder = checkpoints.find(({ tensors }) => tensors.has(name));
    if (holder !== undefined) return checkpointWeights(holder)(name);
    const names = checkpoints.map((checkpoint) => checkpoint.name).join(", ");
    throw new ToklipError("CHECKPOINT_MISMATCH", `${what}: ${names || "no checkpoint"} has no ${name}`);
  };
}
