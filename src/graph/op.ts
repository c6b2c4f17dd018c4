/**
 * What one row of the op table holds. An op is data: its attributes, its shape and dtype rule, its ONNX lowering, a slow
 * float64 evaluation that the tests use as the oracle, and its gradient.
 */
import type { DType, NDArray } from "../core/index.ts";
import type { Dim, Shape } from "./dim.ts";
import type { Tensor } from "./graph.ts";

/** The dtype and shape of a tensor. */
export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** A value in the float64 interpreter; integers and booleans are held as whole numbers. */
export interface Value {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** What an ONNX attribute may hold. */
export type AttributeValue = number | string | readonly number[] | { readonly float: number };

/** What a lowering may do: add ONNX nodes and constants, and refer to their outputs by name. */
export interface Lowering {
  /** Adds a node and gives the names of its outputs. Whole numbers are INT attributes; `{ float }` is FLOAT. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, AttributeValue>>,
    options?: { readonly domain?: string; readonly outputs?: number },
  ): string[];
  /** Adds a constant and gives its name. */
  constant(array: NDArray): string;
  /** A one-element i64 tensor that holds the size of a dimension, known or not. */
  size(dim: Dim): string;
}

/** The types around a node that is being lowered or evaluated. */
export interface NodeTypes {
  readonly inputs: readonly TensorType[];
  readonly outputs: readonly TensorType[];
}

/** The node that a gradient rule is asked about. */
export interface Differentiated<A> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly attrs: A;
}

/** One row of the op table. */
export interface Op<A> {
  /**
   * The types of the outputs.
   * @throws SHAPE_MISMATCH, DTYPE_MISMATCH, GRAPH_INVALID when the inputs do not fit.
   */
  infer(inputs: readonly TensorType[], attrs: A): readonly TensorType[];
  /** Writes the op as ONNX nodes and gives the names of its outputs. */
  lower(onnx: Lowering, inputs: readonly string[], attrs: A, types: NodeTypes): readonly string[];
  /** Computes the op in float64. Every shape is bound. */
  evaluate(
    inputs: readonly Value[],
    attrs: A,
    outputs: readonly { readonly shape: readonly number[]; readonly dtype: DType }[],
  ): readonly Value[];
  /**
   * The vector-Jacobian product: from the gradients of the outputs (at least one is there), those of the inputs, each of
   * its input's shape; undefined for inputs that none flows to. What is not needed in the end is dropped as dead.
   * Absent where an op cannot be differentiated.
   */
  readonly gradient?: (
    dys: readonly (Tensor | undefined)[],
    node: Differentiated<A>,
  ) => readonly (Tensor | undefined)[];
}

/** The attributes of ops that have none. */
export type NoAttrs = Readonly<Record<never, never>>;

/** Checks a row's attribute type while keeping the names of a family of ops. */
export function op<A>(row: Op<A>): Op<A> {
  return row;
}
