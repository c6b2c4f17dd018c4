/** Graph -> ONNX nodes, by the lowering column of the op table. */
import { bytesOf, type NDArray, ndarray, ToklipError } from "../core/index.ts";
import {
  type AttributeValue,
  type Dim,
  dimSymbols,
  type Graph,
  isStatic,
  type Lowering,
  onnxDtype,
  opRow,
  type Tensor,
} from "../graph/index.ts";
import { orderLeaves } from "./leaf-order.ts";
import type { OnnxInitializer, OnnxModel, OnnxNode, OnnxValue, Placement } from "./model.ts";

class Builder implements Lowering {
  readonly nodes: OnnxNode[] = [];
  readonly initializers: OnnxInitializer[] = [];
  /** What the nodes of the op under way are called. */
  scope = "";

  node(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    { domain = "", outputs = 1 }: { readonly domain?: string; readonly outputs?: number } = {},
  ): string[] {
    const name = `${this.scope}/${opType}_${this.nodes.length}`;
    const names = Array.from({ length: outputs }, (_, i) => (outputs === 1 ? name : `${name}:${i}`));
    this.nodes.push({ name, opType, domain, inputs, outputs: names, attributes });
    return names;
  }

  constant({ dtype, shape, data }: NDArray): string {
    const name = `${this.scope}/constant_${this.initializers.length}`;
    this.initializers.push({ name, dtype, shape, data: bytesOf(data) });
    return name;
  }

  /** Where a symbol's size can be read: the first input that has it as a whole dimension. */
  readonly symbols = new Map<string, { readonly input: string; readonly axis: number }>();

  size(dim: Dim): string {
    const { factor, symbols } = dimSymbols(dim);
    const sizes = symbols.map((symbol) => {
      const at = this.symbols.get(symbol);
      if (at === undefined)
        throw new ToklipError("OP_UNSUPPORTED", `dimension ${dim}: no input has the size ${symbol}`);
      return this.node("Shape", [at.input], { start: at.axis, end: at.axis + 1 })[0]!;
    });
    const known = this.constant(ndarray("i64", [1], BigInt64Array.of(BigInt(factor))));
    return sizes.reduce((product, size) => this.node("Mul", [product, size])[0]!, known);
  }

  /** A weight, cast where the file stores another dtype. */
  parameter(name: string, { dtype, shape }: Tensor, placement: Exclude<Placement, { kind: "input" }>): string {
    const stored = placement.kind === "embedded" ? placement.value.dtype : placement.dtype;
    const data = placement.kind === "embedded" ? bytesOf(placement.value.data) : placement.data;
    this.initializers.push({ name, dtype: stored, shape: shape as number[], data });
    return stored === dtype ? name : this.node("Cast", [name], { to: onnxDtype(dtype) })[0]!;
  }

  /** Gives a result the name that callers ask for. */
  rename(from: string, to: string): void {
    this.nodes.push({ name: to, opType: "Identity", domain: "", inputs: [from], outputs: [to], attributes: {} });
  }
}

/**
 * Lowers a graph.
 * @param place where each parameter's elements come from, by name
 * @throws OP_UNSUPPORTED for what ONNX cannot say.
 */
export function lowerGraph(
  graph: Graph,
  name: string,
  place: (name: string, tensor: Tensor) => Placement,
  metadata: Readonly<Record<string, string>> = {},
): OnnxModel {
  const builder = new Builder();
  const names = new Map<Tensor, string>();
  const inputs: OnnxValue[] = [];
  const feed = (input: string, tensor: Tensor) => {
    inputs.push({ name: input, dtype: tensor.dtype, shape: tensor.shape });
    names.set(tensor, input);
    tensor.shape.forEach((dim, axis) => {
      if (!isStatic(dim) && !builder.symbols.has(dim)) builder.symbols.set(dim, { input, axis });
    });
  };
  for (const node of graph.nodes) {
    const [first] = node.outputs;
    builder.scope = node.kind === "op" ? `${node.op}_${node.id}` : `${node.kind}_${node.id}`;
    if (node.kind === "input") feed(node.name, first!);
    else if (node.kind === "constant") names.set(first!, builder.constant(node.value));
    else if (node.kind === "parameter") {
      const placement = place(node.name, first!);
      if (placement.kind === "input") feed(node.name, first!);
      else names.set(first!, builder.parameter(node.name, first!, placement));
    } else {
      const results = opRow(node.op).lower(
        builder,
        node.inputs.map((input) => names.get(input)!),
        node.attrs,
        node,
      );
      node.outputs.forEach((output, i) => {
        names.set(output, results[i]!);
      });
    }
  }
  const outputs = [...graph.outputs].map(([output, tensor]): OnnxValue => {
    builder.rename(names.get(tensor)!, output);
    return { name: output, dtype: tensor.dtype, shape: tensor.shape };
  });
  const clash = inputs.find((input) => graph.outputs.has(input.name));
  if (clash) throw new ToklipError("GRAPH_INVALID", `${clash.name} is both an input and an output`);
  const nodes = orderLeaves(builder.nodes, [...graph.outputs.keys()]);
  return { name, nodes, initializers: builder.initializers, inputs, outputs, metadata };
}
