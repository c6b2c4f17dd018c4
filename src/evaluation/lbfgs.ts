/**
 * Minimises a smooth function of many variables by limited-memory BFGS (Liu and Nocedal 1989; Nocedal and Wright, Numerical
 * Optimization, algorithm 7.5), with steps that are halved until the function falls enough (Armijo's rule). Near the minimum,
 * where the fall is less than rounding, the gradient decides instead (after Hager and Zhang 2005).
 *
 * For convex functions such as penalised regression. A pair of changes that would make the model of the curvature indefinite,
 * which rounding can bring about, is left out.
 */
import { type LongCallOptions, throwIfAborted } from "../core/index.ts";

/** A function's value and gradient at a point. */
export interface Slope {
  readonly value: number;
  /** Is not written to afterwards. */
  readonly gradient: Float64Array;
}

/** When the search ends. */
export interface LbfgsOptions extends LongCallOptions {
  /** The Euclidean norm of the gradient that is small enough. */
  readonly gradientNorm: number;
  readonly maxIterations: number;
}

/** Where the search ended. */
export interface Minimum {
  readonly point: Float64Array;
  readonly value: number;
  readonly iterations: number;
  /** Whether the gradient became small enough. */
  readonly converged: boolean;
}

/** Pairs of changes that are remembered. */
const MEMORY = 10;
/** Share of the fall that the slope promises which a step must bring. */
const SUFFICIENT = 1e-4;
const MOST_HALVINGS = 20;
/** A rise this small, relative to the value, is the rounding of sums in f32; there the slope along the step decides. */
const ROUNDING = 1e-6;
const SLOPE_SHARE = 0.9;

/** A change of the point, and the change of the gradient that came with it. */
interface Change {
  readonly step: Float32Array;
  readonly turn: Float32Array;
  /** 1 / (step . turn). */
  readonly scale: number;
}

/** Searches the minimum from a point on. @throws ABORTED; what `evaluate` throws */
export async function minimize(
  evaluate: (point: Float64Array) => Promise<Slope>,
  start: Float64Array,
  { gradientNorm, maxIterations, signal }: LbfgsOptions,
): Promise<Minimum> {
  let point = start;
  let slope = await evaluate(point);
  const changes: Change[] = [];
  let iterations = 0;
  for (; iterations < maxIterations && norm(slope.gradient) > gradientNorm; iterations++) {
    throwIfAborted(signal, "fit");
    const direction = descent(slope.gradient, changes);
    const next = await lineSearch(evaluate, point, slope, direction);
    if (next === undefined) break;
    remember(changes, point, slope, next);
    ({ point, slope } = next);
  }
  return { point, value: slope.value, iterations, converged: norm(slope.gradient) <= gradientNorm };
}

/** The direction in which the remembered curvature expects the minimum. */
function descent(gradient: Float64Array, changes: readonly Change[]): Float64Array {
  const direction = gradient.map((g) => -g);
  const shares: number[] = [];
  for (const { step, turn, scale } of [...changes].reverse()) {
    const share = scale * dot(step, direction);
    addScaled(direction, -share, turn);
    shares.push(share);
  }
  const last = changes.at(-1);
  // The first step goes a distance of 1 at most; afterwards the last change tells the scale.
  const scale = last === undefined ? 1 / Math.max(1, norm(gradient)) : 1 / (last.scale * dot(last.turn, last.turn));
  for (let i = 0; i < direction.length; i++) direction[i]! *= scale;
  for (const { step, turn, scale: own } of changes) {
    addScaled(direction, shares.pop()! - own * dot(turn, direction), step);
  }
  return direction;
}

interface Step {
  readonly point: Float64Array;
  readonly slope: Slope;
}

/** The first of the steps 1, 1/2, 1/4, ... along a direction that falls enough, or goes towards a flatter place. */
async function lineSearch(
  evaluate: (point: Float64Array) => Promise<Slope>,
  from: Float64Array,
  { value, gradient }: Slope,
  direction: Float64Array,
): Promise<Step | undefined> {
  const promised = dot(direction, gradient);
  if (!(promised < 0)) return undefined;
  for (let halvings = 0, length = 1; halvings < MOST_HALVINGS; halvings++, length /= 2) {
    const point = from.slice();
    addScaled(point, length, direction);
    const slope = await evaluate(point);
    const falls = slope.value <= value + SUFFICIENT * length * promised;
    const flattens =
      slope.value <= value + ROUNDING * Math.abs(value) &&
      Math.abs(dot(direction, slope.gradient)) <= SLOPE_SHARE * -promised;
    if (falls || flattens) return { point, slope };
  }
  return undefined;
}

function remember(changes: Change[], point: Float64Array, slope: Slope, next: Step): void {
  const step = Float32Array.from(point, (value, i) => next.point[i]! - value);
  const turn = Float32Array.from(slope.gradient, (value, i) => next.slope.gradient[i]! - value);
  const curvature = dot(step, turn);
  if (!(curvature > 1e-10 * dot(turn, turn))) return;
  changes.push({ step, turn, scale: 1 / curvature });
  if (changes.length > MEMORY) changes.shift();
}

type Numbers = Float32Array | Float64Array;

function dot(a: Numbers, b: Numbers): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** The Euclidean norm. */
export const norm = (a: Numbers): number => Math.sqrt(dot(a, a));

function addScaled(into: Float64Array, scale: number, values: Numbers): void {
  for (let i = 0; i < into.length; i++) into[i]! += scale * values[i]!;
}
