/**
 * Reads pictures for the unified transformer with a token encoder that stays as it is: ids -> token features, and where the
 * entry wants that, their semantic codes.
 *
 * Dim letters: P pictures, N ids of a picture, F width of token features, Q semantic codes, M = P N.
 */
import { bytesOf, concatRows, type NDArray, ndarray, rows, ToklipError, viewBytes } from "../core/index.ts";
import { KEY_BYTES, type RowTable } from "../data/row-table.ts";
import { Graph } from "../graph/index.ts";
import {
  type ArConfig,
  fitSemanticCodebooks,
  gridOf,
  NAMES,
  PREFIXES,
  SEMANTIC_CODES,
  semanticCodebookName,
  type ToklipConfig,
  tokenEncoder,
  traceSemanticCodes,
  vqOf,
} from "../models/index.ts";
import { Scope } from "../nn/index.ts";
import type { Backend, Session } from "../runtime/index.ts";
import type { PictureReader } from "./ar-trainer.ts";
import { runInParts, type WeightSource } from "./frozen-encoders.ts";
import type { TensorMap } from "./trainer.ts";

/** Pictures that are read at once; more are hardly quicker. */
const AT_ONCE = 8;

/** Features that codebooks are fitted to, for each of their rows. */
const FEATURES_PER_ROW = 16;

/** How many of them a picture gives, where there are pictures enough. */
const PLACES_PER_PICTURE = 16;

/** The token encoder without its pooling: `ids` i32 (B, N) -> `token_features` f32 (B, N, F). */
export function tokenFeatureGraph(encoder: ToklipConfig): Graph {
  const graph = new Graph();
  const ids = graph.input(NAMES.ids, "i32", ["B", gridOf(encoder.trunk).tokens]);
  const scope = new Scope(graph).at(PREFIXES.trunk);
  graph.output(NAMES.tokenFeatures, tokenEncoder(scope, ids, encoder.trunk, vqOf(encoder)));
  return graph;
}

/** What makes token features f32 (P, N, F) of pictures. */
export interface FeatureReader {
  /** Ids of pictures, N each -> features f32 (pictures, N, F). */
  read(pictures: readonly Int32Array[]): Promise<NDArray<"f32">>;
  /** Frees its graph. */
  dispose(): Promise<void>;
}

/** What a reader of token features is made of. */
export interface FeatureReaderOptions {
  readonly backend: Backend;
  readonly encoder: ToklipConfig;
  readonly weights: WeightSource;
}

