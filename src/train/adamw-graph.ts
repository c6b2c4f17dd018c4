/**
 * The step from gradients to new parameters as part of a graph, for parameters that stay with the backend: the arithmetic
 * of `adamw.ts`, `ema.ts` and `gradient-norm.ts`, each constant computed in f64 and rounded once. Only the sum of squares
 * of all gradients is taken in single precision here. What changes from step to step is fed: see `updateFeeds`.
 */
import { type NDArray, ndarray } from "../core/index.ts";
import {
  add,
  div,
  type Graph,
  maximum,
  minimum,
  mul,
  reduceSum,
  reshape,
  sqrt,
  square,
  sub,
  type Tensor,
} from "../graph/index.ts";
import type { Feeds } from "../runtime/index.ts";
import type { ParameterUpdateOptions } from "./parameter-update.ts";

/** The steps and updates that were made before. */
export interface UpdateCounts {
  readonly steps: number;
  readonly averages: number;
}

/** What an update makes. */
export interface UpdateResult {
  /** The Euclidean norm of all gradients before clipping, f32 []. */
  readonly norm: Tensor;
  /** New values by array: `<name>`, `<name>.exp_avg`, `<name>.exp_avg_sq`, and `<name>.ema` where an average is kept. */
  readonly arrays: ReadonlyMap<string, Tensor>;
}

const SCALARS = {
  rate: "update.rate",
  correction: "update.correction",
  keep: "update.ema_keep",
  take: "update.ema_take",
};
const decayName = (group: number): string => `update.decay_${group}`;

/** The scalars of one step, as inputs of the graph. */
export function updateFeeds(
  { groups, betas, ema }: ParameterUpdateOptions,
  learningRate: number,
  { steps, averages }: UpdateCounts,
): Feeds {
  const [beta1, beta2] = betas;
  const step = steps + 1;
  const values: Record<string, number> = {
    [SCALARS.rate]: learningRate / (1 - beta1 ** step),
    [SCALARS.correction]: 1 / Math.sqrt(1 - beta2 ** step),
  };
  groups.forEach(({ weightDecay }, i) => {
    if (weightDecay > 0) values[decayName(i)] = 1 - learningRate * weightDecay;
  });
  if (ema) {
    const keep = ema.warmup ? Math.min(ema.decay, (1 + averages) / (10 + averages)) : ema.decay;
    Object.assign(values, { [SCALARS.keep]: keep, [SCALARS.take]: 1 - keep });
  }
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, scalar(value)]));
}

function scalar(value: number): NDArray<"f32"> {
  return ndarray("f32", [], Float32Array.of(value));
}

/**
 * Appends the update of all parameters of the groups to a graph. The moments and averages become inputs.
 * @param gradients by parameter, in the order in which they are best used up
 */
export function appendUpdate(
  graph: Graph,
  gradients: ReadonlyMap<string, Tensor>,
  options: ParameterUpdateOptions,
): UpdateResult {
  const { groups, clipNorm, clamps = {}, ema } = options;
  const norm = globalNorm([...gradients.values()]);
  // As `clipFactor`.
  const scale = clipNorm === undefined ? undefined : minimum(div(clipNorm, add(norm, 1e-6)), 1);
  const input = scalarInputs(graph);
  const decays = new Map(
    groups.flatMap(({ weightDecay, shapes }, i) => {
      const decay = weightDecay > 0 && shapes.size > 0 ? input(decayName(i)) : undefined;
      return [...shapes.keys()].map((name) => [name, decay] as const);
    }),
  );
  const arrays = new Map<string, Tensor>();
  for (const [name, gradient] of gradients) {
    const scaled = scale ? mul(gradient, scale) : gradient;
    const made = adamw(graph, name, scaled, { ...options, decay: decays.get(name), input });
    const range = clamps[name];
    const value = range ? minimum(maximum(made.value, range[0]), range[1]) : made.value;
    arrays.set(name, value);
    arrays.set(`${name}.exp_avg`, made.mean);
    arrays.set(`${name}.exp_avg_sq`, made.variance);
    if (ema) {
      const average = graph.input(`${name}.ema`, "f32", gradient.shape);
      arrays.set(`${name}.ema`, add(mul(average, input(SCALARS.keep)), mul(value, input(SCALARS.take))));
    }
  }
  return { norm, arrays };
}

/** Declares scalar inputs when they are first asked for. */
function scalarInputs(graph: Graph): (name: string) => Tensor {
  return (name) => graph.inputs.get(name) ?? graph.input(name, "f32", []);
}

/** sqrt(sum of the squares of all elements), f32 []. */
function globalNorm(tensors: readonly Tensor[]): Tensor {
  const squares = tensors.map((tensor) => {
    const axes = tensor.shape.map((_, axis) => axis);
    return axes.length === 0 ? square(tensor) : reshape(reduceSum(square(tensor), axes), []);
  });
  return sqrt(squares.reduce(add));
}

interface AdamWParts extends Pick<ParameterUpdateOptions, "betas" | "eps"> {
  /** 1 - learning rate * weight decay, where it decays. */
  readonly decay: Tensor | undefined;
  readonly input: (name: string) => Tensor;
}

/** One parameter's step: see `adamw.ts` for the formula. */
function adamw(
  graph: Graph,
  name: string,
  gradient: Tensor,
  { betas: [beta1, beta2], eps, decay, input }: AdamWParts,
): { readonly value: Tensor; readonly mean: Tensor; readonly variance: Tensor } {
  const moment = (kind: string) => graph.input(`${name}.${kind}`, "f32", gradient.shape);
  const old = graph.parameters.get(name)!;
  const mean = add(mul(moment("exp_avg"), beta1), mul(gradient, 1 - beta1));
  const variance = add(mul(moment("exp_avg_sq"), beta2), mul(square(gradient), 1 - beta2));
  const divisor = add(mul(sqrt(variance), input(SCALARS.correction)), eps);
  const kept = decay ? mul(old, decay) : old;
  return { value: sub(kept, mul(div(mean, divisor), input(SCALARS.rate))), mean, variance };
}
