/**
 * Rotary positions (RoFormer, arXiv 2104.09864): each pair of elements of a query or key is turned by an angle that grows
 * with the position, so that their inner product depends on the distance. Along a line all pairs turn with the place. On a
 * grid, the first half of a head turns with the row and the second with the column, as LlamaGen (arXiv 2406.06525) has
 * it. Pairs are neighbours: (0, 1), (2, 3), ...
 *
 * Dim letters: B batch, L length, A heads, d head width, P places.
 */
import { type NDArray, ndarray } from "../core/index.ts";
import { add, type Graph, matmul, mul, reshape, type Tensor } from "../graph/index.ts";

/** The cosine and the sine of each place, both f32 (P, d); the two elements of a pair have the same. */
export interface RotaryTable {
  readonly cos: NDArray<"f32">;
  readonly sin: NDArray<"f32">;
}

/** The cosine and sine of the positions at hand, both (L, d), or (B, L, d) where each row has positions of its own. */
export interface Rotary {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** A line of places. */
export interface LineRotaryOptions {
  readonly length: number;
  /** d, a multiple of 2. */
  readonly headWidth: number;
  readonly base: number;
}

/** The table of a line: P = length, pair m turns by place * base^(-2m/d). */
export function lineRotaryTable({ length, headWidth, base }: LineRotaryOptions): RotaryTable {
  const shape = [length, headWidth];
  const [cos, sin] = [ndarray("f32", shape), ndarray("f32", shape)];
  for (let place = 0; place < length; place++) {
    for (let i = 0; i < headWidth; i++) {
      const angle = place * base ** (-(i - (i % 2)) / headWidth);
      cos.data[place * headWidth + i] = Math.cos(angle);
      sin.data[place * headWidth + i] = Math.sin(angle);
    }
  }
  return { cos, sin };
}

/** A grid of places behind a few that have none. */
export interface GridRotaryOptions {
  readonly side: number;
  /** d, a multiple of 4. */
  readonly headWidth: number;
  readonly base: number;
  /** Places before the grid. Their cosine and sine are both 0: queries and keys there become 0, which is not unturned. */
  readonly before: number;
}

/** The table of a grid in row-major order: P = before + side * side. */
export function gridRotaryTable({ side, headWidth, base, before }: GridRotaryOptions): RotaryTable {
  const shape = [before + side * side, headWidth];
  const [cos, sin] = [ndarray("f32", shape), ndarray("f32", shape)];
  const half = headWidth / 2;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const start = (before + y * side + x) * headWidth;
      for (let i = 0; i < headWidth; i++) {
        // Pairs of a half share their frequencies with those of the other half.
        const pair = Math.floor((i % half) / 2);
        const angle = (i < half ? y : x) * base ** ((-2 * pair) / half);
        cos.data[start + i] = Math.cos(angle);
        sin.data[start + i] = Math.sin(angle);
      }
    }
  }
  return { cos, sin };
}

/** (d, d): (a, b) -> (-b, a) for each pair of a row. As a product it is faster than any moving of elements. */
function quarterTurn(graph: Graph, headWidth: number): Tensor {
  const turn = ndarray("f32", [headWidth, headWidth]);
  for (let i = 0; i < headWidth; i += 2) {
    turn.data[(i + 1) * headWidth + i] = -1;
    turn.data[i * headWidth + i + 1] = 1;
  }
  return graph.constant(turn);
}

/** Turns each pair: (a, b) -> (a cos - b sin, b cos + a sin). x (B, L, A, d) -> (B, L, A, d). */
export function rotate(x: Tensor, { cos, sin }: Rotary): Tensor {
  const headWidth = x.shape.at(-1) as number;
  const perHead = (table: Tensor) => reshape(table, [...table.shape.slice(0, -1), 1, headWidth]);
  return add(mul(x, perHead(cos)), mul(matmul(x, quarterTurn(x.graph, headWidth)), perHead(sin)));
}
