/**
 * What is trained against a contrastive loss: towers that make features of each sample, and a loss over the features of
 * the whole batch. The two are kept apart because the loss looks at all samples at once, while the towers can be run
 * over a few at a time, or in several processes.
 */
import type { DType } from "../core/index.ts";
import type { Dim, Graph, Tensor } from "../graph/index.ts";
import type { Feeds } from "../runtime/index.ts";
import type { ImageTextBatch } from "./image-text-batch.ts";

/** An array that is fed with one row a sample. */
export interface RowInput {
  readonly dtype: DType;
  /** The shape of a row. */
  readonly shape: readonly number[];
}

/** Inputs by name. */
export type RowInputs = Readonly<Record<string, RowInput>>;
/** Tensors by name. */
export type Tensors = Readonly<Record<string, Tensor>>;

/** What the towers make of some samples. */
export interface TowerResult {
  /** What the loss over the batch compares, (B, D) each. */
  readonly features: Tensors;
  /** What only terms within a sample look at. */
  readonly inner?: Tensors;
}

/** A model and a loss. */
export interface ContrastiveObjective {
  /** What the towers read. */
  readonly towerInputs: RowInputs;
  /** What terms within a sample read besides. */
  readonly innerInputs: RowInputs;
  /** What the loss over the batch reads besides the features. */
  readonly lossInputs: RowInputs;
  /** Traces the towers. */
  towers(graph: Graph, inputs: Tensors): TowerResult;
  /** Terms that are means over samples: their sum over parts of a batch, weighted by size, is that of the batch. */
  innerLoss(graph: Graph, result: TowerResult, inputs: Tensors): Tensors;
  /** Terms over the features of a whole batch. */
  batchLoss(graph: Graph, features: Tensors, inputs: Tensors): Tensors;
  /** The arrays that a batch is fed as, frozen parts of the model applied. What is drawn at random depends on the step. */
  prepare(batch: ImageTextBatch, step?: number): Promise<Feeds>;
  /** Frees the frozen parts. */
  dispose(): Promise<void>;
}

/** Declares inputs for a number of samples. */
export function declareInputs(graph: Graph, inputs: RowInputs, batch: Dim): Tensors {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { dtype, shape }]) => [name, graph.input(name, dtype, [batch, ...shape])]),
  );
}

/** The arrays of some inputs. */
export function feedsOf(inputs: RowInputs, feeds: Feeds): Feeds {
  return Object.fromEntries(Object.keys(inputs).map((name) => [name, feeds[name]!]));
}
