/**
 * Converting a checkpoint of any format to .safetensors, tensor by tensor and piece by piece: memory is bounded by a
 * few pieces, whatever the size of the checkpoint or its largest tensor.
 */
import {
  bytesOf,
  DTYPES,
  type DType,
  fromF32,
  type LongCallOptions,
  throwIfAborted,
  toF32,
  viewBytes,
} from "../core/index.ts";
import {
  type Checkpoint,
  type OpenSink,
  streamTensor,
  type TensorEntry,
  tensorBytes,
  writeShardedSafetensors,
} from "../files/index.ts";

/** What the floats become. Integers and booleans are always kept. */
export type ConvertPrecision = "keep" | "fp32" | "fp16" | "bf16";

export interface ConvertOptions extends LongCallOptions {
  /** Starts each file of the result. */
  readonly openSink: OpenSink;
  /** Default `model.safetensors`; the names of shards and their index are made from it. */
  readonly fileName?: string | undefined;
  /** Default `keep`. */
  readonly precision?: ConvertPrecision | undefined;
  /** Default 4 GB of tensors a file. */
  readonly shardBytes?: number | undefined;
  /** Added to the metadata of each file, over what the checkpoint's own .safetensors files had. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** Which tensors are taken. Default all. */
  readonly filter?: ((entry: TensorEntry) => boolean) | undefined;
}

/** What a conversion wrote. */
export interface ConvertResult {
  /** The names of the files, the index last where there is one. */
  readonly files: readonly string[];
  readonly tensors: number;
  /** Of tensors, without headers. */
  readonly bytes: number;
  /** Names of tensors with finite values that the new dtype could only hold as infinity. */
  readonly overflowed: readonly string[];
}

const TARGETS: Record<Exclude<ConvertPrecision, "keep">, DType> = { fp32: "f32", fp16: "f16", bf16: "bf16" };

/** The least magnitude that rounds to infinity as a half float. */
const F16_OVERFLOW = 65520;

/** Says to Hugging Face's loaders that the tensors are laid out as PyTorch's. */
const FRAMEWORK = { format: "pt" };

/**
 * Writes a checkpoint's tensors as .safetensors. All files appear together once they are complete, the index last.
 * @throws ABORTED; FILE_CORRUPT when a tensor cannot be read; whatever the sinks throw, and then no file appears.
 */
export async function convertCheckpoint(checkpoint: Checkpoint, options: ConvertOptions): Promise<ConvertResult> {
  const { openSink, fileName = "model.safetensors", precision = "keep", shardBytes, filter = () => true } = options;
  const specs = [...checkpoint.tensors.values()].filter(filter).map((entry) => ({
    name: entry.name,
    shape: entry.shape,
    dtype: targetDType(entry.dtype, precision),
    entry,
  }));
  const byName = new Map(specs.map((spec) => [spec.name, spec]));
  const total = specs.reduce((sum, spec) => sum + tensorBytes(spec), 0);
  const overflowed = new Set<string>();
  let done = 0;
  async function* data(name: string): AsyncGenerator<Uint8Array> {
    const { entry, dtype } = byName.get(name)!;
    for await (const piece of streamTensor(entry)) {
      throwIfAborted(options.signal, "convert");
      const converted = convertPiece(piece, entry.dtype, dtype, () => overflowed.add(name));
      yield converted;
      done += converted.byteLength;
      options.onProgress?.({ stage: "convert", item: name, done, total, unit: "bytes" });
    }
  }
  throwIfAborted(options.signal, "convert");
  const metadata = { ...ownMetadata(checkpoint), ...FRAMEWORK, ...options.metadata };
  const files = await writeShardedSafetensors(specs, data, { openSink, fileName, shardBytes, metadata });
  return { files, tensors: specs.length, bytes: total, overflowed: [...overflowed] };
}

function targetDType(dtype: DType, precision: ConvertPrecision): DType {
  return precision === "keep" || !DTYPES[dtype].float ? dtype : TARGETS[precision];
}

function convertPiece(piece: Uint8Array, from: DType, to: DType, onOverflow: () => void): Uint8Array {
  if (from === to) return piece;
  const values = toF32(from, viewBytes(from, piece));
  const converted = fromF32(to, values);
  if (to === "f16" && overflows(values)) onOverflow();
  return bytesOf(converted);
}

function overflows(values: Float32Array): boolean {
  for (const value of values) {
    if (Math.abs(value) >= F16_OVERFLOW && Number.isFinite(value)) return true;
  }
  return false;
}

/** The strings that a .safetensors checkpoint carries. A PyTorch file's metadata is not strings, and not carried over. */
function ownMetadata(checkpoint: Checkpoint): Record<string, string> {
  return checkpoint.format === "safetensors" ? (checkpoint.metadata as Record<string, string>) : {};
}
