/**
 * Makes a traced graph smaller without changing a number it computes: drops what no output needs, merges equal nodes,
 * removes moves that do nothing. Arithmetic is left to ONNX Runtime's own optimiser.
 */
import { bytesOf, type NDArray } from "../core/index.ts";
import { sameShape } from "./dim.ts";
import type { Graph, Tensor } from "./graph.ts";
import type { AttrsOf, OpName } from "./op-table.ts";
import { rewriteGraph } from "./rewriter.ts";

/** An op that is about to be made. */
interface Call {
  readonly op: OpName;
  readonly inputs: readonly Tensor[];
  readonly attrs: unknown;
}

/** A tensor that is there already, a simpler call, or nothing to improve. */
type Simplification = (call: Call, result: Tensor) => Tensor | Call | undefined;

/** The call that made a tensor, if it was of this op. */
function madeBy<K extends OpName>(
  { node }: Tensor,
  op: K,
): { readonly inputs: readonly Tensor[]; readonly attrs: AttrsOf<K> } | undefined {
  return node.kind === "op" && node.op === op ? { inputs: node.inputs, attrs: node.attrs as AttrsOf<K> } : undefined;
}

const unchanged: Simplification = ({ inputs: [x] }, result) =>
  sameShape(x!.shape, result.shape) && x!.dtype === result.dtype ? x : undefined;

/** What a mark said has been heard when gradients were derived. */
const unmarked: Simplification = ({ inputs: [x] }) => x;

const SIMPLIFICATIONS: Partial<Record<OpName, Simplification>> = {
  boundary: unmarked,
  stopGradient: unmarked,
  cast: unchanged,
  expand: unchanged,
  slice: unchanged,
  pad: unchanged,
  concat: ({ inputs }) => (inputs.length === 1 ? inputs[0] : undefined),
  reshape: (call, result) => {
    const inner = madeBy(call.inputs[0]!, "reshape");
    return unchanged(call, result) ?? (inner && { ...call, inputs: inner.inputs });
  },
  transpose: (call) => {
    const { perm } = call.attrs as AttrsOf<"transpose">;
    if (perm.every((axis, i) => axis === i)) return call.inputs[0];
    const inner = madeBy(call.inputs[0]!, "transpose");
    return inner && { ...call, inputs: inner.inputs, attrs: { perm: perm.map((axis) => inner.attrs.perm[axis]!) } };
  },
};

const LARGEST_MERGED_CONSTANT = 1 << 16;

function constantKey({ dtype, shape, data }: NDArray): string | undefined {
  return data.byteLength > LARGEST_MERGED_CONSTANT ? undefined : `${dtype} [${shape}] ${bytesOf(data).join()}`;
}

/** Equal keys mean equal values. */
function callKey({ op, inputs, attrs }: Call): string {
  return `${op} ${JSON.stringify(attrs)} ${inputs.map(({ node, output }) => `${node.id}:${output}`).join()}`;
}

/** A smaller graph that computes the same outputs. */
export function simplifyGraph(source: Graph): Graph {
  const seen = new Map<string, readonly Tensor[]>();
  const once = (key: string | undefined, make: () => readonly Tensor[]): readonly Tensor[] => {
    const outputs = (key === undefined ? undefined : seen.get(key)) ?? make();
    if (key !== undefined) seen.set(key, outputs);
    return outputs;
  };
  const emit = (graph: Graph, call: Call, result: Tensor): readonly Tensor[] => {
    const simpler = SIMPLIFICATIONS[call.op]?.(call, result);
    if (simpler === undefined) {
      return once(callKey(call), () => graph.apply(call.op, call.inputs, call.attrs as AttrsOf<OpName>));
    }
    return "graph" in simpler ? [simpler] : emit(graph, simpler, result);
  };
  const merged = rewriteGraph(source, (node, inputs, graph) => {
    if (node.kind === "constant") return once(constantKey(node.value), () => [graph.constant(node.value)]);
    return node.kind === "op" ? emit(graph, { op: node.op, inputs, attrs: node.attrs }, node.outputs[0]!) : undefined;
  });
  // Nodes that were merged over are still there: one more copy drops them.
  return rewriteGraph(merged, () => undefined);
}
