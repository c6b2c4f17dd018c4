/**
 * Multinomial logistic regression with a quadratic penalty:
 *
 *     minimise  mean_i -log softmax(W x_i + b)[y_i] + penalty / 2 * |W|^2
 *
 * The bias bears no penalty. In the terms of a library that weighs the data by C against |W|^2 / 2, penalty = 1 / (C N).
 * The loss is a traced graph, its gradient is derived, and both run on the compute engine a block of rows at a time, so that
 * the rows may be more than memory holds.
 *
 * Dim letters: N rows, B rows of a block, D width, K classes.
 */
import { type LongCallOptions, type NDArray, ndarray } from "../core/index.ts";
import {
  cast,
  equal,
  Graph,
  gemm,
  gradients,
  logSoftmax,
  mul,
  neg,
  reduceSum,
  reshape,
  type Tensor,
} from "../graph/index.ts";
import type { Backend, Session } from "../runtime/index.ts";
import { type Minimum, minimize, norm, type Slope } from "./lbfgs.ts";

/** Rows of which the classes are known. All blocks have one shape; rows after the last are zeros. */
export interface LabelledBlock {
  /** f32 (B, D). */
  readonly features: NDArray<"f32">;
  /** i32 (B), in [0, K). */
  readonly labels: NDArray<"i32">;
  /** f32 (B): 1 for rows that count, 0 for the others. */
  readonly mask: NDArray<"f32">;
  /** How many rows count. */
  readonly count: number;
}

/** The blocks of a data set, as often as asked. */
export type LabelledBlocks = () => AsyncIterable<LabelledBlock> | Iterable<LabelledBlock>;

/** Weights (K, D) and bias (K), row after row in one array. */
export type ProbeWeights = Float64Array;

/** What is to be minimised. */
export interface FitOptions extends LongCallOptions {
  readonly penalty: number;
  readonly maxIterations: number;
  /** The search ends where the gradient is this much smaller than at zero. Default 1e-4. */
  readonly gradientShare?: number;
  /** Where the search begins; at zero where absent. */
  readonly start?: ProbeWeights | undefined;
}

const GRADIENT_SHARE = 1e-4;

/** A regression of K classes on D features, on a compute engine. */
export class SoftmaxRegression {
  private readonly classes: number;
  private readonly width: number;
  private readonly slopes: Session;
  private readonly scores: Session;

  private constructor(classes: number, width: number, slopes: Session, scores: Session) {
    this.classes = classes;
    this.width = width;
    this.slopes = slopes;
    this.scores = scores;
  }

  /** Compiles its graphs for blocks of `rows` rows. */
  static async compile(
    backend: Backend,
    { classes, width, rows }: { readonly classes: number; readonly width: number; readonly rows: number },
    options: LongCallOptions = {},
  ): Promise<SoftmaxRegression> {
    const weight = async () => ({ kind: "fed" }) as const;
    const compile = (name: string, graph: Graph) => backend.compile({ name, graph, weight }, options);
    const slopes = await compile("probe-slopes", slopeGraph(rows, width, classes));
    return new SoftmaxRegression(
      classes,
      width,
      slopes,
      await compile("probe-scores", scoreGraph(rows, width, classes)),
    );
  }

  /** Finds the weights for a penalty. @throws ABORTED, RUNTIME_FAILED, OUT_OF_MEMORY */
  async fit(blocks: LabelledBlocks, options: FitOptions): Promise<Minimum> {
    const { penalty, maxIterations, gradientShare = GRADIENT_SHARE, start, signal } = options;
    const zero = new Float64Array(this.classes * (this.width + 1));
    const evaluate = (point: ProbeWeights) => this.slope(blocks, point, penalty, signal);
    const gradientNorm = gradientShare * norm((await evaluate(zero)).gradient);
    return minimize(evaluate, start ?? zero, { gradientNorm, maxIterations, signal });
  }

  /** The scores W x + b of a block's rows, f32 (B, K). */
  async score(features: NDArray<"f32">, weights: ProbeWeights, options: LongCallOptions = {}): Promise<NDArray<"f32">> {
    return (await this.scores.run({ x: features, ...this.feeds(weights) }, options)).scores as NDArray<"f32">;
  }

  /** Value and gradient over all rows. */
  private async slope(
    blocks: LabelledBlocks,
    point: ProbeWeights,
    penalty: number,
    signal?: AbortSignal,
  ): Promise<Slope> {
    const feeds = this.feeds(point);
    const gradient = new Float64Array(point.length);
    const biasAt = this.classes * this.width;
    let [sum, count] = [0, 0];
    for await (const { features, labels, mask, count: rows } of blocks()) {
      const result = await this.slopes.run({ x: features, y: labels, mask, ...feeds }, { signal });
      const [loss, weight, bias] = [result.loss, result["d.weight"], result["d.bias"]] as NDArray<"f32">[];
      sum += loss!.data[0]!;
      count += rows;
      for (let i = 0; i < biasAt; i++) gradient[i]! += weight!.data[i]!;
      for (let i = 0; i < this.classes; i++) gradient[biasAt + i]! += bias!.data[i]!;
    }
    let squares = 0;
    for (let i = 0; i < gradient.length; i++) {
      gradient[i]! /= count;
      if (i >= biasAt) continue;
      gradient[i]! += penalty * point[i]!;
      squares += point[i]! ** 2;
    }
    return { value: sum / count + (penalty / 2) * squares, gradient };
  }

  private feeds(point: ProbeWeights): { weight: NDArray<"f32">; bias: NDArray<"f32"> } {
    const { classes, width } = this;
    const biasAt = classes * width;
    return {
      weight: ndarray("f32", [classes, width], Float32Array.from(point.subarray(0, biasAt))),
      bias: ndarray("f32", [classes], Float32Array.from(point.subarray(biasAt))),
    };
  }
}

/** W x + b: (B, D) -> (B, K). */
function linear(graph: Graph, rows: number, width: number, classes: number) {
  const x = graph.input("x", "f32", [rows, width]);
  const weight = graph.input("weight", "f32", [classes, width]);
  const bias = graph.input("bias", "f32", [classes]);
  return { weight, bias, scores: gemm(x, weight, bias, { transB: true }) };
}

function scoreGraph(rows: number, width: number, classes: number): Graph {
  const graph = new Graph();
  graph.output("scores", linear(graph, rows, width, classes).scores);
  return graph;
}

/** The sum of the losses of the rows that count, and its gradients. */
function slopeGraph(rows: number, width: number, classes: number): Graph {
  const graph = new Graph();
  const { weight, bias, scores } = linear(graph, rows, width, classes);
  const own = mul(logSoftmax(scores), oneHot(graph.input("y", "i32", [rows]), classes)); // (B, K)
  const losses = neg(reduceSum(own, [1])); // (B, 1)
  const mask = reshape(graph.input("mask", "f32", [rows]), [rows, 1]);
  const loss = reduceSum(mul(losses, mask), [0, 1]);
  const [dWeight, dBias] = gradients(loss, [weight, bias]);
  graph.output("loss", loss);
  graph.output("d.weight", dWeight!);
  graph.output("d.bias", dBias!);
  return graph;
}

/** 1 at each row's class, 0 elsewhere: i32 (B) -> f32 (B, K). */
function oneHot(labels: Tensor, classes: number): Tensor {
  const [rows] = labels.shape as [number];
  const numbers = labels.graph.constant(
    ndarray(
      "i32",
      [1, classes],
      Int32Array.from({ length: classes }, (_, i) => i),
    ),
  );
  return cast(equal(reshape(labels, [rows, 1]), numbers), "f32");
}
