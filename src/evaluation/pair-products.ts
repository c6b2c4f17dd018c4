/**
 * The cosine of every row of one data set with every row of another, a block of each at a time: memory stays that of some
 * blocks, however large the data sets. Retrieval and nearest neighbours are loops over these.
 */
import { type LongCallOptions, type NDArray, ToklipError, throwIfAborted } from "../core/index.ts";
import { Graph, gemm } from "../graph/index.ts";
import type { Backend } from "../runtime/index.ts";
import type { FeatureRows } from "./feature-rows.ts";
import { type RowBlock, rowBlocks } from "./row-blocks.ts";

/** Inner products of all rows: f32 (M, D) and (N, D) -> (M, N). */
export type InnerProducts = (a: NDArray<"f32">, b: NDArray<"f32">) => Promise<NDArray<"f32">>;

/** Makes inner products of rows of `width` floats on a compute engine. */
export async function compileInnerProducts(
  backend: Backend,
  width: number,
  options: LongCallOptions = {},
): Promise<InnerProducts> {
  const graph = new Graph();
  const [a, b] = [graph.input("a", "f32", ["M", width]), graph.input("b", "f32", ["N", width])];
  graph.output("products", gemm(a, b, undefined, { transB: true }));
  const weight = () => Promise.reject(new ToklipError("INTERNAL", "inner products have no weights"));
  const session = await backend.compile({ name: "inner-products", graph, weight }, options);
  return async (a, b) => (await session.run({ a, b }, options)).products as NDArray<"f32">;
}

/** The products of one block of each side. */
export interface PairBlock {
  readonly a: RowBlock;
  readonly b: RowBlock;
  /** Row i of `a` with row j of `b` is at `i * stride + j`. */
  readonly scores: Float32Array;
  readonly stride: number;
}

/** How pairs are gone through. */
export interface PairOptions extends LongCallOptions {
  readonly products: InnerProducts;
  /** Which rows of each side take part, as of `rowBlocks`. */
  readonly keepA?: (label: number, row: number) => boolean;
  readonly keepB?: (label: number, row: number) => boolean;
  /** Which pairs of blocks are wanted, by the ranges of their rows; all where absent. */
  readonly wanted?: (a: RowBlock, b: RowBlock) => boolean;
  /** Rows a block: at most `[1024, 4096]`, the default. */
  readonly blockRows?: readonly [a: number, b: number];
  /** Rows of `a` that are held in memory while all of `b` passes by. Default: 256 MiB of them. */
  readonly heldRows?: number;
}

const HELD_BYTES = 2 ** 28;

/**
 * Goes through all pairs of blocks. For each row of `a` the rows of `b` come in order.
 * @throws SHAPE_MISMATCH, DATA_INVALID for features that are no numbers, ABORTED
 */
export async function* pairProducts(a: FeatureRows, b: FeatureRows, options: PairOptions): AsyncGenerator<PairBlock> {
  if (a.width !== b.width) {
    throw new ToklipError("SHAPE_MISMATCH", `features of ${a.width} floats cannot be compared with ${b.width}`);
  }
  const { products, wanted = () => true, signal, onProgress, blockRows = [1024, 4096] } = options;
  const [sizeA, sizeB] = [Math.min(blockRows[0], a.size), Math.min(blockRows[1], b.size)];
  const heldRows = options.heldRows ?? Math.max(sizeA, Math.floor(HELD_BYTES / (4 * a.width)));
  const total = Math.ceil(a.size / sizeA) * Math.ceil(b.size / sizeB);
  let done = 0;
  for await (const held of partsOf(rowBlocks(a, { size: sizeA, keep: options.keepA, signal }), heldRows)) {
    for await (const blockB of rowBlocks(b, { size: sizeB, keep: options.keepB, signal })) {
      for (const blockA of held) {
        throwIfAborted(signal, "compare");
        onProgress?.({ stage: "compare", done: done++, total, unit: "steps" });
        if (!wanted(blockA, blockB)) continue;
        const { data } = await products(blockA.features, blockB.features);
        yield { a: blockA, b: blockB, scores: data, stride: sizeB };
      }
    }
  }
  onProgress?.({ stage: "compare", done: total, total, unit: "steps" });
}

/** Groups of blocks that hold at most so many rows together, or one block. */
async function* partsOf(blocks: AsyncIterable<RowBlock>, rows: number): AsyncGenerator<RowBlock[]> {
  let part: RowBlock[] = [];
  let held = 0;
  for await (const block of blocks) {
    if (part.length > 0 && held + block.count > rows) {
      yield part;
      [part, held] = [[], 0];
    }
    part.push(block);
    held += block.count;
  }
  if (part.length > 0) yield part;
}
