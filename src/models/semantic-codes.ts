/**
 * Residual quantisation of token features (RQ-VAE, arXiv 2203.01941, equation 2; VILA-U, arXiv 2409.04429): the nearest row
 * of a first codebook, then of a second to what is left, and so on. The sum of the rows is the feature, nearly.
 *
 * Differs from both in that the codebooks are fitted to features that stay as they are (`k-means.ts`) and are not trained.
 *
 * Dim letters: M features, F their width, Q levels, K rows of a codebook.
 */
import { ToklipError } from "../core/index.ts";
import {
  add,
  argmax,
  concat,
  flattenRows,
  Graph,
  gather,
  gemm,
  mul,
  reduceSum,
  reshape,
  slice,
  square,
  sub,
  type Tensor,
} from "../graph/index.ts";
import { Scope } from "../nn/index.ts";
import type { ArConfig, SemanticCodesConfig } from "./ar-config.ts";

/** The name of the codebook of a level: fitted and stored, never trained. */
export const semanticCodebookName = (level: number): string => `semantic_codebooks.${level}.weight`;

function codebookOf(scope: Scope, level: number, { size }: SemanticCodesConfig, width: number): Tensor {
  return scope.parameter(semanticCodebookName(level), [size, width]);
}

/** The nearest row of each feature by Euclidean distance: features (M, F), table (K, F) -> i32 (M). */
export function nearestRows(features: Tensor, table: Tensor): Tensor {
  // |x - c|^2 = |x|^2 - 2 (x c - |c|^2 / 2)
  const halves = mul(reshape(reduceSum(square(table), [1]), [1, table.shape[0]!]), 0.5);
  return argmax(sub(gemm(features, table, undefined, { transB: true }), halves));
}

/** Features (..., F) -> codes i32 (..., Q), one for each level. */
export function semanticCodes(scope: Scope, features: Tensor, config: SemanticCodesConfig): Tensor {
  const width = features.shape.at(-1) as number;
  let rest = flattenRows(features);
  const codes: Tensor[] = [];
  for (let level = 0; level < config.levels; level++) {
    const table = codebookOf(scope, level, config, width);
    const nearest = nearestRows(rest, table);
    codes.push(reshape(nearest, [rest.shape[0]!, 1]));
    rest = sub(rest, gather(table, nearest));
  }
  return reshape(concat(codes, 1), [...features.shape.slice(0, -1), config.levels]);
}

/** The codes of one level, (..., Q) -> (...). */
export function codesOfLevel(codes: Tensor, level: number): Tensor {
  const axis = codes.shape.length - 1;
  return reshape(slice(codes, axis, level, level + 1), codes.shape.slice(0, axis));
}

/** Codes i32 (..., Q) -> features (..., F), the sum of their rows. */
export function featuresOfCodes(scope: Scope, codes: Tensor, config: SemanticCodesConfig, width: number): Tensor {
  const rows = Array.from({ length: config.levels }, (_, level) =>
    gather(codebookOf(scope, level, config, width), codesOfLevel(codes, level)),
  );
  return rows.reduce((sum, row) => add(sum, row));
}

/** The names of the input and the outputs of the graph of `traceSemanticCodes`. */
export const SEMANTIC_CODES = { features: "features", codes: "codes", quantized: "quantized" } as const;

/**
 * Features f32 (M, F) -> codes i32 (M, Q), and the features that these stand for, f32 (M, F).
 * @throws GRAPH_INVALID for an entry that has no codes
 */
export function traceSemanticCodes({ name, entry, featureWidth, semanticCodes: config }: ArConfig): Graph {
  if (config === undefined) throw new ToklipError("GRAPH_INVALID", `${name}: the entry ${entry} has no semantic codes`);
  const graph = new Graph();
  const scope = new Scope(graph);
  const codes = semanticCodes(scope, graph.input(SEMANTIC_CODES.features, "f32", ["M", featureWidth]), config);
  graph.output(SEMANTIC_CODES.codes, codes);
  graph.output(SEMANTIC_CODES.quantized, featuresOfCodes(scope, codes, config, featureWidth));
  return graph;
}
