/**
 * The unified transformer: one decoder that reads and writes text and pictures with standard next-token prediction over one
 * vocabulary (Chameleon, arXiv 2405.09818), where pictures may enter by the token features of a causal encoder over their
 * ids (TokLIP, arXiv 2505.05422). The feature of an id depends on it and those before it, so that reading it at the
 * position of that id leaks nothing of what is to be written.
 *
 * The blocks are those of `nn/decoder.ts`, with rotary positions along the sample. Parameter names are those of LlamaGen's
 * GPT, beside `image_projection` and `semantic_embeddings`. This is the form of training; `ar-step.ts` has the cached one.
 *
 * Dim letters: B rows, L positions of a row, D width, V vocabulary, F width of token features, Q semantic codes, d head
 * width, M pictures, N ids of a picture.
 */
import { ndarray, ToklipError } from "../core/index.ts";
import {
  add,
  concat,
  equal,
  flattenRows,
  type Graph,
  gather,
  gelu,
  less,
  reshape,
  type Tensor,
  where,
} from "../graph/index.ts";
import {
  attend,
  causalMask,
  decoderBlocks,
  decoderHead,
  linear,
  lineRotaryTable,
  type Rotary,
  type Scope,
} from "../nn/index.ts";
import type { ArConfig, ArEntry } from "./ar-config.ts";
import { arVocabulary } from "./ar-vocabulary.ts";
import { codesOfLevel, semanticCodes } from "./semantic-codes.ts";

/** Rows of packed samples. */
export interface ArRows {
  /** i32 (B, L). */
  readonly ids: Tensor;
  /** i32 (B, L): the sample of each position, counted from 1 in its row; 0 is padding. */
  readonly segments: Tensor;
  /** i32 (B, L): the place of each position in its sample, from 0. */
  readonly positions: Tensor;
  /**
   * What else is known of the ids of pictures, for entries that read it; of other positions nothing is read. Token features
   * f32 (B, L, F), or their semantic codes i32 (B, L, Q).
   */
  readonly image?: Tensor;
}

/** fc2(gelu(fc1(features))): (B, L, F) -> (B, L, D). */
function projectFeatures(scope: Scope, features: Tensor, { width }: ArConfig): Tensor {
  return linear(scope.at("fc2"), gelu(linear(scope.at("fc1"), features, width), "tanh"), width);
}

/** The sum of the embeddings of all levels: codes i32 (B, L, Q), or features f32 (B, L, F) of which they are made. */
function embedCodes(scope: Scope, image: Tensor, { semanticCodes: config, width }: ArConfig): Tensor {
  const codes = image.dtype === "i32" ? image : semanticCodes(scope, image, config!);
  const rows = Array.from({ length: config!.levels }, (_, level) =>
    gather(scope.parameter(`semantic_embeddings.${level}.weight`, [config!.size, width]), codesOfLevel(codes, level)),
  );
  return rows.reduce((sum, row) => add(sum, row));
}

/** What each entry makes of a picture's ids, (B, L, D), beside or in place of their embeddings. */
const ENTRIES: Readonly<
  Record<
    Exclude<ArEntry, "vq">,
    { readonly added: boolean; readonly embed: (scope: Scope, image: Tensor, config: ArConfig) => Tensor }
  >
> = {
  toklip: {
    added: false,
    embed: (scope, image, config) => projectFeatures(scope.at("image_projection"), image, config),
  },
  "toklip+vq": {
    added: true,
    embed: (scope, image, config) => projectFeatures(scope.at("image_projection"), image, config),
  },
  "semantic-codes": { added: false, embed: embedCodes },
};

/**
 * Embeds ids i32 (B, L) as the configuration's entry says: (B, L, D).
 * @throws GRAPH_INVALID without the features that the entry reads
 */