/** Computes token features; compiled when they are first wanted. */
export function createFeatureReader({ backend, encoder, weights: weight }: FeatureReaderOptions): FeatureReader {
  const { tokens } = gridOf(encoder.trunk);
  let session: Promise<Session> | undefined;
  return {
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

/**
 * A reader that computes the features of each picture once: those of variants that a table has are taken from there.
 * @param shape of the features of one picture, (N, F)
 * @param digest a hash that two different pictures will not share; its first 16 bytes are used
 */
export function cachedFeatureReader(
  reader: FeatureReader,
  table: RowTable,
  shape: readonly [number, number],
  digest: (bytes: Uint8Array) => Uint8Array,
): FeatureReader {
  const oneOf = (row: Uint8Array) =>
    ndarray("f32", [1, ...shape], viewBytes("f32", row.slice()) as Float32Array<ArrayBuffer>);
  return {
    read: async (pictures) => {
      const keys = pictures.map((picture) => digest(bytesOf(picture)).subarray(0, KEY_BYTES));
      const known = await Promise.all(keys.map((key) => table.get(key)));
      const missing = [...known.keys()].filter((i) => known[i] === undefined);
      if (missing.length > 0) {
        const made = await reader.read(missing.map((i) => pictures[i]!));
        const fresh = missing.map((i, at) => ({ key: keys[i]!, row: bytesOf(rows(made, at, at + 1).data) }));
        await table.append(fresh);
        for (const [at, i] of missing.entries()) known[i] = fresh[at]!.row;
      }
      return concatRows(known.map((row) => oneOf(row!)));
    },
    dispose: () => reader.dispose(),
  };
}

/** Token features as they are, for a trainer. */
export function featurePictures(reader: FeatureReader): PictureReader {
  return { ...reader, buffers: new Map(), restore: () => {} };
}

/** What semantic codes are made with. */
export interface CodeReaderOptions {
  readonly backend: Backend;
  readonly model: ArConfig;
  readonly seed: number;
  /** Pictures to fit codebooks to, `count` of them or as many as there are. */
  readonly examples: (count: number) => Promise<readonly Int32Array[]>;
}

/**
 * Semantic codes i32 (P, N, Q) of token features. Codebooks are fitted to the features of some pictures when codes are first
 * wanted, unless a checkpoint has brought them by then.
 */
export function codePictures(reader: FeatureReader, options: CodeReaderOptions): PictureReader {
  const { backend, model } = options;
  const { semanticCodes: config, imageTokens, featureWidth } = model;
  const names = Array.from({ length: config?.levels ?? 0 }, (_, level) => semanticCodebookName(level));
  const codebooks = new Map<string, NDArray>();
  let session: Promise<Session> | undefined;
  const compile = async (): Promise<Session> => {
    if (codebooks.size === 0)
      for (const [name, value] of await fittedCodebooks(reader, options)) codebooks.set(name, value);
    const weight = async (name: string) => ({ kind: "array", value: codebooks.get(name)! }) as const;
    return backend.compile({ name: "semantic_codes", graph: traceSemanticCodes(model), weight });
  };
  return {
    buffers: codebooks,
    restore: (tensors) => {
      if (tensors.size === 0) return;
      for (const name of names) codebooks.set(name, codebookOf(tensors, name, [config!.size, featureWidth]));
    },
    read: async (pictures) => {
      session ??= compile();
      const features = await reader.read(pictures);
      const flat = ndarray("f32", [pictures.length * imageTokens, featureWidth], features.data);
      const codes = (await (await session).run({ [SEMANTIC_CODES.features]: flat }))[SEMANTIC_CODES.codes]!;
      return ndarray("i32", [pictures.length, imageTokens, names.length], codes.data as Int32Array<ArrayBuffer>);
    },
    dispose: async () => {
      await (await session)?.dispose();
      await reader.dispose();
    },
  };
}

async function fittedCodebooks(
  reader: FeatureReader,
  { model, seed, examples }: CodeReaderOptions,
): Promise<[string, NDArray<"f32">][]> {
  const { semanticCodes: config, imageTokens, featureWidth } = model;
  const wanted = FEATURES_PER_ROW * config!.size;
  const pictures = await examples(Math.ceil(wanted / PLACES_PER_PICTURE));
  const perPicture = Math.min(imageTokens, Math.ceil(wanted / pictures.length));
  const points = ndarray("f32", [pictures.length * perPicture, featureWidth]);
  let at = 0;
  for (let start = 0; start < pictures.length; start += AT_ONCE) {
    const part = pictures.slice(start, start + AT_ONCE);
    const { data } = await reader.read(part);
    for (const i of part.keys()) {
      for (let k = 0; k < perPicture; k++) {
        // Other places in each picture, evenly spread.
        const place = i * imageTokens + ((start + i + Math.floor((k * imageTokens) / perPicture)) % imageTokens);
        points.data.set(data.subarray(place * featureWidth, (place + 1) * featureWidth), at++ * featureWidth);
      }
    }
  }
  const { codebooks } = fitSemanticCodebooks(points, config!, { seed });
  return codebooks.map((codebook, level) => [semanticCodebookName(level), codebook]);
}

function codebookOf(tensors: TensorMap, name: string, shape: readonly number[]): NDArray {
  const found = tensors.get(name);
  if (found?.dtype === "f32" && found.shape.join() === shape.join()) return found;
  const what = found === undefined ? "nothing" : `${found.dtype} [${found.shape}]`;
  throw new ToklipError("CHECKPOINT_MISMATCH", `${name}: expected f32 [${shape}], got ${what}`);
}
