// Random calls of every row of the op table, for the tests that hold a column of it against another.
import { allocate, type DType, type NDArray, type Random, sizeOf, type TypedArray } from "../../src/core/index.ts";
import * as g from "../../src/graph/index.ts";

/** A random call of an op. */
export interface Case {
  /** Shapes of the operands; a leading "B" is symbolic. */
  readonly shapes: readonly (readonly g.Dim[])[];
  /** Dtype and range of each operand; f32 in [-2, 2) unless said. */
  readonly operands?: readonly { readonly dtype: DType; readonly low?: number; readonly high?: number }[];
  readonly build: (...inputs: g.Tensor[]) => g.Tensor | readonly g.Tensor[];
  /** Operands through which a gradient flows; all f32 ones unless said. */
  readonly differentiable?: readonly number[];
  /** Rounding allowed, relative to the largest magnitude. */
  readonly tolerance?: number;
}

const size = (random: Random, low = 1, high = 6) => low + random.integer(high - low + 1);
const unary =
  (build: (x: g.Tensor) => g.Tensor, low = -2, high = 2) =>
  (r: Random): Case => ({ shapes: [["B", size(r), size(r)]], operands: [{ dtype: "f32", low, high }], build });
const binary =
  (build: (a: g.Tensor, b: g.Tensor) => g.Tensor) =>
  (r: Random): Case => {
    const [n, m] = [size(r), size(r)];
    const right = [["B", n, m], [n, 1], [m], [], [1, n, m]][r.integer(5)]!;
    return { shapes: [["B", n, m], right], operands: [{ dtype: "f32" }, { dtype: "f32", low: 0.5 }], build };
  };
/** A pooling window, its movement, and a picture that it fits. */
function poolCase(r: Random) {
  const kernel: [number, number] = [size(r, 1, 3), size(r, 1, 3)];
  const stride: [number, number] = [size(r, 1, 3), size(r, 1, 3)];
  const dilations: [number, number] = [size(r, 1, 2), size(r, 1, 2)];
  const pads = [0, 1, 0, 1].map((i) => r.integer(Math.min(2, kernel[i]!))) as [number, number, number, number];
  return { size: [size(r, 5, 8), size(r, 5, 8)], options: { kernel, stride, pads, dilations } };
}
const quantized = { dtype: "u8", low: 0, high: 256 } as const;

