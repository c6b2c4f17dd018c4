/**
 * Codebooks fitted to features: k-means by Lloyd's iterations (1982) from the beginning of k-means++ (Arthur and
 * Vassilvitskii 2007), and one codebook after the other on what the ones before leave (residual quantisation, arXiv
 * 2203.01941). The same rows and seed give the same codebooks on every platform.
 *
 * Differs from the textbook in that a centre that no row is nearest to moves to the row that is farthest from its own.
 *
 * Dim letters: M rows, F their width, K centres.
 */
import { type NDArray, ndarray, Random, rows, ToklipError } from "../core/index.ts";
import type { SemanticCodesConfig } from "./ar-config.ts";

/** How centres are fitted. */
export interface KMeansOptions {
  readonly seed: number;
  /** The most iterations; 25. It ends before where nothing moves. */
  readonly iterations?: number;
}

/** Which centre each row belongs to. */
interface Assignment {
  /** i32 (M), the first on ties. */
  readonly nearest: Int32Array;
  /** The squared distance of each row from its centre, (M). */
  readonly distances: Float64Array;
}

/** Elements after which a distance is compared with its limit. */
const STRIDE = 16;

/** |a - b|^2 of two rows, which begin at `from` and `to`, or at least `limit` where it is that. */
function squaredDistance(
  a: Float32Array,
  from: number,
  b: Float32Array,
  to: number,
  width: number,
  limit: number,
): number {
  let sum = 0;
  for (let begin = 0; begin < width && sum < limit; begin += STRIDE) {
    const end = Math.min(begin + STRIDE, width);
    for (let n = begin; n < end; n++) {
      const difference = a[from + n]! - b[to + n]!;
      sum += difference * difference;
    }
  }
  return sum;
}

/** Takes one centre more into account: rows nearer to it than to those before become its own. */
function offerCentre(
  points: NDArray<"f32">,
  centres: NDArray<"f32">,
  centre: number,
  { nearest, distances }: Assignment,
) {
  const [count, width] = points.shape as [number, number];
  for (let row = 0; row < count; row++) {
    const distance = squaredDistance(points.data, row * width, centres.data, centre * width, width, distances[row]!);
    if (distance < distances[row]!) {
      distances[row] = distance;
      nearest[row] = centre;
    }
  }
}

function unassigned(count: number): Assignment {
  return { nearest: new Int32Array(count), distances: new Float64Array(count).fill(Number.POSITIVE_INFINITY) };
}

function assign(points: NDArray<"f32">, centres: NDArray<"f32">): Assignment {
  const assignment = unassigned(points.shape[0]!);
  for (let centre = 0; centre < centres.shape[0]!; centre++) offerCentre(points, centres, centre, assignment);
  return assignment;
}

/** A row, each as likely as its weight is large; any where all weights are 0. */
function drawRow(weights: Float64Array, random: Random): number {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let left = random.uniform() * total;
  if (total === 0) return random.integer(weights.length);
  const row = weights.findIndex((weight) => {
    left -= weight;
    return left < 0;
  });
  return row < 0 ? weights.findLastIndex((weight) => weight > 0) : row;
}

/** k-means++: each centre is a row, drawn by its squared distance from those before. */
function firstCentres(points: NDArray<"f32">, size: number, random: Random): NDArray<"f32"> {
  const [count, width] = points.shape as [number, number];
  const centres = ndarray("f32", [size, width]);
  const assignment = unassigned(count);
  for (let centre = 0; centre < size; centre++) {
    const row = centre === 0 ? random.integer(count) : drawRow(assignment.distances, random);
    centres.data.set(rows(points, row, row + 1).data, centre * width);
    offerCentre(points, centres, centre, assignment);
  }
  return centres;
}

