// Single operators of ONNX in the forms that exporters write them: the table of the test that holds the importer to ONNX
// Runtime.
import { type NDArray, ndarray } from "../../src/core/index.ts";
import type { OnnxAttribute } from "../../src/onnx/index.ts";
import { f32, i64 } from "./small-models.ts";

/** An operator on random pictures. */
export interface OperatorCase {
  readonly type: string;
  /** Shapes of the operands that are fed. */
  readonly inputs: readonly (readonly number[])[];
  /** Constants behind them; undefined is left out. A number is the seed of random weights of the shape beside it. */
  readonly constants?: readonly (
    | NDArray
    | { readonly weights: readonly number[]; readonly positive?: boolean }
    | undefined
  )[];
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>;
  readonly opset?: number;
  readonly outputs?: number;
  /** Range of what is fed. */
  readonly low?: number;
  readonly high?: number;
}

const picture = [2, 4, 7, 6];
const float = (value: number) => ({ float: value });
const scalar = (value: number) => f32([value], []);
const weights = (...shape: number[]) => ({ weights: shape });
const positive = (...shape: number[]) => ({ weights: shape, positive: true });
const bools = (values: readonly number[]) => ndarray("bool", [values.length], Uint8Array.from(values));

const unary = [
  "Abs",
  "Erf",
  "Exp",
  "HardSwish",
  "Identity",
  "Mish",
  "Neg",
  "Relu",
  "Sigmoid",
  "Sign",
  "Softplus",
  "Tanh",
].map((type): OperatorCase => ({ type, inputs: [[2, 3, 5]], low: -4, high: 4, ...(type === "Mish" && { opset: 18 }) }));
const onPositive = ["Log", "Reciprocal", "Sqrt"].map(
  (type): OperatorCase => ({ type, inputs: [[2, 3, 5]], low: 0.2, high: 4 }),
);
const withConstant = ["Add", "Div", "Max", "Min", "Mul", "Sub", "Sum"].flatMap((type): OperatorCase[] => [
  { type, inputs: [[2, 3, 5]], constants: [positive(3, 1)] },
  { type, inputs: [[2, 3, 5], [5]], low: 0.5 },
  { type, inputs: [[2, 3, 5]], constants: [scalar(1.5)] },
]);
const powers = [-2, -1, -0.5, 0, 0.5, 1, 2, 3, 7, 1.7].map(
  (p): OperatorCase => ({
    type: "Pow",
    inputs: [[3, 4]],
    constants: [scalar(p)],
    low: p % 1 === 0 && p > 0 ? -2 : 0.3,
  }),
);

const convolutions: OperatorCase[] = [
  { type: "Conv", inputs: [picture], constants: [weights(5, 4, 3, 3)] },
  {
    type: "Conv",
    inputs: [picture],
    constants: [weights(6, 2, 3, 2), weights(6)],
    attributes: { group: 2, strides: [2, 1], pads: [1, 0, 2, 1] },
  },
  {
    type: "Conv",
    inputs: [picture],
    constants: [weights(4, 1, 3, 3)],
    attributes: { group: 4, dilations: [2, 1], pads: [2, 1, 2, 1] },
  },
  {
    type: "Conv",
    inputs: [picture],
    constants: [weights(3, 4, 3, 3)],
    attributes: { auto_pad: "SAME_UPPER", strides: [2, 2] },
  },
  { type: "Conv", inputs: [picture], constants: [weights(3, 4, 2, 4)], attributes: { auto_pad: "SAME_LOWER" } },
  { type: "Conv", inputs: [picture], constants: [weights(3, 4, 3, 3)], attributes: { auto_pad: "VALID" } },
];

