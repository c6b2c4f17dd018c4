/** The memory of a run, from shapes alone: what is alive at once when nodes run in the order they stand in. */
import { DTYPES, sizeOf } from "../core/index.ts";
import { bindShape } from "./dim.ts";
import type { Graph, Node, Tensor } from "./graph.ts";

/** Ops whose result is their first operand seen otherwise, or may be written over it. */
const IN_PLACE = new Set(["reshape", "stopGradient", "boundary", "after"]);

/**
 * An estimate of the bytes that a run needs at its peak beside its weights: each result lives from its node to the last
 * that reads it. Runtimes write some results over operands, and round sizes up: they come within about a third of it.
 */
export function peakBytes(graph: Graph, bindings: Readonly<Record<string, number>> = { B: 1 }): number {
  const bound = new Map(Object.entries(bindings));
  const root = new Map<Tensor, Tensor>();
  const lastUse = new Map<Tensor, number>();
  const rootOf = (tensor: Tensor): Tensor => root.get(tensor) ?? tensor;
  const outputs = new Set<Tensor>();
  for (const node of graph.nodes) {
    if (node.kind !== "op") continue;
    if (IN_PLACE.has(node.op)) root.set(node.outputs[0]!, rootOf(node.inputs[0]!));
    for (const input of node.inputs) lastUse.set(rootOf(input), node.id);
  }
  for (const tensor of graph.outputs.values()) outputs.add(rootOf(tensor));
  const bytesOf = ({ dtype, shape }: Tensor) => sizeOf(bindShape(shape, bound)) * DTYPES[dtype].bytes;
  let [alive, peak] = [0, 0];
  for (const node of graph.nodes) {
    if (node.kind === "parameter" || node.kind === "constant") continue;
    for (const output of node.outputs) if (!root.has(output)) alive += bytesOf(output);
    peak = Math.max(peak, alive);
    alive -= freed(node, lastUse, outputs, rootOf).reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  }
  return peak;
}

/** The results that nothing reads after a node. */
function freed(
  node: Node,
  lastUse: ReadonlyMap<Tensor, number>,
  outputs: ReadonlySet<Tensor>,
  rootOf: (tensor: Tensor) => Tensor,
): Tensor[] {
  const seen = node.kind === "op" ? new Set([...node.inputs, ...node.outputs].map(rootOf)) : new Set<Tensor>();
  return [...seen].filter(
    (tensor) =>
      !outputs.has(tensor) &&
      (tensor.node.kind === "op" || tensor.node.kind === "input") &&
      (lastUse.get(tensor) ?? tensor.node.id) <= node.id,
  );
}
