/** Checks that a graph is well-formed, so that a wrong rewrite is named where it happened. */
import { ToklipError } from "../core/index.ts";
import { formatShape } from "./dim.ts";
import { describeNode, type Graph, inputsOf } from "./graph.ts";
import { opRow } from "./op-table.ts";

/**
 * Verifies that every node comes after its inputs, that types follow from the op table, and that outputs are there.
 * @throws GRAPH_INVALID naming the first node that is wrong.
 */
export function verifyGraph(graph: Graph): void {
  graph.nodes.forEach((node, position) => {
    const fail = (why: string): never => {
      throw new ToklipError("GRAPH_INVALID", `${describeNode(node)}: ${why}`);
    };
    if (node.id !== position) fail(`stands at position ${position}`);
    for (const input of inputsOf(node)) {
      if (input.graph !== graph) fail("an operand belongs to another graph");
      if (graph.nodes[input.node.id] !== input.node || input.node.id >= position) fail("an operand comes later");
      if (input.node.outputs[input.output] !== input) fail("an operand is not an output of its node");
    }
    if (node.kind !== "op") return;
    const types = opRow(node.op).infer(node.inputs, node.attrs);
    const text = (all: readonly { dtype: string; shape: readonly (string | number)[] }[]) =>
      all.map(({ dtype, shape }) => `${dtype} ${formatShape(shape)}`).join("; ");
    if (text(types) !== text(node.outputs)) fail(`is declared ${text(node.outputs)} but is ${text(types)}`);
  });
  for (const [name, tensor] of graph.outputs) {
    if (graph.nodes[tensor.node.id] !== tensor.node) {
      throw new ToklipError("GRAPH_INVALID", `output ${name} is not in the graph`);
    }
  }
  if (graph.outputs.size === 0) throw new ToklipError("GRAPH_INVALID", "the graph has no outputs");
}
