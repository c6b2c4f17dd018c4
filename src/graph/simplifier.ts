/**
 * Makes a traced graph smaller without changing a number it computes: drops what no output needs, merges equal nodes,
 * removes moves that do nothing. Arithmetic is left to ONNX Runtime's own optimiser.
 */
import { type NDArray, bytesOf } from "../core/index.ts";
import { isStatic, sameShape } from "./dim.ts";
import type { Graph, Node, Tensor } from "./graph.ts";
import type { AttrsOf, OpName } from "./op-table.ts";
import { rewriteGraph } from "./rewriter.ts";

type OpNode = Extract<Node, { kind: "op" }>;
type Simplification = (node: OpNode, inputs: readonly Tensor[]) => Tensor | undefined;

const unchanged: Simplification = (node, [x]) =>
  sameShape(x!.shape, node.outputs[0]!.shape) && x!.dtype === node.outputs[0]!.dtype ? x : undefined;

/** The op that made a tensor, if it is of this kind. */
function madeBy<K extends OpName>(tensor: Tensor, name: K): (OpNode & { attrs: AttrsOf<K> }) | undefined {
  const { node } = tensor;
  return node.kind === "op" && node.op === name ? (node as OpNode & { attrs: AttrsOf<K> }) : undefined;
}

const SIMPLIFICATIONS: Partial<Record<OpName, Simplification>> = {
  reshape: (node, [x]) => {
    const same = unchanged(node, [x!]);
    if (same) return same;
    const inner = madeBy(x!, "reshape");
    return inner && x!.graph.apply("reshape", [inner.inputs[0]!], node.attrs as AttrsOf<"reshape">)[0];
  },
  cast: unchanged,
  expand: unchanged,
  transpose: (node, [x]) => {
    const { perm } = node.attrs as AttrsOf<"transpose">;
    if (perm.every((axis, i) => axis === i)) return x;
    const inner = madeBy(x!, "transpose");
    if (!inner) return undefined;
    const joined = perm.map((axis) => inner.attrs.perm[axis]!);
    if (joined.every((axis, i) => axis === i)) return inner.inputs[0];
    return x!.graph.apply("transpose", [inner.inputs[0]!], { perm: joined })[0];
  },
  slice: (node, [x]) => (x!.shape.every(isStatic) ? unchanged(node, [x!]) : undefined),
  concat: (_, inputs) => (inputs.length === 1 ? inputs[0] : undefined),
};

const LARGEST_MERGED_CONSTANT = 1 << 16;

function constantKey({ dtype, shape, data }: NDArray): string | undefined {
  return data.byteLength > LARGEST_MERGED_CONSTANT ? undefined : `constant ${dtype} [${shape}] ${bytesOf(data).join()}`;
}

/** Equal keys mean equal values. */
function keyOf(node: Node, inputs: readonly Tensor[]): string | undefined {
  if (node.kind === "constant") return constantKey(node.value);
  if (node.kind !== "op") return undefined;
  return `${node.op} ${JSON.stringify(node.attrs)} ${inputs.map(({ node: { id }, output }) => `${id}:${output}`).join()}`;
}

/** A smaller graph that computes the same outputs. */
export function simplifyGraph(source: Graph): Graph {
  const seen = new Map<string, readonly Tensor[]>();
  const pass = (node: Node, inputs: readonly Tensor[]): readonly Tensor[] | undefined => {
    const key = keyOf(node, inputs);
    const known = key === undefined ? undefined : seen.get(key);
    if (known) return known;
    if (node.kind !== "op") return undefined;
    const simpler = SIMPLIFICATIONS[node.op]?.(node, inputs);
    return simpler && [simpler];
  };
  const merged = rewriteGraph(source, (node, inputs, graph) => {
    const before = graph.nodes.length;
    const outputs = pass(node, inputs);
    if (outputs) return outputs;
    const key = keyOf(node, inputs);
    if (key === undefined || graph.nodes.length !== before) return undefined;
    const made =
      node.kind === "constant"
        ? [graph.constant(node.value)]
        : graph.apply((node as OpNode).op, inputs, (node as OpNode).attrs as AttrsOf<OpName>);
    seen.set(key, made);
    return made;
  });
  // Merging leaves the nodes behind that were skipped over: one more copy drops them.
  return rewriteGraph(merged, () => undefined);
}
