/**
 * What every checkpoint format gives: named tensors whose bytes stay on disk until they are asked for.
 */
import { type ByteSource, type DType, type NDArray } from "../core/index.ts";

/** One tensor of a checkpoint: where its bytes are. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** The file that holds it, and the place of its first element in it. */
  readonly source: ByteSource;
  readonly offset: number;
  /** Strides in elements, only where the elements are not dense row-major. */
  readonly strides?: readonly number[];
}

/** An opened checkpoint: headers read, tensors not. */
export interface Checkpoint {
  readonly format: "safetensors" | "torch";
  readonly name: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** What else the file says of itself (epoch, training arguments, safetensors metadata): inert data. */
  readonly metadata: Readonly<Record<string, unknown>>;
  close(): Promise<void>;
}

export type ReadTensor = (entry: TensorEntry) => Promise<NDArray>;
