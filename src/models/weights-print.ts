/**
 * A fingerprint of weights: equal for checkpoints that hold the same, whatever their format and place. Of large tensors
 * pieces are read, which another training or another conversion does not leave as they are.
 */
import { DTYPES, ToklipError } from "../core/index.ts";
import { type Checkpoint, checkEntry, type TensorEntry } from "../files/checkpoint.ts";
import { crc32c } from "../files/crc32c.ts";
import { elementCount, storageSpan } from "../files/tensor-layout.ts";
import type { ToklipConfig } from "./config.ts";
import { type GraphName, traceGraph } from "./toklip.ts";

/** Tensors up to this size are read as a whole. */
const WHOLE_BYTES = 1 << 16;
const PIECES = 16;
const PIECE_BYTES = 1 << 12;

/**
 * The fingerprint of what a graph reads, by names, shapes and bytes: 16 hexadecimal digits.
 * @param checkpoints each parameter is taken from the first that has it
 * @throws CHECKPOINT_MISMATCH, FILE_CORRUPT, FILE_READ_FAILED
 */
export async function weightsPrint(
  name: GraphName,
  model: ToklipConfig,
  checkpoints: readonly Checkpoint[],
): Promise<string> {
  let crcs: readonly [number, number] = [0, 0];
  for (const parameter of traceGraph(name, model).parameters.keys()) {
    const entry = checkpoints.find(({ tensors }) => tensors.has(parameter))?.tensors.get(parameter);
    if (entry === undefined)
      throw new ToklipError("CHECKPOINT_MISMATCH", `${model.name}: no checkpoint has ${parameter}`);
    const what = new TextEncoder().encode(`${parameter} ${entry.dtype} [${entry.shape}]`);
    const own = await entryPrint(entry);
    // Two sums that start apart: 64 bits.
    crcs = [crc32c(own, crc32c(what, crcs[0])), crc32c(what, crc32c(own, crcs[1]))];
  }
  return crcs.map((crc) => crc.toString(16).padStart(8, "0")).join("");
}

/** The bytes of a tensor, or pieces of them from its beginning to its end. */
async function entryPrint(entry: TensorEntry): Promise<Uint8Array> {
  checkEntry(entry);
  const { shape, strides, dtype, offset, source } = entry;
  const count = strides ? storageSpan(shape, strides) : elementCount(shape, entry.name);
  const bytes = count * DTYPES[dtype].bytes;
  if (bytes <= WHOLE_BYTES) return source.read(offset, bytes);
  const print = new Uint8Array(PIECES * PIECE_BYTES);
  for (let i = 0; i < PIECES; i++) {
    const at = Math.floor(((bytes - PIECE_BYTES) * i) / (PIECES - 1));
    print.set(await source.read(offset + at, PIECE_BYTES), i * PIECE_BYTES);
  }
  return print;
}
