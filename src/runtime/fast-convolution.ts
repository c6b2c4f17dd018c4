/**
 * 3x3 convolutions with fewer multiplications: one-dimensional Winograd F(4,3) along the rows (Lavin and Gray,
 * arXiv 1509.09308). Four rows of a result take six products instead of twelve. The points are 0, +-1/sqrt 2, +-sqrt 2
 * and infinity: with them the rounding stays that of the plain convolution, where the usual whole numbers double it.
 * A convolution after a nearest-neighbour doubling sees each row twice, which leaves three products for two rows.
 *
 * The pass keeps (B, C, H, W) at every border, so any layer may be replaced alone. The transforms of the input are
 * depthwise convolutions, which ONNX Runtime's CPU provider runs in its own blocked layout; that is where the gain comes
 * from, so other providers keep the plain form. Measured figures are in docs/engine.md.
 *
 * Dim letters: B batch, C in, O out, H W size, R = H/4 row groups.
 */
import { type NDArray, ndarray } from "../core/index.ts";
import {
  type Conv2dAttrs,
  concat,
  conv2d,
  type Graph,
  isStatic,
  matmul,
  type Node,
  reshape,
  rewriteGraph,
  type Tensor,
  transpose,
  upsampleNearest,
} from "../graph/index.ts";
import type { Program, Weight } from "./session.ts";
import { weightAsF32 } from "./weights.ts";

const s = Math.SQRT1_2;
const r = Math.SQRT2;

/** One product of an algorithm: how input rows are combined for it, and how kernel rows and the bias are. */
interface Product {
  /** Taps of the depthwise transform, from the row `-pads[0]` of each group on; none means the rows as they are. */
  readonly taps?: {
    readonly weights: readonly number[];
    readonly dilation: number;
    readonly pads: readonly [top: number, bottom: number];
  };
  /** How much of each of the three kernel rows goes into this product's kernel. */
  readonly kernel: readonly [number, number, number];
  /** The share of the bias it carries, so that the output transform gives the whole bias to every row. */
  readonly bias: number;
}

interface Algorithm {
  /** Rows of a result that are computed together. */
  readonly rows: number;
  readonly products: readonly Product[];
  /** (rows, products): the result's rows from the products. */
  readonly output: readonly (readonly number[])[];
}

function inner(point: number, scale: number, taps: readonly number[], bias: number): Product {
  return {
    taps: { weights: taps, dilation: 1, pads: [0, 0] },
    kernel: [1 / scale, point / scale, (point * point) / scale],
    bias,
  };
}

const POINTS = [0, s, -s, r, -r];

const F43: Algorithm = {
  rows: 4,
  products: [
    { taps: { weights: [1, -2.5, 1], dilation: 2, pads: [1, 0] }, kernel: [1, 0, 0], bias: -0.5 },
    inner(s, -1.5, [-r, -2, s, 1], (1 + s) / 1.5),
    inner(-s, -1.5, [r, -2, -s, 1], (1 - s) / 1.5),
    inner(r, 6, [-s, -0.5, r, 1], (1 + r) / 12),
    inner(-r, 6, [s, -0.5, -r, 1], (1 - r) / 12),
    { taps: { weights: [1, -2.5, 1], dilation: 2, pads: [0, 1] }, kernel: [0, 0, 1], bias: 0 },
  ],
  output: [0, 1, 2, 3].map((i) => [...POINTS.map((point) => point ** i), i === 3 ? 1 : 0]),
};

/** After a doubling of rows: (above - x) w0, x (w0 + w1 + w2), (below - x) w2. */
const DOUBLED: Algorithm = {
  rows: 2,
  products: [
    { taps: { weights: [1, -1], dilation: 1, pads: [1, 0] }, kernel: [1, 0, 0], bias: 0 },
    { kernel: [1, 1, 1], bias: 1 },
    { taps: { weights: [-1, 1], dilation: 1, pads: [0, 1] }, kernel: [0, 0, 1], bias: 0 },
  ],
  output: [
    [1, 1, 0],
    [0, 1, 1],
  ],
};

/** Fewer channels than this leave nothing to gain. */
const FEWEST_CHANNELS = 32;

/** From this height on, products are joined row by row: they are still in the cache then. */
const TALL = 128;

/** The values of a constant depthwise kernel, the same taps for every channel. */
function depthwise(graph: Graph, channels: number, taps: readonly number[]): Tensor {
  const data = Float32Array.from({ length: channels * taps.length }, (_, i) => taps[i % taps.length]!);
  return graph.constant(ndarray("f32", [channels, 1, taps.length, 1], data));
}

/** The rows of the result from the products (B, O, R, W) each: -> (B, O, R * rows, W). */
function joinRows(products: readonly Tensor[], { output }: Algorithm): Tensor {
  const [batch, channels, groups, width] = products[0]!.shape as [string, number, number, number];
  const { graph } = products[0]!;
  const rows = output.length;
  const transform = graph.constant(ndarray("f32", [rows, products.length], Float32Array.from(output.flat())));
  if (groups * rows >= TALL) {
    const planes = products.map((product) => reshape(product, [batchTimes(batch, channels), 1, groups * width]));
    const mixed = matmul(transform, concat(planes, 1)); // (rows, K) (B*O, K, R*W) -> (B*O, rows, R*W)
    const split = reshape(mixed, [batchTimes(batch, channels), rows, groups, width]);
    return reshape(transpose(split, [0, 2, 1, 3]), [batch, channels, groups * rows, width]);
  }
  const flat = reshape(concat(products, 1), [batch, products.length, channels * groups * width]); // (B, K, O*R*W)
  const split = reshape(matmul(transform, flat), [batch, rows, channels * groups, width]);
  return reshape(transpose(split, [0, 2, 1, 3]), [batch, channels, groups * rows, width]);
}

