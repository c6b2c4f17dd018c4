/** The work of a graph: multiply-adds of its products and convolutions. Everything else is small beside them. */
import { sizeOf } from "../core/index.ts";
import { bindShape } from "./dim.ts";
import type { Graph } from "./graph.ts";
import type { AttrsOf, OpName } from "./op-table.ts";

type Shapes = readonly (readonly number[])[];

/** Multiply-adds of the ops that have many, from the shapes of their inputs and output. */
const MULTIPLY_ADDS: Partial<Record<OpName, (inputs: Shapes, output: readonly number[], attrs: unknown) => number>> = {
  matmul: ([a], output) => sizeOf(output) * a!.at(-1)!,
  gemm: ([a], output, attrs) => sizeOf(output) * a![(attrs as AttrsOf<"gemm">).transA ? 0 : 1]!,
  conv2d: ([, weight], output) => sizeOf(output) * sizeOf(weight!.slice(1)),
  convTranspose2d: ([x, weight]) => sizeOf(x!) * sizeOf(weight!.slice(1)),
  linearBlock8: ([x], output) => sizeOf(output) * x![1]!,
  linearRow8: ([x], output) => sizeOf(output) * x![1]!,
};

/** The multiply-adds of one run with the given sizes of symbols; twice as many floating-point operations. */
export function multiplyAdds(graph: Graph, bindings: Readonly<Record<string, number>> = { B: 1 }): number {
  const bound = new Map(Object.entries(bindings));
  let total = 0;
  for (const node of graph.nodes) {
    if (node.kind !== "op") continue;
    const inputs = node.inputs.map(({ shape }) => bindShape(shape, bound));
    total += MULTIPLY_ADDS[node.op]?.(inputs, bindShape(node.outputs[0]!.shape, bound), node.attrs) ?? 0;
  }
  return total;
}