/** The means of the rows of each centre. */
function means(points: NDArray<"f32">, size: number, { nearest, distances }: Assignment): NDArray<"f32"> {
  const [count, width] = points.shape as [number, number];
  const sums = new Float64Array(size * width);
  const counts = new Int32Array(size);
  for (let row = 0; row < count; row++) {
    const centre = nearest[row]!;
    counts[centre]!++;
    for (let n = 0; n < width; n++) sums[centre * width + n]! += points.data[row * width + n]!;
  }
  const centres = ndarray("f32", [size, width]);
  const far = distances.slice();
  for (let centre = 0; centre < size; centre++) {
    if (counts[centre]! > 0) {
      for (let n = 0; n < width; n++) centres.data[centre * width + n] = sums[centre * width + n]! / counts[centre]!;
      continue;
    }
    const farthest = far.reduce((best, distance, row) => (distance > far[best]! ? row : best), 0);
    far[farthest] = 0;
    centres.data.set(rows(points, farthest, farthest + 1).data, centre * width);
  }
  return centres;
}

/** @throws SHAPE_MISMATCH, ARGUMENT_INVALID unless there is a row, and all are finite */
function checkPoints({ shape, data }: NDArray<"f32">): void {
  if (shape.length !== 2 || shape[0]! < 1) {
    throw new ToklipError("SHAPE_MISMATCH", `k-means: expected rows (M, F), got [${shape}]`);
  }
  if (!data.every(Number.isFinite)) throw new ToklipError("ARGUMENT_INVALID", "k-means: a row holds no finite number");
}

/**
 * Centres of rows (M, F): f32 (K, F). Where there are fewer different rows than centres, some centres are the same.
 * @throws SHAPE_MISMATCH for no rows, ARGUMENT_INVALID for one that is not finite
 */
export function kMeans(points: NDArray<"f32">, size: number, { seed, iterations = 25 }: KMeansOptions): NDArray<"f32"> {
  checkPoints(points);
  let centres = firstCentres(points, size, new Random(seed));
  let before: Int32Array | undefined;
  for (let i = 0; i < iterations; i++) {
    const assignment = assign(points, centres);
    const { nearest } = assignment;
    if (before?.every((centre, row) => centre === nearest[row])) break;
    before = nearest;
    centres = means(points, size, assignment);
  }
  return centres;
}

/** Fitted codebooks, and how well they fit. */
export interface FittedCodebooks {
  /** One for each level, f32 (size, F). */
  readonly codebooks: readonly NDArray<"f32">[];
  /** The share of the variance of the rows that is left after each level. */
  readonly left: readonly number[];
}

function sumOfSquares(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return sum;
}

/** The sum of squares of rows around their mean. */
function variance({ shape, data }: NDArray<"f32">): number {
  const [count, width] = shape as [number, number];
  const mean = new Float64Array(width);
  for (let i = 0; i < data.length; i++) mean[i % width]! += data[i]! / count;
  return sumOfSquares(data.map((value, i) => value - mean[i % width]!));
}

/**
 * Codebooks for `semanticCodes`, fitted to features (M, F).
 * @throws as `kMeans`
 */
export function fitSemanticCodebooks(
  features: NDArray<"f32">,
  { levels, size }: SemanticCodesConfig,
  options: KMeansOptions,
): FittedCodebooks {
  checkPoints(features);
  const whole = Math.max(variance(features), Number.MIN_VALUE);
  const width = features.shape[1]!;
  const rest = ndarray("f32", features.shape, features.data.slice());
  const codebooks: NDArray<"f32">[] = [];
  const left: number[] = [];
  for (let level = 0; level < levels; level++) {
    const centres = kMeans(rest, size, { ...options, seed: options.seed + level });
    const { nearest } = assign(rest, centres);
    for (let i = 0; i < rest.data.length; i++) {
      rest.data[i]! -= centres.data[nearest[Math.floor(i / width)]! * width + (i % width)]!;
    }
    codebooks.push(centres);
    left.push(sumOfSquares(rest.data) / whole);
  }
  return { codebooks, left };
}
