/**
 * The weights that a training begins with: each from the first checkpoint that has it in the right shape, at random where
 * none does. A student takes its blocks from its teacher that way, because both name them alike.
 */
import { type NDArray, ndarray, sizeOf, ToklipError, toF32 } from "../core/index.ts";
import { type Checkpoint, readTensor } from "../files/index.ts";
import { initialPieces } from "../models/index.ts";
import { checkpointWeights, type Weight } from "../runtime/index.ts";
import type { Parameters } from "./training-graph.ts";

/** Trained parameters, and which of them no checkpoint had. */
export interface InitialParameters {
  readonly parameters: Parameters;
  /** Names of those that begin at random, or at a constant of their own. */
  readonly fresh: readonly string[];
}

/**
 * Reads or makes the parameters of these shapes.
 * @param scalars where parameters without dimensions begin when no checkpoint has them
 * @throws CHECKPOINT_MISMATCH when a checkpoint has one in another shape
 */
export async function initialParameters(
  shapes: ReadonlyMap<string, readonly number[]>,
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
  const { dtype, shape: stored, data } = await readTensor(holder.tensors.get(name)!);
  if (stored.join() !== shape.join()) {
    throw new ToklipError("CHECKPOINT_MISMATCH", `${holder.name}: ${name} expected [${shape}], got [${stored}]`);
  }
  return ndarray("f32", shape, toF32(dtype, data).slice());
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
