/** Copies a graph node by node while a rule changes what it wants changed. The base of every graph-to-graph pass. */
import { Graph, inputsOf, type Node, type Tensor } from "./graph.ts";
import type { AttrsOf, OpName } from "./op-table.ts";

/** Gives the replacement outputs of a node in the new graph, or undefined to copy it as it is. */
export type Rule = (node: Node, inputs: readonly Tensor[], graph: Graph) => readonly Tensor[] | undefined;

/** The nodes that some output depends on. */
function liveNodes(graph: Graph): Set<Node> {
  const live = new Set<Node>();
  const pending = [...graph.outputs.values()].map(({ node }) => node);
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (live.has(node)) continue;
    live.add(node);
    pending.push(...inputsOf(node).map((input) => input.node));
  }
  return live;
}

function copyNode(node: Node, inputs: readonly Tensor[], graph: Graph): readonly Tensor[] {
  const { dtype, shape } = node.outputs[0]!;
  switch (node.kind) {
    case "input":
      return [graph.input(node.name, dtype, shape)];
    case "parameter":
      return [graph.parameter(node.name, shape as number[], dtype)];
    case "constant":
      return [graph.constant(node.value)];
    case "op":
      return graph.apply(node.op, inputs, node.attrs as AttrsOf<OpName>);
  }
}

/** A new graph with the rule applied to each node that an output depends on; the others are dropped, inputs are not. */
export function rewriteGraph(source: Graph, rule: Rule): Graph {
  const graph = new Graph();
  const live = liveNodes(source);
  const replaced = new Map<Tensor, Tensor>();
  for (const node of source.nodes) {
    if (!live.has(node) && node.kind !== "input") continue;
    const inputs = inputsOf(node).map((input) => replaced.get(input)!);
    const outputs = rule(node, inputs, graph) ?? copyNode(node, inputs, graph);
    node.outputs.forEach((output, i) => {
      replaced.set(output, outputs[i]!);
    });
  }
  for (const [name, tensor] of source.outputs) graph.output(name, replaced.get(tensor)!);
  return graph;
}