const pool = (type: string, kernel: number[], rest: Record<string, OnnxAttribute> = {}, opset = 17): OperatorCase => ({
  type,
  inputs: [picture],
  attributes: { kernel_shape: kernel, ...rest },
  opset,
});
const pools: OperatorCase[] = [
  pool("MaxPool", [2, 2], { strides: [2, 2] }),
  pool("MaxPool", [3, 3], { strides: [2, 2], pads: [1, 1, 1, 1] }),
  pool("MaxPool", [3, 2], { strides: [2, 2], ceil_mode: 1 }),
  pool("MaxPool", [3, 3], { strides: [2, 3], pads: [0, 1, 1, 0], dilations: [1, 2] }),
  pool("MaxPool", [3, 3], { auto_pad: "SAME_UPPER", strides: [2, 2] }),
  pool("AveragePool", [2, 3], { strides: [2, 1] }),
  pool("AveragePool", [3, 3], { strides: [2, 2], pads: [1, 1, 1, 1] }),
  pool("AveragePool", [3, 3], { strides: [2, 2], pads: [1, 1, 1, 1], count_include_pad: 1 }),
  pool("AveragePool", [3, 3], { strides: [2, 2], ceil_mode: 1 }, 19),
  pool("AveragePool", [2, 2], { strides: [3, 3], pads: [1, 0, 0, 1], ceil_mode: 1, count_include_pad: 1 }, 19),
  pool("AveragePool", [2, 2], { dilations: [2, 3], count_include_pad: 1, pads: [1, 1, 1, 1] }, 19),
  pool("AveragePool", [3, 3], { auto_pad: "SAME_LOWER", strides: [2, 2] }),
  { type: "GlobalAveragePool", inputs: [picture] },
  { type: "GlobalMaxPool", inputs: [picture] },
];

const normalizations: OperatorCase[] = [
  {
    type: "BatchNormalization",
    inputs: [picture],
    constants: [weights(4), weights(4), weights(4), positive(4)],
    attributes: { epsilon: float(1e-3) },
  },
  {
    type: "BatchNormalization",
    inputs: [[5, 3]],
    constants: [weights(3), weights(3), weights(3), positive(3)],
    opset: 9,
  },
  {
    type: "LayerNormalization",
    inputs: [[2, 3, 8]],
    constants: [weights(8), weights(8)],
    attributes: { epsilon: float(1e-6) },
  },
  { type: "LayerNormalization", inputs: [[2, 3, 8]], constants: [weights(8)] },
  {
    type: "LayerNormalization",
    inputs: [picture],
    constants: [weights(4, 7, 6), weights(4, 7, 6)],
    attributes: { axis: 1 },
  },
  { type: "InstanceNormalization", inputs: [picture], constants: [weights(4), weights(4)] },
  { type: "InstanceNormalization", inputs: [[2, 3, 9]], constants: [weights(3), weights(3)] },
  {
    type: "GroupNormalization",
    inputs: [picture],
    constants: [weights(4), weights(4)],
    attributes: { num_groups: 2 },
    opset: 21,
  },
  { type: "LpNormalization", inputs: [[3, 5]], attributes: { axis: -1, p: 2 } },
];

const products: OperatorCase[] = [
  { type: "Gemm", inputs: [[3, 4]], constants: [weights(5, 4), weights(5)], attributes: { transB: 1 } },
  {
    type: "Gemm",
    inputs: [[4, 3]],
    constants: [weights(4, 5), weights(3, 1)],
    attributes: { transA: 1, alpha: float(0.5), beta: float(-2) },
  },
  { type: "Gemm", inputs: [[3, 4]], constants: [weights(4, 5)], attributes: { alpha: float(3) } },
  { type: "Gemm", inputs: [[3, 4]], constants: [weights(4, 5), weights(1, 5)] },
  { type: "MatMul", inputs: [[2, 3, 4]], constants: [weights(4, 5)] },
  {
    type: "MatMul",
    inputs: [
      [2, 1, 3, 4],
      [5, 4, 2],
    ],
  },
  { type: "Softmax", inputs: [[2, 3, 4]] },
  { type: "Softmax", inputs: [[2, 3, 4]], attributes: { axis: 1 }, opset: 13 },
  { type: "Softmax", inputs: [[2, 3, 4]], opset: 11 },
  { type: "LogSoftmax", inputs: [[2, 3, 4]], attributes: { axis: 2 }, opset: 11 },
];

