/** The data of a training run: data sets and batches as its configuration says. */
import { resolve } from "node:path";
import { ToklipError } from "../core/index.ts";
import { isAddress } from "../data/data-files.ts";
import {
  type Batch,
  type Dataset,
  type LoaderOptions,
  loadBatches,
  openImageFolder,
  openManifest,
  openParquet,
  parseShardWeights,
  webdataset,
} from "../data/index.ts";
import type { Augmentation } from "../image/index.ts";
import type { Communicator } from "../train/communicator.ts";
import type { FeatureCache } from "../train/feature-cache.ts";
import type { AugmentationConfig, DataConfig, DataSourceConfig } from "../train/run-config.ts";
import { findDataFiles, nodeDataFiles } from "./data-files.ts";
import { findShards, nodeShardSource } from "./shard-source.ts";

/** What a name alone is taken for, the first that fits. */
const SHORT_FORMS: readonly (readonly [RegExp, (name: string) => DataSourceConfig])[] = [
  [/\.tar$|\.tar::|[{}]/i, (shards) => ({ type: "webdataset", shards, buffer_size: 1000, line_per_caption: false })],
  [/\.parquet$/i, (files) => ({ type: "parquet", files })],
  [/\.(csv|tsv|jsonl|ndjson)$/i, (path) => ({ type: "manifest", path, group_by_image: false })],
  [/./s, (path) => ({ type: "folder", path, labels_from_folders: false })],
];

type SourceOf<K extends DataSourceConfig["type"]> = Extract<DataSourceConfig, { type: K }>;

const SOURCES: {
  readonly [K in DataSourceConfig["type"]]: (source: SourceOf<K>, signal?: AbortSignal) => Promise<Dataset>;
} = {
  webdataset: async ({ shards, weights, buffer_size, line_per_caption }) =>
    webdataset({
      shards: await findShards(shards),
      source: nodeShardSource(),
      bufferSize: buffer_size,
      linePerCaption: line_per_caption,
      ...(weights !== undefined && { weights: parseShardWeights(weights) }),
    }),
  folder: ({ path, labels_from_folders }, signal) =>
    openImageFolder(nodeDataFiles, path, { labelsFromFolders: labels_from_folders, signal }),
  manifest: ({ path, group_by_image, ...source }, signal) =>
    openManifest(nodeDataFiles, path, { ...columnsOf(source), groupByImage: group_by_image, signal }),
  parquet: async ({ files, ...source }, signal) =>
    openParquet(nodeDataFiles, await findDataFiles([files]), { ...columnsOf(source), signal }),
};

interface Columns {
  readonly image_column?: string | undefined;
  readonly caption_column?: string | undefined;
  readonly concept_column?: string | undefined;
  readonly image_root?: string | undefined;
}

function columnsOf({ image_column, caption_column, concept_column, image_root }: Columns) {
  return {
    ...(image_column !== undefined && { imageColumn: image_column }),
    ...(caption_column !== undefined && { captionColumn: caption_column }),
    ...(concept_column !== undefined && { conceptColumn: concept_column }),
    ...(image_root !== undefined && { imageRoot: image_root }),
  };
}

/**
 * Opens a data set: a path, by its ending, or a source with all its settings.
 * @throws FILE_NOT_FOUND, FILE_READ_FAILED, DATA_INVALID, DATA_EMPTY, ABORTED
 */
export function openDataSource(source: string | DataSourceConfig, signal?: AbortSignal): Promise<Dataset> {
  const full = fullSource(source);
  return (SOURCES[full.type] as (source: DataSourceConfig, signal?: AbortSignal) => Promise<Dataset>)(full, signal);
}

/** A source with all its settings, of a path or as it is. @throws DATA_INVALID */
export function fullSource(source: string | DataSourceConfig): DataSourceConfig {
  if (typeof source !== "string") return source;
  const full = SHORT_FORMS.find(([pattern]) => pattern.test(source))?.[1](source);
  if (full === undefined) throw new ToklipError("DATA_INVALID", "data: the path is empty");
  return full;
}