export function arEmbedding(scope: Scope, { ids, image }: Pick<ArRows, "ids" | "image">, config: ArConfig): Tensor {
  const { size, imageStart } = arVocabulary(config);
  const embedded = gather(scope.parameter("tok_embeddings.weight", [size, config.width]), ids);
  if (config.entry === "vq") return embedded;
  if (image === undefined) throw new ToklipError("GRAPH_INVALID", `entry ${config.entry}: no image features are given`);
  const isImage = reshape(less(imageStart - 1, ids), [...ids.shape, 1]);
  const { added, embed } = ENTRIES[config.entry];
  const seen = embed(scope, image, config);
  return added ? add(embedded, where(isImage, seen, 0)) : where(isImage, seen, embedded);
}

/** Cosine and sine of positions i32 (...), both (..., d). */
export function arRotary(positions: Tensor, { width, numHeads, contextLength, rotaryBase }: ArConfig): Rotary {
  const { graph } = positions;
  const table = lineRotaryTable({ length: contextLength, headWidth: width / numHeads, base: rotaryBase });
  return { cos: gather(graph.constant(table.cos), positions), sin: gather(graph.constant(table.sin), positions) };
}

/** Each position sees itself and those before it in its segment: i32 (B, L) -> (B, 1, L, L), to add to scores. */
export function packedMask(segments: Tensor): Tensor {
  const [batch, length] = segments.shape as [number | string, number];
  const same = equal(reshape(segments, [batch, 1, length, 1]), reshape(segments, [batch, 1, 1, length]));
  return where(same, causalMask(segments.graph, length), Number.NEGATIVE_INFINITY);
}

/**
 * Logits f32 (B, L, V) of the id after each position.
 * @throws GRAPH_INVALID without the features that the entry reads
 */
export function arLogits(scope: Scope, rows: ArRows, config: ArConfig): Tensor {
  const mask = packedMask(rows.segments);
  const embedded = arEmbedding(scope, rows, config);
  const attention = () => (q: Tensor, k: Tensor, v: Tensor) => attend(q, k, v, mask);
  const x = decoderBlocks(scope, embedded, arRotary(rows.positions, config), attention, config);
  return decoderHead(scope, x, arVocabulary(config).size, config);
}

/**
 * Token features where rows have the ids they belong to: features f32 (M, N, F), places i32 (B, L) -> (B, L, F). A place
 * counts the ids of all pictures, m N + n; -1 stands for what is no id of a picture. Gradients flow back to the features, so
 * that the encoder can be trained through.
 */
export function placeFeatures(features: Tensor, places: Tensor): Tensor {
  const { graph } = features;
  const width = features.shape.at(-1) as number;
  // Place -1 is row 0.
  const rows = concat([graph.constant(ndarray("f32", [1, width])), flattenRows(features)], 0);
  return gather(rows, add(places, 1));
}

/** The names of the inputs of a graph of training. */
export const AR_ROWS = { ids: "ids", segments: "segments", positions: "positions", image: "image" } as const;

/**
 * The inputs of the rows of a graph of training.
 * @param image what of pictures is fed beside their ids, for an entry that reads it: by default their features; nothing where
 * the graph makes them itself, of an encoder that is trained through
 */
export function arRowInputs(
  graph: Graph,
  { batch, length }: { readonly batch: number; readonly length: number },
  { entry, featureWidth, semanticCodes: codes }: ArConfig,
  image: "features" | "codes" | "nothing" = "features",
): ArRows {
  const whole = (name: string) => graph.input(name, "i32", [batch, length]);
  const rows = {
    ids: whole(AR_ROWS.ids),
    segments: whole(AR_ROWS.segments),
    positions: whole(AR_ROWS.positions),
  };
  if (entry === "vq" || image === "nothing") return rows;
  const input =
    image === "features"
      ? graph.input(AR_ROWS.image, "f32", [batch, length, featureWidth])
      : graph.input(AR_ROWS.image, "i32", [batch, length, codes?.levels ?? 0]);
  return { ...rows, image: input };
}
