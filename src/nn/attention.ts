/** Multi-head attention (Vaswani et al. 2017), written out: ONNX Runtime runs it at the speed of its products. */
import { ndarray } from "../core/index.ts";
import {
  add,
  dimProduct,
  div,
  exp,
  type Graph,
  matmul,
  maximum,
  mul,
  reduceMax,
  reduceSum,
  reshape,
  softmax,
  split,
  sub,
  type Tensor,
  transpose,
} from "../graph/index.ts";

/** (B, N, D) -> (B, A, N, D/A). */
export function splitHeads(x: Tensor, numHeads: number): Tensor {
  const [batch, length, width] = x.shape;
  const heads = reshape(x, [batch!, length!, numHeads, (width as number) / numHeads]); // (B, N, D) -> (B, N, A, D/A)
  return transpose(heads, [0, 2, 1, 3]); // (B, N, A, D/A) -> (B, A, N, D/A)
}

/** (B, A, N, D/A) -> (B, N, D). */
export function mergeHeads(x: Tensor): Tensor {
  const [batch, heads, length, width] = x.shape;
  const rows = transpose(x, [0, 2, 1, 3]); // (B, A, N, D/A) -> (B, N, A, D/A)
  return reshape(rows, [batch!, length!, (heads as number) * (width as number)]); // -> (B, N, D)
}

/** x (B, N, 3D), each row [q | k | v] -> three of (B, A, N, D/A). */
export function splitQkv(x: Tensor, numHeads: number): readonly [Tensor, Tensor, Tensor] {
  const width = (x.shape.at(-1) as number) / 3;
  const [q, k, v] = split(x, -1, [width, width, width]);
  return [splitHeads(q!, numHeads), splitHeads(k!, numHeads), splitHeads(v!, numHeads)];
}

/**
 * The product of each head: a (B, A, M, K) times b (B, A/g, K, N) -> (B, A, M, N). Where b has fewer heads, each g heads
 * of a that follow one another share one of b (grouped queries, arXiv 2305.13245): their rows become rows of one product.
 */
function matmulHeads(a: Tensor, b: Tensor): Tensor {
  const [batch, heads, rows, inner] = a.shape;
  const [, shared, , columns] = b.shape;
  if (heads === shared) return matmul(a, b);
  const group = (heads as number) / (shared as number);
  const folded = reshape(a, [batch!, shared!, dimProduct([group, rows!]), inner!]);
  return reshape(matmul(folded, b), [batch!, heads!, rows!, columns!]);
}

/** q (B, A, M, d) against k (B, A, N, d) -> scores (B, A, M, N), scaled by d^-0.5. k may have fewer heads, which are shared. */
export function attentionScores(q: Tensor, k: Tensor): Tensor {
  return matmulHeads(mul(q, (q.shape.at(-1) as number) ** -0.5), transpose(k, [0, 1, 3, 2]));
}

/**
 * softmax(q k^T d^-0.5 + mask) v for heads (B, A, M, d) over (B, A, N, d); mask (..., M, N) or none. k and v may have
 * fewer heads, which are shared.
 */
export function attend(q: Tensor, k: Tensor, v: Tensor, mask?: Tensor): Tensor {
  const scores = attentionScores(q, k);
  return matmulHeads(softmax(mask ? add(scores, mask) : scores), v);
}

/** How the heads of a block attend: q (B, A, M, d) over k, v (B, A or fewer, N, d) -> (B, A, M, d). */
export type Attend = (q: Tensor, k: Tensor, v: Tensor) => Tensor;

/** Keys and values (B, A, N, d) that may be attended to, and what is added to the scores over them. */
export interface KeysAndValues {
  readonly keys: Tensor;
  readonly values: Tensor;
  /** 0 where a key may be seen, -Infinity elsewhere, (..., M, N). */
  readonly mask: Tensor;
}

/**
 * softmax([q k_old^T, q k_new^T] d^-0.5 + masks) [v_old; v_new] without joining old and new: both parts share one
 * maximum and one sum. q (B, A, T, d), old of length N, fresh of length T -> (B, A, T, d).
 */
export function attendInParts(q: Tensor, old: KeysAndValues, fresh: KeysAndValues): Tensor {
  const parts = [old, fresh].map(({ keys, values, mask }) => ({ values, scores: add(attentionScores(q, keys), mask) }));
  const [first, second] = parts.map(({ scores }) => reduceMax(scores, [-1]));
  const largest = maximum(first!, second!);
  const weighted = parts.map(({ scores, values }) => {
    const weights = exp(sub(scores, largest));
    return { sum: reduceSum(weights, [-1]), mixed: matmulHeads(weights, values) };
  });
  const [a, b] = weighted;
  return div(add(a!.mixed, b!.mixed), add(a!.sum, b!.sum));
}

/** (N, N): 0 where position i may see j <= i, -Infinity above the diagonal. */
export function causalMask(graph: Graph, length: number): Tensor {
  const data = new Float32Array(length * length);
  for (let i = 0; i < length; i++) data.fill(Number.NEGATIVE_INFINITY, i * length + i + 1, (i + 1) * length);
  return graph.constant(ndarray("f32", [length, length], data));
}
