/** A configuration and a seed -> a checkpoint of random weights. */
import { bytesOf, fromF32, type LongCallOptions, sizeOf, throwIfAborted } from "../core/index.ts";
import type { AtomicSink } from "../files/atomic-sink.ts";
import { type TensorSpec, writeSafetensors } from "../files/safetensors-writer.ts";
import {
  type GraphName,
  imageGraphs,
  initialPieces,
  initialScalars,
  parameterShapes,
  type ToklipConfig,
} from "../models/index.ts";
import { configMetadata } from "./model-files.ts";

/** What checkpoint to make. */
export interface InitOptions extends LongCallOptions {
  readonly config: ToklipConfig;
  /** A whole number in [0, 2^32). The same seed gives the same file. */
  readonly seed: number;
  /** Default `fp32`. */
  readonly precision?: "fp32" | "fp16";
  /** Default both towers. */
  readonly parts?: "all" | "image" | "text";
}

const PARTS: Record<NonNullable<InitOptions["parts"]>, (config: ToklipConfig) => readonly GraphName[]> = {
  all: (config) => [...imageGraphs(config), "text_encoder"],
  image: imageGraphs,
  text: () => ["text_encoder"],
};

/**
 * Writes a checkpoint of random weights, in pieces: memory does not grow with the model.
 * @throws FILE_WRITE_FAILED, ABORTED; nothing is left behind then.
 */
export async function writeInitialCheckpoint(
  sink: AtomicSink,
  { config, seed, precision = "fp32", parts = "all", signal, onProgress }: InitOptions,
): Promise<{ readonly parameters: number; readonly bytes: number }> {
  const dtype = precision === "fp16" ? "f16" : "f32";
  const shapes = parameterShapes(config, PARTS[parts](config));
  const scalars = initialScalars(config);
  const tensors: TensorSpec[] = [
    ...Object.keys(scalars).map((name): TensorSpec => ({ name, dtype: "f32", shape: [] })),
    ...[...shapes].map(([name, shape]): TensorSpec => ({ name, dtype, shape })),
  ];
  const total = [...shapes.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
  const elementBytes = dtype === "f16" ? 2 : 4;
  let bytes = 0;
  async function* data(name: string): AsyncGenerator<Uint8Array> {
    const scalar = scalars[name];
    const pieces = scalar === undefined ? initialPieces(name, shapes.get(name)!, seed) : [Float32Array.of(scalar)];
    for (const piece of pieces) {
      throwIfAborted(signal, "init");
      const out = bytesOf(scalar === undefined ? fromF32(dtype, piece as Float32Array<ArrayBuffer>) : piece);
      bytes += out.byteLength;
      onProgress?.({ stage: "init", item: name, done: bytes, total: total * elementBytes, unit: "bytes" });
      yield out;
    }
  }
  try {
    await writeSafetensors(sink, tensors, data, { format: "pt", ...configMetadata(config) });
    await sink.commit();
  } catch (thrown) {
    await sink.abort();
    throw thrown;
  }
  return { parameters: total, bytes };
}
