/**
 * The Fréchet distance of two sets of features, each taken as a Gaussian: M. Heusel et al., "GANs trained by a two
 * time-scale update rule converge to a local Nash equilibrium", 2017, equation 6:
 *
 *     |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))
 *
 * Everything is in float64. S1 S2 is not symmetric; with S1 = L L^T its eigenvalues are those of L^T S2 L, which is, and
 * the trace of the root is the sum of their roots. L has as many columns as S1 has rank: of fewer samples than features
 * the eigenvalues of a small matrix are found.
 *
 * The distance of a few samples is too large, and the more so the fewer they are: figures of different numbers of samples
 * do not compare. What the features are made with is not here, see `feature-network.ts`.
 */
import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import { ToklipError } from "../core/index.ts";

/** Mean and covariance of a set of features. */
export interface Gaussian {
  /** Rows that it was made of. */
  readonly count: number;
  /** (D). */
  readonly mean: Float64Array;
  /** (D, D), row-major; divided by one less than the count. */
  readonly covariance: Float64Array;
}

/** Rows of features on their way to a Gaussian, some at a time. Memory holds one D x D matrix. */
export class GaussianSums {
  private readonly width: number;
  private count = 0;
  /** The first row: sums are of what differs from it, so that large features with small differences lose no digits. */
  private readonly origin: Float64Array;
  private readonly sums: Float64Array;
  /** Sums of products, the upper triangle. */
  private readonly products: Float64Array;

  constructor(width: number) {
    this.width = width;
    this.origin = new Float64Array(width);
    this.sums = new Float64Array(width);
    this.products = new Float64Array(width * width);
  }

  /**
   * Adds rows of D features.
   * @throws DATA_INVALID for features that are no finite numbers
   */
  add(rows: readonly Float32Array[]): void {
    if (rows.length === 0) return;
    if (this.count === 0) this.origin.set(rows[0]!);
    this.count += rows.length;
    const centred = rows.map((row) => Float64Array.from(row, (value, d) => value - this.origin[d]!));
    for (const row of centred) this.addSums(row);
    for (let i = 0; i < this.width; i++) {
      const into = this.products.subarray(i * this.width, (i + 1) * this.width);
      for (const row of centred) addScaled(into, row, row[i]!, i);
    }
  }

  /** The Gaussian; undefined of fewer than two rows, which have no covariance. */
  finish(): Gaussian | undefined {
    const { width, count } = this;
    if (count < 2) return undefined;
    const mean = this.sums.map((sum, d) => this.origin[d]! + sum / count);
    const covariance = new Float64Array(width * width);
    for (let i = 0; i < width; i++) {
      for (let j = i; j < width; j++) {
        const value = (this.products[i * width + j]! - (this.sums[i]! * this.sums[j]!) / count) / (count - 1);
        covariance[i * width + j] = value;
        covariance[j * width + i] = value;
      }
    }
    return { count, mean, covariance };
  }

  private addSums(row: Float64Array): void {
    for (let d = 0; d < row.length; d++) {
      if (!Number.isFinite(row[d]!)) {
        throw new ToklipError("DATA_INVALID", "the network's features are no finite numbers");
      }
      this.sums[d]! += row[d]!;
    }
  }
}

/**
 * The distance of two Gaussians of one width; not negative, 0 for equal ones.
 * @throws SHAPE_MISMATCH
 */
export function frechetDistance(a: Gaussian, b: Gaussian): number {
  const width = a.mean.length;
  if (width !== b.mean.length) {
    throw new ToklipError("SHAPE_MISMATCH", `features of ${width} and of ${b.mean.length} floats cannot be compared`);
  }
  let distance = -2 * traceOfRoot(a.covariance, b.covariance, width);
  for (let d = 0; d < width; d++) {
    distance += (a.mean[d]! - b.mean[d]!) ** 2 + a.covariance[d * (width + 1)]! + b.covariance[d * (width + 1)]!;
  }
  return Math.max(0, distance);
}

/** tr((A B)^(1/2)) of covariances, by the eigenvalues of L^T B L with A = L L^T. */
function traceOfRoot(a: Float64Array, b: Float64Array, width: number): number {
  const columns = cholesky(a, width);
  if (columns.length === 0) return 0;
  const product = Matrix.zeros(columns.length, columns.length);
  for (const [i, column] of columns.entries()) {
    const image = new Float64Array(width);
    for (let row = 0; row < width; row++) image[row] = dot(b.subarray(row * width, (row + 1) * width), column);
    for (let j = i; j < columns.length; j++) {
      const value = dot(image, columns[j]!);
      product.set(i, j, value);
      product.set(j, i, value);
    }
  }
  const { realEigenvalues } = new EigenvalueDecomposition(product, { assumeSymmetric: true });
  // Those of a product of covariances are not negative but for rounding.
  return realEigenvalues.reduce((sum, value) => sum + Math.sqrt(Math.max(0, value)), 0);
}

/** The columns of L, A = L L^T, the largest pivot first; as many as A has rank within rounding. */
function cholesky(a: Float64Array, width: number): Float64Array[] {
  const left = Float64Array.from({ length: width }, (_, d) => a[d * (width + 1)]!);
  const columns: Float64Array[] = [];
  const smallest = Number.EPSILON * Math.max(...left);
  while (columns.length < width) {
    const pivot = largestAt(left);
    if (!(left[pivot]! > smallest)) break;
    const column = a.slice(pivot * width, (pivot + 1) * width);
    for (const earlier of columns) addScaled(column, earlier, -earlier[pivot]!);
    const scale = 1 / Math.sqrt(left[pivot]!);
    for (let d = 0; d < width; d++) {
      column[d]! *= scale;
      left[d]! -= column[d]! ** 2;
    }
    left[pivot] = 0;
    columns.push(column);
  }
  return columns;
}

function largestAt(values: Float64Array): number {
  let at = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[at]!) at = i;
  return at;
}

function addScaled(into: Float64Array, values: Float64Array, scale: number, from = 0): void {
  for (let i = from; i < into.length; i++) into[i]! += scale * values[i]!;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
