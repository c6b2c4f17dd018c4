/**
 * 8-bit weights: a graph-to-graph pass that replaces linear layers, and the weights it needs. `linearBlock8` keeps one
 * scale for each 128 inputs of a row, `linearRow8` one for a whole row; both are symmetric, scale = max|w| / 127.
 */
import { type NDArray, ndarray } from "../core/index.ts";
import { type Graph, type Node, rewriteGraph, type Tensor } from "../graph/index.ts";
import type { Program, Weight } from "./session.ts";
import { weightAsF32 } from "./weights.ts";

/** Inputs of a row that share one scale. */
export const QUANTIZATION_BLOCK = 128;

/** How a linear layer is quantised: its op, and the weights made from the original f32 (N, K). */
type Scheme = "block" | "row";

interface QuantizedWeight<D extends "u8" | "i8"> {
  readonly weight: NDArray<D>;
  readonly scales: NDArray<"f32">;
}

const SUFFIX = { weight: ".q8", scales: ".q8_scales" } as const;

/** The largest magnitude of `length` values from `start`. */
function largestMagnitude(values: Float32Array, start: number, length: number): number {
  let largest = 0;
  for (let i = start; i < start + length; i++) {
    const magnitude = Math.abs(values[i]!);
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

/** f32 (N, K) -> u8 (N, K/block, block) around 128, and scales f32 (N, K/block). */
export function quantizeBlocks(weight: NDArray<"f32">): QuantizedWeight<"u8"> {
  const [n, k] = weight.shape as [number, number];
  const blocks = Math.ceil(k / QUANTIZATION_BLOCK);
  const quantized = ndarray("u8", [n, blocks, QUANTIZATION_BLOCK]);
  if (k % QUANTIZATION_BLOCK !== 0) quantized.data.fill(128);
  const scales = ndarray("f32", [n, blocks]);
  for (let row = 0; row < n; row++) {
    for (let block = 0; block < blocks; block++) {
      const from = row * k + block * QUANTIZATION_BLOCK;
      const to = (row * blocks + block) * QUANTIZATION_BLOCK;
      const length = Math.min(QUANTIZATION_BLOCK, k - block * QUANTIZATION_BLOCK);
      const largest = largestMagnitude(weight.data, from, length);
      const inverse = largest > 0 ? 127 / largest : 0;
      scales.data[row * blocks + block] = largest / 127;
      // The sum is positive, so that truncation rounds to the nearest.
      for (let i = 0; i < length; i++) quantized.data[to + i] = (weight.data[from + i]! * inverse + 128.5) | 0;
    }
  }
  return { weight: quantized, scales };
}

/** Columns that are transposed together: their cache lines stay in the first-level cache. */
const TILE = 64;

/** f32 (N, K) -> i8 (K, N), and scales f32 (N). */
export function quantizeRows(weight: NDArray<"f32">): QuantizedWeight<"i8"> {
  const [n, k] = weight.shape as [number, number];
  const quantized = ndarray("i8", [k, n]);
  const scales = ndarray("f32", [n]);
  const inverses = new Float64Array(n);
  for (let row = 0; row < n; row++) {
    const largest = largestMagnitude(weight.data, row * k, k);
    inverses[row] = largest > 0 ? 127 / largest : 0;
    scales.data[row] = largest / 127;
  }
  for (let tile = 0; tile < n; tile += TILE) {
    const end = Math.min(tile + TILE, n);
    for (let column = 0; column < k; column++) {
      for (let row = tile; row < end; row++) {
        quantized.data[column * n + row] = ((weight.data[row * k + column]! * inverses[row]! + 128.5) | 0) - 128;
      }
    }
  }
  return { weight: quantized, scales };
}

/** The linear layer behind a node: a gemm of rows with a parameter as PyTorch stores it. */
function linearParameter(node: Node): { readonly name: string; readonly shape: readonly number[] } | undefined {
  if (node.kind !== "op" || node.op !== "gemm") return undefined;
  const { transA, transB } = node.attrs as { transA: boolean; transB: boolean };
  const weight = node.inputs[1]!;
  if (transA || !transB || weight.node.kind !== "parameter") return undefined;
  return { name: weight.node.name, shape: weight.shape as number[] };
}

function replaceLinear(
  graph: Graph,
  scheme: Scheme,
  name: string,
  shape: readonly number[],
  inputs: readonly Tensor[],
) {
  const [n, k] = shape as [number, number];
  const [x, , bias] = inputs;
  if (scheme === "block") {
    const blocks = Math.ceil(k / QUANTIZATION_BLOCK);
    const weight = graph.parameter(name + SUFFIX.weight, [n, blocks, QUANTIZATION_BLOCK], "u8");
    const scales = graph.parameter(name + SUFFIX.scales, [n, blocks]);
    return graph.apply("linearBlock8", [x!, weight, scales, ...(bias ? [bias] : [])], {
      block: QUANTIZATION_BLOCK,
      width: k,
    });
  }
  const weight = graph.parameter(name + SUFFIX.weight, [k, n], "i8");
  const scales = graph.parameter(name + SUFFIX.scales, [n]);
  return graph.apply("linearRow8", [x!, weight, scales, bias ?? graph.constant(ndarray("f32", [n]))], {});
}

/**
 * The program with its linear layers over 8-bit weights. Convolutions, norms and embeddings stay as they are.
 * @param read reads an original weight into memory
 * @param scheme which form each layer gets, by the name of its weight; undefined leaves it in fp32
 */
export function quantizeProgram(
  program: Program,
  read: (name: string) => Promise<NDArray>,
  scheme: (name: string) => Scheme | undefined,
): Program {
  const graph = rewriteGraph(program.graph, (node, inputs, target) => {
    const linear = linearParameter(node);
    const chosen = linear && scheme(linear.name);
    return chosen && replaceLinear(target, chosen, linear.name, linear.shape, inputs);
  });
  // The weight and the scales of a layer are asked for one after the other: remembering one layer is enough.
  let latest: { readonly name: string; readonly made: ReturnType<typeof quantize> } | undefined;
  const quantize = async (name: string): Promise<{ readonly weight: NDArray; readonly scales: NDArray }> => {
    const original = await weightAsF32(program, name, read);
    return scheme(name) === "block" ? quantizeBlocks(original) : quantizeRows(original);
  };
  const part = async (name: string, key: keyof typeof SUFFIX): Promise<Weight> => {
    const base = name.slice(0, -SUFFIX[key].length);
    if (latest?.name !== base) latest = { name: base, made: quantize(base) };
    return { kind: "array", value: (await latest.made)[key] };
  };
  return {
    name: program.name,
    graph,
    weight: (name) => {
      const key = (["weight", "scales"] as const).find((candidate) => name.endsWith(SUFFIX[candidate]));
      return key ? part(name, key) : program.weight(name);
    },
  };
}