const reductions = ["ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum"].flatMap((type): OperatorCase[] => [
  { type, inputs: [[2, 3, 4]], attributes: { axes: [1, -1], keepdims: 0 }, opset: 11 },
  { type, inputs: [[2, 3, 4]], constants: [i64([-2])], opset: 18 },
  { type, inputs: [[2, 3, 4]], attributes: { keepdims: 0 } },
  { type, inputs: [[2, 3, 4]], attributes: { noop_with_empty_axes: 1 }, opset: 18 },
]);

const shapes: OperatorCase[] = [
  { type: "Reshape", inputs: [[2, 3, 4]], constants: [i64([0, -1])] },
  { type: "Reshape", inputs: [[2, 3, 4]], constants: [i64([4, 0, 2])] },
  { type: "Flatten", inputs: [[2, 3, 4, 5]] },
  { type: "Flatten", inputs: [[2, 3, 4]], attributes: { axis: -1 } },
  { type: "Flatten", inputs: [[2, 3, 4]], attributes: { axis: 0 } },
  { type: "Transpose", inputs: [[2, 3, 4]] },
  { type: "Transpose", inputs: [[2, 3, 4]], attributes: { perm: [1, 2, 0] } },
  { type: "Squeeze", inputs: [[2, 1, 4, 1]] },
  { type: "Squeeze", inputs: [[2, 1, 4, 1]], attributes: { axes: [-1] }, opset: 11 },
  { type: "Squeeze", inputs: [[2, 1, 4, 1]], constants: [i64([1])] },
  { type: "Unsqueeze", inputs: [[2, 3]], attributes: { axes: [0, 3] }, opset: 11 },
  { type: "Unsqueeze", inputs: [[2, 3]], constants: [i64([-1, 1])] },
  {
    type: "Concat",
    inputs: [
      [2, 3, 4],
      [2, 5, 4],
    ],
    attributes: { axis: 1 },
  },
  { type: "Concat", inputs: [[2, 3, 4]], constants: [weights(2, 3, 1)], attributes: { axis: -1 } },
  { type: "Split", inputs: [[2, 7]], attributes: { axis: 1, num_outputs: 3 }, opset: 18, outputs: 3 },
  { type: "Split", inputs: [[2, 6]], constants: [i64([1, 5])], attributes: { axis: -1 }, outputs: 2 },
  { type: "Split", inputs: [[6, 2]], attributes: { split: [2, 4] }, opset: 11, outputs: 2 },
  { type: "Expand", inputs: [[3, 1]], constants: [i64([2, 1, 4])] },
  { type: "Tile", inputs: [[2, 3]], constants: [i64([2, 3])] },
  { type: "DepthToSpace", inputs: [[1, 8, 2, 3]], attributes: { blocksize: 2 } },
  { type: "DepthToSpace", inputs: [[1, 8, 2, 3]], attributes: { blocksize: 2, mode: "CRD" } },
  { type: "SpaceToDepth", inputs: [[1, 2, 4, 6]], attributes: { blocksize: 2 } },
];

