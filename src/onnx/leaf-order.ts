/**
 * The order of a model's nodes. ONNX Runtime executes backwards from the last node that nothing reads, so the order of these
 * leaves in the file decides when everything else runs. Leaves stand at the end, the last made first: in a graph of gradients
 * each weight's gradient is then computed right after what it is made of, and that can be freed (docs/engine.md).
 */
import type { OnnxNode } from "./model.ts";

/** Names the results of nodes as outputs where an `Identity` node did, if nothing else reads them. */
function withoutRenames(nodes: readonly OnnxNode[], outputs: ReadonlySet<string>): OnnxNode[] {
  const readers = new Map<string, number>();
  for (const { inputs } of nodes) for (const name of inputs) readers.set(name, (readers.get(name) ?? 0) + 1);
  const made = new Set(nodes.flatMap((node) => node.outputs));
  const names = new Map<string, string>();
  const kept = nodes.filter(({ opType, inputs: [from], outputs: [to] }) => {
    const renames = opType === "Identity" && outputs.has(to!) && readers.get(from!) === 1 && made.has(from!);
    if (renames) names.set(from!, to!);
    return !renames;
  });
  return kept.map((node) => ({ ...node, outputs: node.outputs.map((name) => names.get(name) ?? name) }));
}

/** The same nodes, leaves at the end in reverse order. */
export function orderLeaves(nodes: readonly OnnxNode[], outputs: readonly string[]): OnnxNode[] {
  const named = withoutRenames(nodes, new Set(outputs));
  const read = new Set(named.flatMap((node) => node.inputs));
  const isLeaf = (node: OnnxNode) => !node.outputs.some((name) => read.has(name));
  return [...named.filter((node) => !isLeaf(node)), ...named.filter(isLeaf).reverse()];
}