function batchTimes(batch: string | number, channels: number): string | number {
  return typeof batch === "number" ? batch * channels : `${channels}*${batch}`;
}

/** The layer behind a node: a padded 3x3 convolution of stride 1 whose weights are parameters. */
function convolutionOf(node: Node): { readonly weight: string; readonly bias: string | undefined } | undefined {
  if (node.kind !== "op" || node.op !== "conv2d") return undefined;
  const { strides, pads, dilations, groups } = node.attrs as Conv2dAttrs;
  const [x, weight, bias] = node.inputs;
  const plain = `${strides}` === "1,1" && `${pads}` === "1,1,1,1" && `${dilations}` === "1,1" && groups === 1;
  const [outChannels, channels, ...kernel] = weight!.shape as number[];
  if (!plain || `${kernel}` !== "3,3" || Math.min(channels!, outChannels!) < FEWEST_CHANNELS) return undefined;
  if (weight!.node.kind !== "parameter" || (bias && bias.node.kind !== "parameter")) return undefined;
  if (!isStatic(x!.shape[2]!) || x!.shape[2] % F43.rows !== 0) return undefined;
  return { weight: weight!.node.name, bias: bias?.node.kind === "parameter" ? bias.node.name : undefined };
}

/** The picture before a doubling, if that is what a tensor is. */
function beforeDoubling({ node }: Tensor): Tensor | undefined {
  if (node.kind !== "op" || node.op !== "upsampleNearest") return undefined;
  return `${(node.attrs as { scale: readonly number[] }).scale}` === "2,2" ? node.inputs[0] : undefined;
}

const ALGORITHMS = { ".f43.": F43, ".doubled.": DOUBLED } as const;
type Mark = keyof typeof ALGORITHMS;

function replace(
  graph: Graph,
  x: Tensor,
  layer: { weight: string; bias: string | undefined },
  outChannels: number,
): Tensor {
  const small = beforeDoubling(x);
  const mark: Mark = small ? ".doubled." : ".f43.";
  const source = small ? upsampleNearest(small, [1, 2]) : x;
  const channels = source.shape[1] as number;
  const stride: [number, number] = [small ? 1 : F43.rows, 1];
  const products = ALGORITHMS[mark].products.map(({ taps, bias }, k) => {
    const rows = taps
      ? conv2d(source, depthwise(graph, channels, taps.weights), undefined, {
          stride,
          pads: [taps.pads[0], 0, taps.pads[1], 0],
          dilations: [taps.dilation, 1],
          groups: channels,
        })
      : source;
    const weight = graph.parameter(`${layer.weight}${mark}${k}`, [outChannels, channels, 1, 3]);
    const shift =
      layer.bias !== undefined && bias !== 0 ? graph.parameter(`${layer.bias}${mark}${k}`, [outChannels]) : undefined;
    return conv2d(rows, weight, shift, { pads: [0, 1, 0, 1] });
  });
  return joinRows(products, ALGORITHMS[mark]);
}

/** The kernel (O, C, 1, 3) of one product, from the layer's (O, C, 3, 3). */
function productKernel({ shape, data }: NDArray<"f32">, { kernel: [top, middle, bottom] }: Product): NDArray<"f32"> {
  const [outChannels, channels] = shape as [number, number];
  const out = ndarray("f32", [outChannels, channels, 1, 3]);
  for (let i = 0; i < outChannels * channels; i++) {
    for (let x = 0; x < 3; x++) {
      out.data[i * 3 + x] = top * data[i * 9 + x]! + middle * data[i * 9 + 3 + x]! + bottom * data[i * 9 + 6 + x]!;
    }
  }
  return out;
}

/**
 * The program with its 3x3 convolutions in fewer multiplications. Results agree to fp32 rounding.
 * @param read reads an original weight into memory
 */
export function accelerateConvolutions(program: Program, read: (name: string) => Promise<NDArray>): Program {
  const graph = rewriteGraph(program.graph, (node, inputs, target) => {
    const layer = convolutionOf(node);
    return layer && [replace(target, inputs[0]!, layer, node.outputs[0]!.shape[1] as number)];
  });
  // The products of a layer are asked for one after the other: remembering one weight is enough.
  let latest: { readonly name: string; readonly array: Promise<NDArray<"f32">> } | undefined;
  const original = (name: string) => weightAsF32(program, name, read);
  const transformed = async (name: string, mark: Mark): Promise<Weight> => {
    const [base, k] = name.split(mark) as [string, string];
    const product = ALGORITHMS[mark].products[Number(k)]!;
    if (base.endsWith("bias")) {
      const { shape, data } = await original(base);
      return {
        kind: "array",
        value: ndarray(
          "f32",
          shape,
          data.map((value) => value * product.bias),
        ),
      };
    }
    if (latest?.name !== base) latest = { name: base, array: original(base) };
    return { kind: "array", value: productKernel(await latest.array, product) };
  };
  return {
    name: program.name,
    graph,
    weight: (name) => {
      const mark = (Object.keys(ALGORITHMS) as Mark[]).find((candidate) => name.includes(candidate));
      return mark ? transformed(name, mark) : program.weight(name);
    },
  };
}
