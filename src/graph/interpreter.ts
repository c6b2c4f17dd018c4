/** Computes a graph in float64, slowly and plainly: the oracle of the tests. */
import { allocate, type NDArray, ToklipError, type TypedArray } from "../core/index.ts";
import { bindShape } from "./dim.ts";
import { bindInputs, type Graph, type Tensor } from "./graph.ts";
import type { Value } from "./op.ts";
import { opRow } from "./op-table.ts";

function toValue({ shape, data }: NDArray): Value {
  return { shape, data: Float64Array.from(data as ArrayLike<number | bigint>, Number) };
}

/** A float64 value as an array of any dtype (floats of 16 bits excepted). */
export function valueToArray(value: Value, dtype: "f64" | "f32" | "i32" | "i64"): NDArray {
  const data = allocate(dtype, value.data.length) as TypedArray;
  for (let i = 0; i < data.length; i++) data[i] = (dtype === "i64" ? BigInt(value.data[i]!) : value.data[i]!) as never;
  return { dtype, shape: value.shape, data } as NDArray;
}

/**
 * Evaluates the outputs of a graph. Weights are asked for by name.
 * @throws ARGUMENT_INVALID, SHAPE_MISMATCH for inputs or parameters that are missing or do not fit.
 */
export function interpretGraph(
  graph: Graph,
  inputs: Readonly<Record<string, NDArray>>,
  parameters: (name: string) => NDArray | undefined = () => undefined,
): Map<string, Value> {
  const bindings = bindInputs(graph, new Map(Object.entries(inputs).map(([name, { shape }]) => [name, shape])));
  const values = new Map<Tensor, Value>();
  const given = (array: NDArray | undefined, what: string): Value => {
    if (array === undefined) throw new ToklipError("ARGUMENT_INVALID", `${what} is not given`);
    return toValue(array);
  };
  for (const node of graph.nodes) {
    if (node.kind === "op") {
      const outputs = node.outputs.map(({ dtype, shape }) => ({ dtype, shape: bindShape(shape, bindings) }));
      const results = opRow(node.op).evaluate(
        node.inputs.map((input) => values.get(input)!),
        node.attrs,
        outputs,
      );
      node.outputs.forEach((output, i) => {
        values.set(output, results[i]!);
      });
    } else {
      const array =
        node.kind === "constant" ? node.value : node.kind === "input" ? inputs[node.name] : parameters(node.name);
      values.set(node.outputs[0]!, given(array, node.kind === "constant" ? "constant" : `${node.kind} ${node.name}`));
    }
  }
  return new Map([...graph.outputs].map(([name, tensor]) => [name, values.get(tensor)!]));
}
