/** Convolution and pooling of ONNX, over pictures (B, C, H, W) of known size. */
import { ndarray, ToklipError } from "../../core/index.ts";
import * as g from "../../graph/index.ts";
import type { Call, Row } from "./call.ts";

type Pair = readonly [number, number];
type Pads = readonly [number, number, number, number];

/** How a window moves. */
interface Movement {
  readonly kernel: Pair;
  readonly strides: Pair;
  readonly dilations: Pair;
  /** At the top, left, bottom, right. */
  readonly pads: Pads;
}

function pair(call: Call, name: string): Pair {
  const values = call.ints(name) ?? [1, 1];
  if (values.length !== 2 || values.some((value) => !(Number.isSafeInteger(value) && value >= 1))) {
    return call.refuse(`${name} [${values}]`);
  }
  return values as unknown as Pair;
}

/** The padding with which a result is as large as the picture divided by the stride, rounded up. */
function samePads(sizes: Pair, reach: Pair, strides: Pair, more: "start" | "end"): Pads {
  const along = (i: 0 | 1): Pair => {
    const total = Math.max(0, (Math.ceil(sizes[i] / strides[i]) - 1) * strides[i] + reach[i] - sizes[i]);
    const less = Math.floor(total / 2);
    return more === "end" ? [less, total - less] : [total - less, less];
  };
  const [rows, columns] = [along(0), along(1)];
  return [rows[0], columns[0], rows[1], columns[1]];
}

function explicitPads(call: Call): Pads {
  const pads = call.ints("pads") ?? [0, 0, 0, 0];
  if (pads.length !== 4 || pads.some((value) => !(Number.isSafeInteger(value) && value >= 0))) {
    return call.refuse(`pads [${pads}]`);
  }
  return pads as unknown as Pads;
}

const reachOf = (kernel: Pair, dilations: Pair) =>
  kernel.map((size, i) => (size - 1) * dilations[i]! + 1) as [number, number];
const sizesOf = (x: g.Tensor) => x.shape.slice(2) as [number, number];

function movement(call: Call, x: g.Tensor, kernel: Pair): Movement {
  const [strides, dilations] = [pair(call, "strides"), pair(call, "dilations")];
  const same = (more: "start" | "end") => samePads(sizesOf(x), reachOf(kernel, dilations), strides, more);
  const automatic: Readonly<Record<string, () => Pads>> = {
    NOTSET: () => explicitPads(call),
    VALID: () => [0, 0, 0, 0],
    SAME_UPPER: () => same("end"),
    SAME_LOWER: () => same("start"),
  };
  const mode = call.text("auto_pad", "NOTSET");
  const pads = Object.hasOwn(automatic, mode) ? automatic[mode]!() : call.refuse(`auto_pad ${mode}`);
  return { kernel, strides, dilations, pads };
}

const conv: Row = (call) => {
  const x = call.picture(0);
  const weight = call.picture(1);
  const { strides, dilations, pads } = movement(call, x, sizesOf(weight));
  const groups = call.int("group", 1);
  if (groups < 1) throw new ToklipError("FILE_CORRUPT", `${groups} groups`);
  const options = { stride: strides, dilations, pads, groups };
  return g.conv2d(x, weight, call.has(2) ? call.tensor(2) : undefined, options);
};

/**
 * A pooling window, its padding at the end such that the last window just fits: with `ceil_mode` one more window than fit
 * is taken where it begins within the picture or the padding before it, as PyTorch has it.
 */
function poolMovement(call: Call, x: g.Tensor): Movement {
  const moved = movement(call, x, pair(call, "kernel_shape"));
  const reach = reachOf(moved.kernel, moved.dilations);
  const ceil = call.int("ceil_mode", 0) === 1;
  const ends = sizesOf(x).map((size, i) => {
    const [stride, before, after] = [moved.strides[i]!, moved.pads[i]!, moved.pads[i + 2]!];
    const steps = (size + before + after - reach[i]!) / stride;
    const all = ceil ? Math.ceil(steps) : Math.floor(steps);
    const last = ceil && all * stride >= size + before ? all - 1 : all;
    if (last < 0)
      throw new ToklipError("SHAPE_MISMATCH", `no window of [${moved.kernel}] fits into ${g.formatShape(x.shape)}`);
    return Math.max(0, last * stride + reach[i]! - size - before);
  }) as [number, number];
  return { ...moved, pads: [moved.pads[0], moved.pads[1], ...ends] };
}

const maxPool: Row = (call) => {
  if (call.node.outputs.length > 1 && call.node.outputs[1] !== "") call.refuse("the places of the largest elements");
  const x = call.picture(0);
  const { kernel, strides, pads, dilations } = poolMovement(call, x);
  const halves =
    [...kernel, ...strides].every((size) => size === 2) &&
    [...pads, dilations[0] - 1, dilations[1] - 1].every((n) => n === 0);
  // Windows of 2 by 2 side by side have an op of their own, whose gradient is faster.
  return halves ? g.maxPool2x2(x) : g.maxPool2d(x, { kernel, stride: strides, pads, dilations });
};

/** The sums of windows: a convolution of every channel with ones. */
function windowSums(x: g.Tensor, { kernel, strides, dilations, pads }: Movement): g.Tensor {
  const [batch, channels, height, width] = x.shape as [g.Dim, number, number, number];
  const one = x.graph.constant(ndarray("f32", [1, 1, 1, 1], Float32Array.of(1)));
  const planes = g.reshape(x, [g.dimProduct([batch, channels]), 1, height, width]);
  const sums = g.conv2d(planes, g.expand(one, [1, 1, ...kernel]), undefined, { stride: strides, dilations, pads });
  return g.reshape(sums, [batch, channels, ...sums.shape.slice(2)]);
}

/** How many elements count in each window, (1, 1, h, w): those of the picture, and of its padding where that counts. */
function windowCounts(call: Call, x: g.Tensor, moved: Movement): g.Tensor {
  const countsPadding = call.int("count_include_pad", 0) === 1;
  // What ceil_mode adds at the end never counts.
  const given = call.text("auto_pad", "NOTSET") === "NOTSET" ? explicitPads(call) : moved.pads;
  const counted: Pads = countsPadding
    ? [given[0], given[1], Math.min(given[2], moved.pads[2]), Math.min(given[3], moved.pads[3])]
    : [0, 0, 0, 0];
  const [height, width] = sizesOf(x);
  const one = x.graph.constant(ndarray("f32", [1, 1, 1, 1], Float32Array.of(1)));
  const ones = g.expand(one, [1, 1, height + counted[0] + counted[2], width + counted[1] + counted[3]]);
  const pads = moved.pads.map((size, i) => size - counted[i]!) as unknown as Pads;
  return windowSums(ones, { ...moved, pads });
}

const averagePool: Row = (call) => {
  const x = call.picture(0);
  const moved = poolMovement(call, x);
  const sums = windowSums(x, moved);
  if (moved.pads.every((size) => size === 0)) return g.mul(sums, 1 / (moved.kernel[0] * moved.kernel[1]));
  return g.div(sums, windowCounts(call, x, moved));
};

export const windowOperators: Readonly<Record<string, Row>> = {
  AveragePool: averagePool,
  Conv: conv,
  GlobalAveragePool: (call) => g.reduceMean(call.picture(0), [2, 3]),
  GlobalMaxPool: (call) => {
    const x = call.picture(0);
    return g.maxPool2d(x, { kernel: sizesOf(x) });
  },
  MaxPool: maxPool,
};
