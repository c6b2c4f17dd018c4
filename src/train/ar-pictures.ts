/**
 * Reads pictures for the unified transformer with a token encoder that stays as it is: ids -> token features.
 *
 * Dim letters: P pictures, N ids of a picture, F width of token features.
 */
import { type NDArray, ndarray } from "../core/index.ts";
import { Graph } from "../graph/index.ts";
import { gridOf, NAMES, PREFIXES, type ToklipConfig, tokenEncoder, vqOf } from "../models/index.ts";
import { Scope } from "../nn/index.ts";
import type { Backend, Session } from "../runtime/index.ts";
import type { PictureReader } from "./ar-trainer.ts";
import { runInParts, type WeightSource } from "./frozen-encoders.ts";

/** Pictures that are read at once; more are hardly quicker. */
const AT_ONCE = 8;

/** The token encoder without its pooling: `ids` i32 (B, N) -> `token_features` f32 (B, N, F). */
export function tokenFeatureGraph(encoder: ToklipConfig): Graph {
  const graph = new Graph();
  const ids = graph.input(NAMES.ids, "i32", ["B", gridOf(encoder.trunk).tokens]);
  const scope = new Scope(graph).at(PREFIXES.trunk);
  graph.output(NAMES.tokenFeatures, tokenEncoder(scope, ids, encoder.trunk, vqOf(encoder)));
  return graph;
}

/** What a reader of pictures is made of. */
export interface FeatureReaderOptions {
  readonly backend: Backend;
  readonly encoder: ToklipConfig;
  readonly weights: WeightSource;
}

/** Reads token features; compiled when they are first wanted. */
export function createFeatureReader({ backend, encoder, weights: weight }: FeatureReaderOptions): PictureReader {
  const { tokens } = gridOf(encoder.trunk);
  let session: Promise<Session> | undefined;
  return {
    buffers: new Map(),
    restore: () => {},
    read: async (pictures) => {
      session ??= backend.compile({ name: "token_features", graph: tokenFeatureGraph(encoder), weight });
      const ids = ndarray("i32", [pictures.length, tokens]);
      for (const [i, picture] of pictures.entries()) ids.data.set(picture, i * tokens);
      const fetched = await runInParts(await session, { [NAMES.ids]: ids }, AT_ONCE);
      return fetched[NAMES.tokenFeatures] as NDArray<"f32">;
    },
    dispose: async () => {
      await (await session)?.dispose();
    },
  };
}
