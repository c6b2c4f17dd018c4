/**
 * What the results of frozen parts depend on, as plain JSON: equal exactly when cached results may be used.
 * The weights are in it by a fingerprint of their names, shapes and bytes; of large tensors by pieces of them, which
 * another training or another conversion does not leave as they are.
 */
import { DTYPES, ToklipError } from "../core/index.ts";
import type { JsonValue } from "../data/dataset.ts";
import { type Checkpoint, checkEntry, type TensorEntry } from "../files/checkpoint.ts";
import { crc32c } from "../files/crc32c.ts";
import { elementCount, storageSpan } from "../files/tensor-layout.ts";
import { type GraphName, type ToklipConfig, traceGraph, vqOf } from "../models/index.ts";
import { wantedFeatures } from "./toklip-objective.ts";
import type { GivenParts } from "./towers-trainer.ts";

/** Changes when the same parts would give other results in a new version of this project. */
const VERSION = 1;
/** Tensors up to this size are read as a whole. */
const WHOLE_BYTES = 1 << 16;
const PIECES = 16;
const PIECE_BYTES = 1 << 12;

/**
 * The identities of what is made of pictures and of texts.
 * @param engine what the parts run on, and how: whatever may change a rounding
 * @throws CHECKPOINT_MISMATCH, FILE_CORRUPT, FILE_READ_FAILED
 */
export async function frozenIdentities(
  parts: GivenParts,
  engine: { readonly [name: string]: JsonValue },
): Promise<{ readonly pictures: JsonValue; readonly texts: JsonValue }> {
  const { model, frozenCheckpoints: checkpoints = parts.checkpoints, teacher } = parts;
  const wanted = wantedFeatures(parts.weights);
  const isTaught = wanted.teacher || wanted.teacherTokens;
  const taught = isTaught &&
    teacher && {
      trunk: plain(teacher.config.trunk),
      weights: await weightsPrint("pixel_encoder", teacher.config, [teacher.checkpoint]),
    };
  const common = { version: VERSION, engine };
  const pictures = {
    ...common,
    image_size: model.trunk.imageSize,
    vq: plain(vqOf(model)),
    vq_weights: await weightsPrint("vq_encoder", model, checkpoints),
    teacher: taught || null,
    teacher_features: wanted.teacher,
    teacher_tokens: wanted.teacherTokens,
  };
  const texts = {
    ...common,
    text: plain(model.text),
    weights: wanted.text ? await weightsPrint("text_encoder", model, checkpoints) : null,
  };
  return { pictures, texts };
}

function plain(value: unknown): JsonValue {
  return JSON.parse(JSON.stringify(value ?? null)) as JsonValue;
}

async function weightsPrint(name: GraphName, model: ToklipConfig, checkpoints: readonly Checkpoint[]): Promise<string> {
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
