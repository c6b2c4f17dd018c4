/** Multi-head attention (Vaswani et al. 2017), written out: ONNX Runtime runs it at the speed of its products. */
import { ndarray } from "../core/index.ts";
import { add, type Graph, matmul, mul, reshape, softmax, split, type Tensor, transpose } from "../graph/index.ts";

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

/** q (B, A, M, d) against k (B, A, N, d) -> scores (B, A, M, N), scaled by d^-0.5. */
export function attentionScores(q: Tensor, k: Tensor): Tensor {
  return matmul(mul(q, (q.shape.at(-1) as number) ** -0.5), transpose(k, [0, 1, 3, 2]));
}

/** softmax(q k^T d^-0.5 + mask) v for heads (B, A, M, d) over (B, A, N, d); mask (M, N) or none. */
export function attend(q: Tensor, k: Tensor, v: Tensor, mask?: Tensor): Tensor {
  const scores = attentionScores(q, k);
  return matmul(softmax(mask ? add(scores, mask) : scores), v);
}

/** (N, N): 0 where position i may see j <= i, -Infinity above the diagonal. */
export function causalMask(graph: Graph, length: number): Tensor {
  const data = new Float32Array(length * length);
  for (let i = 0; i < length; i++) data.fill(Number.NEGATIVE_INFINITY, i * length + i + 1, (i + 1) * length);
  return graph.constant(ndarray("f32", [length, length], data));
}
