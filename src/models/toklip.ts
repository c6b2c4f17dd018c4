/**
 * TokLIP (arXiv 2505.05422): a frozen VQ tokenizer, a causal token encoder over its ids, and a text tower whose features
 * share a space with the pooled image features. This file says which graphs a model consists of, what they are fed,
 * and which parameters a checkpoint must hold; the parts are in `vq.ts`, `token-encoder.ts`, `text-encoder.ts`,
 * `pixel-encoder.ts`.
 *
 * Follows `CustomTextCLIP` of open_clip with a `TimmModel` image tower. Training is not here.
 *
 * Dim letters: B batch, N image tokens, T text length, D embedding width, H W pixels, h w grid.
 */
import { ToklipError } from "../core/index.ts";
import { Graph, reshape } from "../graph/index.ts";
import { Scope } from "../nn/index.ts";
import type { ToklipConfig, VqConfig } from "./config.ts";
import { pixelEncoder } from "./pixel-encoder.ts";
import { textEncoder } from "./text-encoder.ts";
import { poolTokens, tokenEncoder, tokenEncoderStep } from "./token-encoder.ts";
import { gridOf } from "./vision-transformer.ts";
import { decodeIds, encodeIds } from "./vq.ts";

/** The prefixes of the reference's state dict. */
export const PREFIXES = { trunk: "visual.trunk", vq: "visual.trunk.vq", text: "text" } as const;

/** The names of graph inputs and outputs. */
export const NAMES = {
  pixels: "pixels",
  ids: "ids",
  textIds: "text_ids",
  tokenFeatures: "token_features",
  imageFeatures: "image_features",
  textFeatures: "text_features",
} as const;

type Trace = (graph: Graph, config: ToklipConfig) => void;

/** The VQ of a configuration. @throws CONFIG_INVALID for a pixel model, which has none. */
export function vqOf({ vq, name }: ToklipConfig): VqConfig {
  if (vq === undefined) throw new ToklipError("CONFIG_INVALID", `${name}: a pixel model has no image ids`);
  return vq;
}

function pixelsOf(graph: Graph, { trunk }: ToklipConfig) {
  return graph.input(NAMES.pixels, "f32", ["B", 3, trunk.imageSize, trunk.imageSize]);
}

/** Every graph of a model: what it is called, and what it computes. */
export const GRAPHS = {
  /** pixels (B, 3, H, W) -> ids i32 (B, h, w) */
  vq_encoder: (graph, config) => {
    graph.output(NAMES.ids, encodeIds(new Scope(graph).at(PREFIXES.vq), pixelsOf(graph, config), vqOf(config)));
  },
  /** ids i32 (B, h, w) -> pixels (B, 3, H, W) */
  vq_decoder: (graph, config) => {
    const { side } = gridOf(config.trunk);
    const ids = graph.input(NAMES.ids, "i32", ["B", side, side]);
    graph.output(NAMES.pixels, decodeIds(new Scope(graph).at(PREFIXES.vq), ids, vqOf(config)));
  },
  /** ids i32 (B, h, w) -> token features (B, N, D), image features (B, D) */
  token_encoder: (graph, config) => {
    const { side, tokens } = gridOf(config.trunk);
    const scope = new Scope(graph).at(PREFIXES.trunk);
    const ids = reshape(graph.input(NAMES.ids, "i32", ["B", side, side]), ["B", tokens]);
    const features = tokenEncoder(scope, ids, config.trunk, vqOf(config));
    graph.output(NAMES.tokenFeatures, features);
    graph.output(NAMES.imageFeatures, poolTokens(scope, features, config.trunk));
  },
  /** The token encoder one step at a time: see `tokenEncoderStep`. */
  token_encoder_step: (graph, config) => {
    tokenEncoderStep(new Scope(graph).at(PREFIXES.trunk), config.trunk, vqOf(config));
  },
  /** pixels (B, 3, H, W) -> patch features (B, N, D), image features (B, D): the pixel teacher */
  pixel_encoder: (graph, config) => {
    const features = pixelEncoder(new Scope(graph).at(PREFIXES.trunk), pixelsOf(graph, config), config.trunk);
    graph.output(NAMES.tokenFeatures, features.tokenFeatures);
    graph.output(NAMES.imageFeatures, features.imageFeatures);
  },
  /** text ids i32 (B, T) -> text features (B, D) */
  text_encoder: (graph, { text, embedDim }) => {
    const ids = graph.input(NAMES.textIds, "i32", ["B", text.contextLength]);
    graph.output(NAMES.textFeatures, textEncoder(new Scope(graph).at(PREFIXES.text), ids, text, embedDim));
  },
} as const satisfies Record<string, Trace>;

/** The name of a graph of a model. */
export type GraphName = keyof typeof GRAPHS;

/** Traces one graph of a model. */
export function traceGraph(name: GraphName, config: ToklipConfig): Graph {
  const graph = new Graph();
  GRAPHS[name](graph, config);
  return graph;
}

/** The graphs that a configuration has, the text tower aside. */
export function imageGraphs(config: ToklipConfig): readonly GraphName[] {
  return config.vq ? ["vq_encoder", "vq_decoder", "token_encoder"] : ["pixel_encoder"];
}

/**
 * The shapes of all parameters of the given graphs, by name: found by tracing them. `logit_scale` and `logit_bias` are
 * not among them.
 */
export function parameterShapes(
  config: ToklipConfig,
  graphs: readonly GraphName[] = [...imageGraphs(config), "text_encoder"],
): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const name of graphs) {
    for (const [parameter, { shape }] of traceGraph(name, config).parameters) shapes.set(parameter, shape as number[]);
  }
  return shapes;
}
