/**
 * Reverse mode: appends to a graph the computation of gradients, by the gradient column of the op table (Griewank and
 * Walther, Evaluating Derivatives, chapter 3). Nothing is computed here, and what a rule makes in vain is dropped when the
 * graph is simplified.
 *
 * With `recompute`, the values inside of blocks (between `boundary` marks) are not kept for the backward pass but computed
 * again, block by block, when the gradient has come as far (Chen et al. 2016, arXiv 1604.06174). Every op is repeated as it
 * stands, with its attributes and its other operands: a causal mask stays where it was.
 */
import { ndarray, ToklipError } from "../core/index.ts";
import { formatShape, isStatic, sameShape } from "./dim.ts";
import { add, after } from "./functions.ts";
import { describeNode, type Graph, inputsOf, type Node, type Tensor } from "./graph.ts";
import { type AttrsOf, type OpName, opRow } from "./op-table.ts";

/** How gradients are made. */
export interface GradientOptions {
  /** Compute the inside of blocks again instead of keeping it. Default false. */
  readonly recompute?: boolean;
}

/** The nodes that depend on any of these tensors, themselves included. */
function dependents(graph: Graph, sources: readonly Tensor[]): Set<Node> {
  const found = new Set(sources.map(({ node }) => node));
  for (const node of graph.nodes) if (inputsOf(node).some((input) => found.has(input.node))) found.add(node);
  return found;
}

/** The forward values as the backward pass sees them: as they are, or computed again. */
type View = (tensor: Tensor, trigger: Tensor) => Tensor;

const kept: View = (tensor) => tensor;

/** A view that computes again what lies before some boundary and depends on another. */
function recomputed(graph: Graph): View {
  const beforeBoundary = new Set<Node>();
  for (const node of [...graph.nodes].reverse()) {
    const isEdge = node.kind === "op" && node.op === "boundary";
    if (isEdge || beforeBoundary.has(node)) for (const input of inputsOf(node)) beforeBoundary.add(input.node);
  }
  const again = new Map<Tensor, Tensor>();
  const view: View = (tensor, trigger) => {
    const known = again.get(tensor);
    if (known !== undefined) return known;
    const { node } = tensor;
    if (node.kind !== "op" || !beforeBoundary.has(node)) return tensor;
    if (node.op === "boundary") {
      again.set(tensor, after(tensor, trigger));
    } else {
      const inputs = node.inputs.map((input) => view(input, trigger));
      const same = inputs.every((input, i) => input === node.inputs[i]);
      const outputs = same ? node.outputs : graph.apply(node.op, inputs, node.attrs as AttrsOf<OpName>);
      node.outputs.forEach((output, i) => {
        again.set(output, outputs[i]!);
      });
    }
    return again.get(tensor)!;
  };
  return view;
}

/** A tensor of ones with the shape of a scalar-like loss. */
function one(loss: Tensor): Tensor {
  if (!loss.shape.every((dim) => isStatic(dim) && dim === 1)) {
    throw new ToklipError("GRAPH_INVALID", `gradients: a loss is one number, got ${formatShape(loss.shape)}`);
  }
  return loss.graph.constant(ndarray("f32", loss.shape as number[], Float32Array.of(1)));
}

/**
 * The gradients of a loss with respect to tensors of its graph, each of its tensor's shape.
 * @param loss f32, one element
 * @throws OP_UNSUPPORTED for an op without a rule between the loss and one of `wrt`; GRAPH_INVALID when the loss is not
 * one number or does not depend on one of `wrt`
 */
export function gradients(
  loss: Tensor,
  wrt: readonly Tensor[],
  { recompute = false }: GradientOptions = {},
): readonly Tensor[] {
  const { graph } = loss;
  const seed = one(loss);
  const view = recompute ? recomputed(graph) : kept;
  const depends = dependents(graph, wrt);
  const adjoints = new Map<Tensor, Tensor>([[loss, seed]]);
  for (let id = loss.node.id; id >= 0; id--) {
    const node = graph.nodes[id]!;
    if (node.kind === "op" && depends.has(node)) propagate(node, adjoints, depends, view);
  }
  return wrt.map((tensor) => {
    const gradient = adjoints.get(tensor);
    if (gradient !== undefined) return gradient;
    const name = tensor.node.kind === "parameter" ? `parameter ${tensor.node.name}` : describeNode(tensor.node);
    throw new ToklipError("GRAPH_INVALID", `gradients: the loss does not depend on ${name}`);
  });
}

/** Carries the gradients of a node's outputs to its inputs. */
function propagate(
  node: Extract<Node, { kind: "op" }>,
  adjoints: Map<Tensor, Tensor>,
  depends: ReadonlySet<Node>,
  view: View,
): void {
  const dys = node.outputs.map((output) => adjoints.get(output));
  const trigger = dys.find((dy) => dy !== undefined);
  if (trigger === undefined) return;
  const { gradient } = opRow(node.op);
  if (gradient === undefined) throw new ToklipError("OP_UNSUPPORTED", `gradient: op ${node.op} has no rule`);
  const seen = (tensor: Tensor) => view(tensor, trigger);
  const results = gradient(dys, {
    inputs: node.inputs.map(seen),
    outputs: node.outputs.map(seen),
    attrs: node.attrs,
  });
  node.inputs.forEach((input, i) => {
    const dx = results[i];
    if (dx === undefined || !depends.has(input.node)) return;
    if (!sameShape(dx.shape, input.shape)) {
      const shapes = `${formatShape(dx.shape)} for ${formatShape(input.shape)}`;
      throw new ToklipError("GRAPH_INVALID", `gradient of ${describeNode(node)}: ${shapes}`);
    }
    const sum = adjoints.get(input);
    adjoints.set(input, sum === undefined ? dx : add(sum, dx));
  });
}
