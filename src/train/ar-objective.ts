/**
 * What the training of the unified transformer minimises, as one graph: the cross entropy of each id that is to be
 * predicted, weighted by its loss. With the token encoder trained through, its graph is part of this one.
 *
 * Weights are fed divided by their sum over the whole batch, so that losses and gradients of parts, and of processes, add up
 * to those of the batch.
 *
 * Dim letters: B rows of a part, L positions of a row, N ids of a picture, M pictures of a part, F width of token features.
 */
import { type Graph, maximum, mul, type Tensor } from "../graph/index.ts";
import { sumOf, tokenLosses } from "../losses/index.ts";
import {
  AR_ROWS,
  type ArConfig,
  type ArRows,
  arLogits,
  arRowInputs,
  PREFIXES,
  placeFeatures,
  type ToklipConfig,
  tokenEncoder,
  vqOf,
} from "../models/index.ts";
import { Scope } from "../nn/index.ts";
import { AR_LOSSES, type ArLoss } from "./ar-sequences.ts";
import { type TracedLoss, trainingGraph } from "./training-graph.ts";

/** The names of the inputs besides those of `AR_ROWS`. */
export const AR_INPUTS = {
  ...AR_ROWS,
  targets: "targets",
  pictures: "pictures",
  places: "places",
  /** The weights of the targets of a loss. */
  weights: (loss: ArLoss) => `weights.${loss}`,
} as const;

/** What one part of a batch is computed from. */
export interface ArPartOptions {
  readonly model: ArConfig;
  /** The token encoder that is trained through; absent where what is read of pictures is fed. */
  readonly encoder?: ToklipConfig | undefined;
  /** B. */
  readonly partSize: number;
  /** The losses that have a weight. */
  readonly losses: readonly ArLoss[];
}

/** The most pictures that a row can hold. */
export function picturesPerRow({ contextLength, imageTokens }: ArConfig): number {
  // <bos> <null> <image> and the ids: the shortest sequence that has a picture.
  return Math.floor(contextLength / (imageTokens + 3));
}

/**
 * The graph of a part: inputs `ids`, `segments`, `positions`, `targets` i32 (B, L) and `weights.<loss>` f32 (B, L); `image`
 * as `arRowInputs` has it or, where the encoder is trained, `pictures` i32 (M, N) and `places` i32 (B, L); outputs
 * `part.<loss>` and `d.<parameter>`.
 */
export function arTrainingGraph(
  options: ArPartOptions,
  { trained, recompute }: { readonly trained: (name: string) => boolean; readonly recompute: boolean },
): Graph {
  return trainingGraph((graph) => ({ parts: traceLosses(graph, options) }), { trained, recompute });
}

/** Traces the losses alone: `part.<loss>`. */
export function arEvaluationGraph(graph: Graph, options: ArPartOptions): Graph {
  for (const [loss, part] of Object.entries(traceLosses(graph, options))) graph.output(`part.${loss}`, part);
  return graph;
}

function traceLosses(graph: Graph, options: ArPartOptions): TracedLoss["parts"] {
  const { model, partSize, losses } = options;
  const size = [partSize, model.contextLength] as const;
  const rows = options.encoder === undefined ? fedRows(graph, options) : encodedRows(graph, options, options.encoder);
  const logits = arLogits(new Scope(graph), rows, model);
  const targets = graph.input(AR_INPUTS.targets, "i32", size);
  const each = tokenLosses(logits, maximum(targets, 0)); // -1 has weight 0
  return Object.fromEntries(
    AR_LOSSES.filter((loss) => losses.includes(loss)).map((loss): [string, Tensor] => [
      loss,
      sumOf(mul(each, graph.input(AR_INPUTS.weights(loss), "f32", size))),
    ]),
  );
}

function fedRows(graph: Graph, { model, partSize }: ArPartOptions): ArRows {
  const image = model.entry === "semantic-codes" ? "codes" : "features";
  return arRowInputs(graph, { batch: partSize, length: model.contextLength }, model, image);
}

/** Rows whose pictures the token encoder reads within the graph. */
function encodedRows(graph: Graph, { model, partSize }: ArPartOptions, encoder: ToklipConfig): ArRows {
  const size = [partSize, model.contextLength] as const;
  const rows = arRowInputs(graph, { batch: partSize, length: model.contextLength }, { ...model, entry: "vq" });
  const pictures = graph.input(AR_INPUTS.pictures, "i32", [partSize * picturesPerRow(model), model.imageTokens]);
  const features = tokenEncoder(new Scope(graph).at(PREFIXES.trunk), pictures, encoder.trunk, vqOf(encoder));
  return { ...rows, image: placeFeatures(features, graph.input(AR_INPUTS.places, "i32", size)) };
}
