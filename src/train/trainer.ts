/**
 * What a trainer is to the loop that drives it: something that takes batches and steps, can say everything it knows as
 * tensors and JSON, and can be put back exactly there.
 */
import type { NDArray } from "../core/index.ts";
import type { JsonValue } from "../data/dataset.ts";

/** What one optimizer step reports. */
export interface StepReport {
  /** The total that was minimised. */
  readonly loss: number;
  /** Its parts by name, as they enter the total, and other scalars worth a curve (`logit_scale`, `codebook_usage`). */
  readonly parts: Readonly<Record<string, number>>;
  readonly learningRate: number;
  /** The Euclidean norm of all gradients before clipping. */
  readonly gradientNorm: number;
}

/** Tensors by name. */
export type TensorMap = ReadonlyMap<string, NDArray>;

/** Everything a checkpoint holds of a trainer. */
export interface TrainerState {
  /** Tensors by file: `model` (trained parameters), `optimizer` (moments), `ema`, ... each becomes `<file>.safetensors`. */
  readonly files: Readonly<Record<string, TensorMap>>;
  /** Whatever else it must know to go on: step counts of the optimizer, random states. */
  readonly json: JsonValue;
}

/** A picture for people, to be saved beside the metrics: sample reconstructions, for instance. */
export interface SamplePicture {
  readonly name: string;
  /** f32 (3, H, W) in [-1, 1]. */
  readonly pixels: NDArray<"f32">;
}

/** A training under way. `Batch` is what one optimizer step consumes: the whole global batch of this process. */
export interface Trainer<Batch> {
  /** One optimizer step. `step` counts from 0; `total` is the length of the schedule. */
  step(batch: Batch, at: { readonly step: number; readonly total: number }): Promise<StepReport>;
  /** Scalars over held-out batches: `loss`, `recall@1`, `psnr`, ... `loss` is what "best" means unless the run says otherwise. */
  evaluate(batches: AsyncIterable<Batch>): Promise<Readonly<Record<string, number>>>;
  /** Pictures to look at, after an evaluation. */
  samples?(batch: Batch): Promise<readonly SamplePicture[]>;
  /** All that it knows, for a checkpoint. */
  state(): TrainerState | Promise<TrainerState>;
  /** @throws CHECKPOINT_MISMATCH, RESUME_MISMATCH */
  restore(state: TrainerState): void | Promise<void>;
  /** Waits for the work under way and frees everything. */
  dispose(): Promise<void>;
}
