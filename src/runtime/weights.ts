/** Checkpoint tensors as weights of a program. */
import { DTYPES, type NDArray, ndarray, ToklipError, toF32 } from "../core/index.ts";
import { type Checkpoint, readTensor, type TensorEntry } from "../files/checkpoint.ts";
import type { Program, Weight } from "./session.ts";

/** Whether a backend can map the elements where they are. */
function isMappable({ source, offset, dtype, strides }: TensorEntry): boolean {
  return source.path !== undefined && strides === undefined && offset % DTYPES[dtype].bytes === 0;
}

/** A function that gives the weights of a checkpoint by name: left in the file where that is possible. */
export function checkpointWeights(checkpoint: Checkpoint): (name: string) => Promise<Weight> {
  return async (name) => {
    const entry = checkpoint.tensors.get(name);
    if (entry === undefined) throw new ToklipError("CHECKPOINT_MISMATCH", `${checkpoint.name} has no tensor ${name}`);
    if (!isMappable(entry)) return { kind: "array", value: await readTensor(entry) };
    const length = entry.shape.reduce((size, dim) => size * dim, DTYPES[entry.dtype].bytes);
    return { kind: "file", dtype: entry.dtype, path: entry.source.path!, offset: entry.offset, length };
  };
}

/** A weight of a program in memory, as f32. `read` brings in one that was left in its file. */
export async function weightAsF32(
  program: Program,
  name: string,
  read: (name: string) => Promise<NDArray>,
): Promise<NDArray<"f32">> {
  const weight = await program.weight(name);
  if (weight.kind === "fed") throw new ToklipError("ARGUMENT_INVALID", `${name}: a weight that is fed cannot be read`);
  const { dtype, shape, data } = weight.kind === "array" ? weight.value : await read(name);
  return ndarray("f32", shape, toF32(dtype, data));
}