const picks: OperatorCase[] = [
  { type: "Slice", inputs: [[4, 6]], constants: [i64([1, -4]), i64([2 ** 62, -1])] },
  { type: "Slice", inputs: [[4, 6]], constants: [i64([-1]), i64([-1000]), i64([1]), i64([-2])] },
  { type: "Slice", inputs: [[4, 6]], attributes: { starts: [1], ends: [3], axes: [-2] }, opset: 9 },
  { type: "Slice", inputs: [[4, 6]], constants: [i64([0, 1]), i64([4, 6]), i64([0, 1]), i64([3, 2])] },
  { type: "Gather", inputs: [[4, 6]], constants: [i64([2, -1, 0, 0], [2, 2])], attributes: { axis: 1 } },
  { type: "Gather", inputs: [[4, 6]], constants: [i64([-2], [])] },
  { type: "Pad", inputs: [[2, 3]], constants: [i64([0, 1, 2, 0]), scalar(1.5)] },
  { type: "Pad", inputs: [[4, 5]], constants: [i64([3, 0, 1, 4])], attributes: { mode: "reflect" } },
  { type: "Pad", inputs: [[4, 5]], constants: [i64([5, 1, 0, 4])], attributes: { mode: "edge" } },
  { type: "Pad", inputs: [[4, 5]], constants: [i64([2, 3]), undefined, i64([-1])], opset: 18 },
  { type: "Pad", inputs: [[4, 5]], attributes: { pads: [1, 0, 0, 2], value: float(-1) }, opset: 10 },
  { type: "Resize", inputs: [picture], constants: [undefined, f32([1, 1, 2, 3])], attributes: { mode: "nearest" } },
  {
    type: "Resize",
    inputs: [picture],
    constants: [undefined, undefined, i64([2, 4, 14, 24])],
    attributes: { mode: "nearest", coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" },
  },
  { type: "ArgMax", inputs: [[3, 9]], attributes: { axis: -1, keepdims: 0 } },
  { type: "ArgMax", inputs: [[3, 9]], attributes: { axis: 1 } },
  { type: "TopK", inputs: [[3, 9]], constants: [i64([1])], outputs: 2 },
];

const others: OperatorCase[] = [
  { type: "Clip", inputs: [[3, 5]], attributes: { min: float(-0.5), max: float(0.75) }, opset: 7 },
  { type: "Clip", inputs: [[3, 5]], constants: [scalar(-0.5), scalar(0.75)] },
  { type: "Clip", inputs: [[3, 5]], constants: [undefined, scalar(0.1)] },
  { type: "Clip", inputs: [[3, 5]], constants: [scalar(0)] },
  { type: "Elu", inputs: [[3, 5]], attributes: { alpha: float(0.7) }, low: -5, high: 5 },
  { type: "HardSigmoid", inputs: [[3, 5]], low: -5, high: 5 },
  { type: "HardSigmoid", inputs: [[3, 5]], attributes: { alpha: float(1 / 6) }, low: -5, high: 5 },
  { type: "LeakyRelu", inputs: [[3, 5]] },
  { type: "LeakyRelu", inputs: [[3, 5]], attributes: { alpha: float(0.2) } },
  { type: "PRelu", inputs: [[2, 3, 4]], constants: [weights(3, 1)] },
  { type: "Gelu", inputs: [[3, 5]], opset: 20 },
  { type: "Gelu", inputs: [[3, 5]], attributes: { approximate: "tanh" }, opset: 20 },
  { type: "Dropout", inputs: [[3, 5]] },
  { type: "Cast", inputs: [[3, 5]], attributes: { to: 7 }, low: -9, high: 9 },
  { type: "Cast", inputs: [[3, 5]], attributes: { to: 1 } },
  { type: "Shape", inputs: [[3, 5, 2]] },
  { type: "Shape", inputs: [[3, 5, 2]], attributes: { start: 1, end: -1 } },
  { type: "Size", inputs: [[3, 5, 2]] },
  { type: "Greater", inputs: [[3, 5]], constants: [scalar(0.5)] },
  { type: "Less", inputs: [[3, 5], [5]] },
  { type: "Equal", inputs: [[3, 5]], constants: [scalar(0.5)] },
];

export const OPERATOR_CASES: readonly OperatorCase[] = [
  ...unary,
  ...onPositive,
  ...withConstant,
  ...powers,
  ...convolutions,
  ...pools,
  ...normalizations,
  ...products,
  ...reductions,
  ...shapes,
  ...picks,
  ...others,
];

/** An operator on constants, which the importer computes by itself. */
export interface KnownCase {
  readonly type: string;
  readonly constants: readonly (NDArray | undefined)[];
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>;
  readonly opset?: number;
}

const pairs = [
  "Add",
  "Div",
  "Equal",
  "Greater",
  "GreaterOrEqual",
  "Less",
  "LessOrEqual",
  "Max",
  "Min",
  "Mod",
  "Mul",
  "Sub",
];

export const KNOWN_CASES: readonly KnownCase[] = [
  ...pairs.map((type): KnownCase => ({ type, constants: [i64([7, -7, 3, 12], [2, 2]), i64([2, -3])] })),
  ...["And", "Or"].map((type): KnownCase => ({ type, constants: [bools([0, 0, 1, 1]), bools([0, 1, 0, 1])] })),
  ...["Abs", "Ceil", "Exp", "Floor", "Neg", "Round", "Sign"].flatMap((type) =>
    [-2.5, -0.4, 0.5, 1.5, 2.7].map((value): KnownCase => ({ type, constants: [scalar(value)] })),
  ),
  ...["Log", "Reciprocal", "Sqrt"].map((type): KnownCase => ({ type, constants: [scalar(2.7)] })),
  { type: "Not", constants: [bools([0, 1])] },
  { type: "Pow", constants: [scalar(2.5), scalar(3)] },
  { type: "Div", constants: [scalar(7), scalar(2)] },
  { type: "Where", constants: [bools([0, 1]), i64([1, 2]), i64([3, 4, 5, 6], [2, 2])] },
  { type: "Cast", constants: [scalar(-2.7)], attributes: { to: 7 } },
  { type: "Cast", constants: [i64([0, -3])], attributes: { to: 9 } },
  { type: "Cast", constants: [i64([5, -3])], attributes: { to: 1 } },
  { type: "Range", constants: [i64([2], []), i64([11], []), i64([3], [])] },
  { type: "Range", constants: [i64([5], []), i64([0], []), i64([-2], [])] },
  { type: "ConstantOfShape", constants: [i64([2, 3])] },
  { type: "Gather", constants: [i64([5, 6, 7, 8, 9, 10], [3, 2]), i64([2, -3])] },
  { type: "Gather", constants: [i64([5, 6, 7, 8, 9, 10], [3, 2]), i64([1], [])], attributes: { axis: 1 } },
  { type: "Slice", constants: [i64([5, 6, 7, 8, 9, 10], [3, 2]), i64([-1]), i64([-9]), i64([0]), i64([-1])] },
  { type: "Slice", constants: [i64([5, 6, 7, 8, 9]), i64([1]), i64([1])] },
  { type: "Concat", constants: [i64([1, 2], [2, 1]), i64([3, 4, 5, 6], [2, 2])], attributes: { axis: 1 } },
  { type: "Transpose", constants: [i64([1, 2, 3, 4, 5, 6], [2, 3])] },
  { type: "Reshape", constants: [i64([1, 2, 3, 4, 5, 6], [2, 3]), i64([-1, 2])] },
  { type: "Expand", constants: [i64([1, 2], [2, 1]), i64([3, 1, 2])] },
  { type: "Tile", constants: [i64([1, 2], [2, 1]), i64([2, 3])] },
  { type: "Squeeze", constants: [i64([1, 2], [2, 1])] },
  { type: "Unsqueeze", constants: [i64([1, 2]), i64([0])] },
  { type: "Flatten", constants: [i64([1, 2, 3, 4], [2, 1, 2])] },
  { type: "ReduceProd", constants: [i64([2, 3, 4])], attributes: { keepdims: 0 } },
  { type: "ReduceSum", constants: [i64([2, 3, 4])] },
  { type: "ReduceMax", constants: [i64([2, 3, 4])], opset: 13 },
  { type: "Shape", constants: [i64([1, 2, 3, 4], [2, 1, 2])] },
];