/**
 * Names the pictures that a source gives under an augmentation, for a cache: where the source is, wherever it is named
 * from, how its samples are counted, and what is made of them.
 */
export function pictureScope(source: string | DataSourceConfig, augmentation: Augmentation): string {
  const { crop, flip = 0, colorJitter = null, grayscale = 0, background = "white" } = augmentation;
  const full = fullSource(source);
  const place = full.type === "webdataset" ? full.shards : full.type === "parquet" ? full.files : full.path;
  const places = place.split("::").map((part) => (isAddress(part) ? part : resolve(part)));
  const grouped = "group_by_image" in full && full.group_by_image;
  return JSON.stringify([full.type, places, grouped, crop, flip, colorJitter, grayscale, background]);
}

/** The augmentation of a configuration, in the image folder's words. */
export function augmentationOf(augmentation: AugmentationConfig): Augmentation {
  const { color_jitter, variants: _, ...rest } = augmentation;
  return { ...rest, ...(color_jitter && { colorJitter: color_jitter }) };
}

/** What batches of any kind need. */
export interface BatchSources {
  readonly data: DataConfig;
  readonly seed: number;
  readonly batchSize: number;
  readonly evalBatches: number;
  readonly imageSize: number;
  readonly decode: LoaderOptions["decode"];
  /** Where texts are wanted. */
  readonly text?: LoaderOptions["text"];
  readonly communicator: Communicator;
  /** Where pictures may be known already. */
  readonly cache?: FeatureCache | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onBad?: LoaderOptions["onBad"];
}

/** Training batches from a position on, and held-out ones. */
export interface RunBatches {
  readonly train: (from: LoaderOptions["from"]) => AsyncIterable<Batch>;
  readonly evaluation: (() => AsyncIterable<Batch>) | undefined;
  /** Samples of the training data, where that is known. */
  readonly size: number | undefined;
}

/** Opens the data of a run. @throws as `openDataSource` */
export async function openRunBatches(sources: BatchSources): Promise<RunBatches> {
  const { data, seed, batchSize, imageSize, decode, text, communicator, cache, signal, onBad, evalBatches } = sources;
  const augmentation = augmentationOf(data.augmentation);
  const evalAugmentation: Augmentation = { crop: { kind: data.eval_crop } };
  const dataset = await openDataSource(data.train, signal);
  const held = data.eval === null ? undefined : await openDataSource(data.eval, signal);
  const shared = {
    seed,
    batchSize,
    imageSize,
    decode,
    text,
    prefetch: data.prefetch,
    templates: data.templates,
  };
  const { rank, size } = communicator;
  const { count, fraction } = data.bad_limit;
  const needCaptions = text !== undefined;
  return {
    size: dataset.size,
    train: (from) =>
      loadBatches(dataset, {
        ...shared,
        signal,
        from,
        rank,
        size,
        needCaptions,
        captions: data.captions,
        augmentation,
        variants: data.augmentation.variants ?? undefined,
        recall: cache?.recall(pictureScope(data.train, augmentation)),
        badLimit: { fraction, ...(count !== null && { count }) },
        onBad,
      }),
    evaluation:
      held && // without the signal: an interrupted run saves after the evaluation under way
      (() =>
        firstOf(
          loadBatches(held, {
            ...shared,
            batchSize: batchSize * communicator.size, // one process evaluates, whatever their number
            needCaptions,
            epochs: 1,
            shuffle: false,
            augmentation: evalAugmentation,
            recall: cache?.recall(pictureScope(data.eval!, evalAugmentation)),
            badLimit: { fraction: 1 },
          }),
          evalBatches,
        )),
  };
}

async function* firstOf<T>(items: AsyncIterable<T>, limit: number): AsyncGenerator<T> {
  let count = 0;
  for await (const item of items) {
    yield item;
    if (++count === limit) return;
  }
}