/** A random case of each op. */
export const CASES: Record<g.OpName, (random: Random) => Case> = {
  neg: unary(g.neg),
  exp: unary(g.exp),
  log: unary(g.log, 0.1, 5),
  sqrt: unary(g.sqrt, 0, 5),
  tanh: unary(g.tanh),
  sigmoid: unary(g.sigmoid, -6, 6),
  abs: unary(g.abs),
  sign: unary(g.sign),
  erf: unary(g.erf, -4, 4),
  softplus: unary(g.softplus, -40, 40),
  leakyRelu: (r) => ({ shapes: [["B", size(r)]], build: (x) => g.leakyRelu(x, r.integer(2) ? 0.2 : 0) }),
  stopGradient: unary(g.stopGradient),
  boundary: unary(g.boundary),
  after: (r) => ({
    shapes: [
      ["B", size(r)],
      ["B", size(r), 2],
    ],
    build: g.after,
    differentiable: [0],
  }),
  add: binary(g.add),
  sub: binary(g.sub),
  mul: binary(g.mul),
  div: binary(g.div),
  max: binary(g.maximum),
  min: binary(g.minimum),
  less: binary(g.less),
  equal: (r) => ({
    shapes: [
      ["B", size(r)],
      ["B", 1],
    ],
    operands: [
      { dtype: "i32", low: 0, high: 3 },
      { dtype: "i32", low: 0, high: 3 },
    ],
    build: g.equal,
  }),
  gelu: (r) => ({
    shapes: [["B", size(r, 2, 40)]],
    operands: [{ dtype: "f32", low: -5, high: 5 }],
    build: (x) => g.gelu(x, r.integer(2) ? "tanh" : "none"),
  }),
  cast: (r) => ({
    shapes: [["B", size(r)]],
    operands: [{ dtype: "f32", low: -9, high: 9 }],
    build: (x) => g.cast(x, "i32"),
  }),
  where: (r) => {
    const n = size(r);
    return {
      shapes: [["B", n], [n], ["B", 1]],
      build: (c, a, b) => g.where(g.less(c, 0), a, b),
      differentiable: [1, 2],
    };
  },
  reshape: (r) => {
    const [n, m] = [size(r), size(r)];
    return { shapes: [["B", n, m]], build: (x) => g.reshape(g.reshape(x, [g.dimProduct(["B", n]), m]), ["B", m * n]) };
  },
  transpose: (r) => ({
    shapes: [["B", size(r), size(r), size(r)]],
    build: (x) =>
      g.transpose(
        x,
        [
          [0, 2, 1, 3],
          [2, 0, 3, 1],
          [0, 1, 3, 2],
        ][r.integer(3)]!,
      ),
  }),
  expand: (r) => {
    const [n, m] = [size(r), size(r)];
    // The second form repeats along a symbolic axis, whose size it reads from the other operand.
    return r.integer(2)
      ? { shapes: [["B", 1, m]], build: (x) => g.expand(x, ["B", n, m]) }
      : { shapes: [[1, m], ["B"]], build: (x) => g.expand(x, ["B", m]), differentiable: [0] };
  },
  slice: (r) => ({
    shapes: [["B", size(r, 3, 8), size(r)]],
    build: (x) => g.slice(x, 1, r.integer(2), 3, 1 + r.integer(2)),
  }),
  split: (r) => {
    const [a, b] = [size(r), size(r)];
    return { shapes: [["B", a + b, size(r)]], build: (x) => g.split(x, 1, [a, b]) };
  },
  concat: (r) => {
    const n = size(r);
    return {
      shapes: [
        ["B", size(r), n],
        ["B", size(r), n],
      ],
      build: (a, b) => g.concat([a, b, a], 1),
    };
  },
  pad: (r) => ({ shapes: [["B", size(r), size(r)]], build: (x) => g.pad(x, [0, r.integer(3), 0], [0, 1, 2], 1.5) }),
  gather: (r) => {
    const n = size(r);
    const axis = r.integer(2);
    return {
      shapes: [axis === 0 ? [n, size(r)] : [size(r), n], ["B", size(r)]],
      operands: [{ dtype: "f32" }, { dtype: "i32", low: 0, high: n }],
      build: (x, i) => g.gather(x, i, axis),
    };
  },
  scatterRows: (r) => {
    const n = size(r);
    return {
      shapes: [
        ["B", n],
        ["B", n, size(r)],
      ],
      operands: [{ dtype: "i32", low: 0, high: 4 }, { dtype: "f32" }],
      build: (i, x) => g.scatterRows(i, x, 4),
    };
  },
  convTranspose2d: (r) => {
    const kernel = size(r, 1, 3);
    const [h, w] = [size(r), size(r)];
    const stride: [number, number] = [size(r, 1, 2), size(r, 1, 2)];
    const pads: [number, number, number, number] = [0, 0, r.integer(2), r.integer(2)];
    const length = (n: number, i: 0 | 1) =>
      Math.max((n - 1) * stride[i] + kernel - pads[i] - pads[i + 2]!, 1) + r.integer(stride[i]);
    const channels = size(r);
    const [height, width] = [length(h, 0), length(w, 1)];
    // Where padding leaves nothing, there is nothing to compute.
    const whole = (h - 1) * stride[0] + kernel - pads[2] > 0 && (w - 1) * stride[1] + kernel - pads[3] > 0;
    const kept: [number, number, number, number] = whole ? pads : [0, 0, 0, 0];
    const size2: [number, number] = whole
      ? [height, width]
      : [(h - 1) * stride[0] + kernel, (w - 1) * stride[1] + kernel];
    return {
      shapes: [
        ["B", channels, h, w],
        [channels, size(r), kernel, kernel],
      ],
      build: (x, weight) => g.convTranspose2d(x, weight, { stride, pads: kept, size: size2 }),
    };
  },
  maxPool2x2: (r) => ({ shapes: [["B", size(r), size(r, 2, 7), size(r, 2, 7)]], build: g.maxPool2x2 }),
  maxPool2x2Gradient: (r) => {
    const [n, h, w] = [size(r), size(r, 2, 7), size(r, 2, 7)];
    return {
      shapes: [
        ["B", n, h, w],
        ["B", n, h >> 1, w >> 1],
      ],
      build: g.maxPool2x2Gradient,
      differentiable: [],
    };
  },
  maxPool2d: (r) => {
    const { size: sides, options } = poolCase(r);
    return { shapes: [["B", size(r), ...sides]], build: (x) => g.maxPool2d(x, options) };
  },
  maxPool2dGradient: (r) => {
    const { size: sides, options } = poolCase(r);
    const { kernel, stride, pads, dilations } = options;
    const pooled = sides.map((side, i) => {
      const reach = (kernel[i]! - 1) * dilations[i]! + 1;
      return Math.floor((side + pads[i]! + pads[i + 2]! - reach) / stride[i]!) + 1;
    });
    const n = size(r);
    return {
      shapes: [
        ["B", n, ...sides],
        ["B", n, ...pooled],
      ],
      build: (x, dy) => g.maxPool2dGradient(x, dy, options),
      differentiable: [],
    };
  },
  upsampleNearest: (r) => ({
    shapes: [["B", size(r), size(r), size(r)]],
    build: (x) => g.upsampleNearest(x, [size(r, 1, 3), size(r, 1, 3)]),
  }),
  matmul: (r) => {
    const k = size(r, 1, 9);
    const left = r.integer(2) ? ["B", 3, size(r), k] : ["B", 1, size(r), k];
    return { shapes: [left, r.integer(2) ? [3, k, size(r)] : [k, size(r)]], build: g.matmul };
  },
  gemm: (r) => {
    const [k, n] = [size(r, 1, 9), size(r)];
    const [transA, transB] = [r.integer(2) === 1, r.integer(2) === 1];
    const bias = r.integer(2) ? [[n]] : [];
    return {
      shapes: [transA ? [k, "B"] : ["B", k], transB ? [n, k] : [k, n], ...bias],
      build: (a, b, c) => g.gemm(a, b, c, { transA, transB }),
    };
  },
  conv2d: (r) => {
    const groups = 1 + r.integer(2);
    const kernel = size(r, 1, 3);
    const [i, o] = [2 * size(r, 1, 3), 2 * size(r, 1, 3)];
    const stride: [number, number] = [size(r, 1, 2), size(r, 1, 2)];
    const pads: [number, number, number, number] = [r.integer(2), r.integer(2), r.integer(2), r.integer(2)];
    const bias = r.integer(2) ? [[o]] : [];
    return {
      shapes: [["B", i, size(r, 4, 7), size(r, 4, 7)], [o, i / groups, kernel, kernel], ...bias],
      build: (x, w, b) => g.conv2d(x, w, b, { stride, pads, groups }),
    };
  },
  layerNorm: (r) => {
    const n = size(r, 2, 9);
    return { shapes: [["B", size(r), n], [n], [n]], build: (x, w, b) => g.layerNorm(x, w, b, 1e-6), tolerance: 1e-5 };
  },
  rmsNorm: (r) => {
    const n = size(r, 2, 9);
    return { shapes: [["B", size(r), n], [n]], build: (x, w) => g.rmsNorm(x, w, 1e-5), tolerance: 1e-5 };
  },
  groupNorm: (r) => {
    const [groups, per] = [size(r, 1, 4), size(r, 1, 3)];
    return {
      shapes: [["B", groups * per, size(r, 2, 5), size(r, 2, 5)], [groups * per], [groups * per]],
      build: (x, w, b) => g.groupNorm(x, w, b, groups, 1e-6),
      tolerance: 1e-5,
    };
  },
  reduceSum: (r) => ({
    shapes: [["B", size(r), size(r)]],
    build: (x) => g.reduceSum(x, [[1], [-1], [1, 2]][r.integer(3)]!),
  }),
  reduceMean: (r) => {
    const axes = [[0], [-1], [1, 2]][r.integer(3)]!;
    // The gradient divides by the count, which must be known.
    return { shapes: [[axes[0] === 0 ? 3 : "B", size(r), size(r)]], build: (x) => g.reduceMean(x, axes) };
  },
  reduceMax: (r) => ({ shapes: [["B", size(r), size(r)]], build: (x) => g.reduceMax(x, [-1]) }),
  logSoftmax: (r) => ({ shapes: [["B", size(r), size(r)]], build: (x) => g.logSoftmax(x, -1 - r.integer(2)) }),
  softmax: (r) => ({ shapes: [["B", size(r), size(r)]], build: (x) => g.softmax(x, -1 - r.integer(2)) }),
  // Few values, so that ties occur: the first must win.
  argmax: (r) => ({
    shapes: [["B", size(r), size(r, 2, 12)]],
    operands: [{ dtype: "i32", low: 0, high: 4 }],
    build: (x) => g.argmax(g.cast(x, "f32")),
  }),
  linearBlock8: (r) => {
    const [n, blocks] = [size(r, 2, 8), size(r, 1, 3)];
    const width = blocks * 32;
    return {
      shapes: [["B", width], [n, blocks, 32], [n, blocks], [n]],
      operands: [{ dtype: "f32" }, quantized, { dtype: "f32", low: 0.001, high: 0.02 }, { dtype: "f32" }],
      build: (x, w, s, b) => x.graph.apply("linearBlock8", [x, w, s, b], { block: 32, width }),
      // The kernel rounds activations to 8 bits a block; that is what it is for.
      tolerance: 0.02,
    };
  },
  linearRow8: (r) => {
    const [n, k] = [size(r, 2, 8), size(r, 8, 40)];
    return {
      shapes: [["B", k], [k, n], [n], [n]],
      operands: [
        { dtype: "f32" },
        { dtype: "i8", low: -127, high: 128 },
        { dtype: "f32", low: 0.001, high: 0.02 },
        { dtype: "f32" },
      ],
      build: (x, w, s, b) => x.graph.apply("linearRow8", [x, w, s, b], {}),
      tolerance: 0.02,
    };
  },
};

/** Random elements in [low, high), whole ones where the dtype is not f32. */
export function randomArray(random: Random, dtype: DType, shape: readonly number[], low = -2, high = 2): NDArray {
  const data = allocate(dtype, sizeOf(shape)) as TypedArray;
  const whole = dtype !== "f32";
  for (let i = 0; i < data.length; i++) {
    const value = low + random.uniform() * (high - low);
    data[i] = (whole ? Math.floor(value) : value) as never;
  }
  return { dtype, shape, data } as NDArray;
}
