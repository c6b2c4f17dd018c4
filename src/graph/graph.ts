/**
 * The tensor graph: what calling a model function once leaves behind. Nodes are kept in the order they were made, which
 * is an order they can be run in. Nothing is computed here.
 */
import { type DType, type NDArray, sizeOf, ToklipError } from "../core/index.ts";
import { bindShape, formatShape, isStatic, type Shape } from "./dim.ts";
import type { TensorType } from "./op.ts";
import { type AttrsOf, type OpName, opRow } from "./op-table.ts";

/** A symbolic tensor: one output of one node. */
export interface Tensor extends TensorType {
  readonly graph: Graph;
  readonly node: Node;
  /** Which output of the node it is. */
  readonly output: number;
}

/** Where a tensor comes from: fed at run time, held as a weight, written into the graph, or computed. */
export type Node =
  | { readonly kind: "input"; readonly id: number; readonly name: string; readonly outputs: readonly Tensor[] }
  | { readonly kind: "parameter"; readonly id: number; readonly name: string; readonly outputs: readonly Tensor[] }
  | { readonly kind: "constant"; readonly id: number; readonly value: NDArray; readonly outputs: readonly Tensor[] }
  | {
      readonly kind: "op";
      readonly id: number;
      readonly op: OpName;
      readonly attrs: unknown;
      readonly inputs: readonly Tensor[];
      readonly outputs: readonly Tensor[];
    };

type NodeBody = Node extends infer N ? (N extends Node ? Omit<N, "id" | "outputs"> : never) : never;

/** A graph that is being traced: nodes in the order they were made, and the names of what goes in and out. */
export class Graph {
  readonly nodes: Node[] = [];
  readonly inputs = new Map<string, Tensor>();
  readonly parameters = new Map<string, Tensor>();
  readonly outputs = new Map<string, Tensor>();

  /** A tensor that is fed at run time. Symbolic dimensions such as `"B"` are bound by what is fed. */
  input(name: string, dtype: DType, shape: Shape): Tensor {
    if (this.inputs.has(name)) throw new ToklipError("GRAPH_INVALID", `input ${name} is declared twice`);
    const tensor = this.append({ kind: "input", name }, [{ dtype, shape }])[0]!;
    this.inputs.set(name, tensor);
    return tensor;
  }

  /** A weight, named as in the checkpoint. Asking again for the same name gives the same tensor. */
  parameter(name: string, shape: readonly number[], dtype: DType = "f32"): Tensor {
    const known = this.parameters.get(name);
    if (known !== undefined) {
      if (known.dtype === dtype && formatShape(known.shape) === formatShape(shape)) return known;
      throw new ToklipError(
        "GRAPH_INVALID",
        `parameter ${name} is ${formatShape(known.shape)} and ${formatShape(shape)}`,
      );
    }
    const tensor = this.append({ kind: "parameter", name }, [{ dtype, shape }])[0]!;
    this.parameters.set(name, tensor);
    return tensor;
  }

  /** A value written into the graph. */
  constant(value: NDArray): Tensor {
    return this.append({ kind: "constant", value }, [{ dtype: value.dtype, shape: value.shape }])[0]!;
  }

  /**
   * Applies an op of the table.
   * @throws SHAPE_MISMATCH, DTYPE_MISMATCH, GRAPH_INVALID as the op's rule says.
   */
  apply<K extends OpName>(name: K, inputs: readonly Tensor[], attrs: AttrsOf<K>): readonly Tensor[] {
    const foreign = inputs.find((input) => input.graph !== this);
    if (foreign) throw new ToklipError("GRAPH_INVALID", `${name}: an operand belongs to another graph`);
    return this.append({ kind: "op", op: name, attrs, inputs }, opRow(name).infer(inputs, attrs));
  }

  /** Names a tensor as a result. */
  output(name: string, tensor: Tensor): void {
    if (this.outputs.has(name)) throw new ToklipError("GRAPH_INVALID", `output ${name} is declared twice`);
    this.outputs.set(name, tensor);
  }

  private append(body: NodeBody, types: readonly TensorType[]): readonly Tensor[] {
    const outputs: Tensor[] = [];
    const node = { ...body, id: this.nodes.length, outputs } as Node;
    types.forEach(({ dtype, shape }, output) => {
      outputs.push({ graph: this, node, output, dtype, shape });
    });
    this.nodes.push(node);
    return outputs;
  }
}

/** The inputs of any node; only ops have some. */
export function inputsOf(node: Node): readonly Tensor[] {
  return node.kind === "op" ? node.inputs : [];
}

/** What to call a node in a message. */
export function describeNode(node: Node): string {
  return node.kind === "op" ? `node ${node.id} (${node.op})` : `node ${node.id} (${node.kind})`;
}

/** The values of symbols, from the shapes of what is fed. @throws SHAPE_MISMATCH when a shape does not fit. */
export function bindInputs(graph: Graph, shapes: ReadonlyMap<string, readonly number[]>): Map<string, number> {
  const bindings = new Map<string, number>();
  for (const [name, { shape }] of graph.inputs) {
    const given = shapes.get(name);
    if (given === undefined) throw new ToklipError("ARGUMENT_INVALID", `input ${name} is not given`);
    shape.forEach((dim, axis) => {
      if (!isStatic(dim) && !dim.includes("*") && !bindings.has(dim)) bindings.set(dim, given[axis] ?? 0);
    });
    if (formatShape(bindShape(shape, bindings)) !== formatShape(given)) {
      throw new ToklipError(
        "SHAPE_MISMATCH",
        `input ${name}: expected ${formatShape(shape)}, got ${formatShape(given)}`,
      );
    }
  }
  return bindings;
}

/** The number of elements of all parameters. */
export function parameterCount(graph: Graph): number {
  let count = 0;
  for (const { shape } of graph.parameters.values()) count += sizeOf(shape as number[]);
  return count;
}
