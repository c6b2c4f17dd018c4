/** The data of a run on ids: data sets and batches of packed sequences as its configuration says. */
import { ToklipError } from "../core/index.ts";
import {
  type BadSample,
  type DataPosition,
  type Dataset,
  type IdsSample,
  idsWebdataset,
  openIdsParquet,
  openIdsTable,
  parseShardWeights,
} from "../data/index.ts";
import type { ArConfig } from "../models/index.ts";
import type { TextTokenizer } from "../text/index.ts";
import { resolveTemplates } from "../text/templates.ts";
import { type ArBatch, arBatches, arHeldOutBatches } from "../train/ar-batches.ts";
import type { Communicator } from "../train/communicator.ts";
import type { IdsSourceConfig, RunConfigs } from "../train/run-config.ts";
import { findDataFiles, nodeDataFiles } from "./data-files.ts";
import { findShards, nodeShardSource } from "./shard-source.ts";

/** What a name alone is taken for, the first that fits. */
const SHORT_FORMS: readonly (readonly [RegExp, (name: string) => IdsSourceConfig])[] = [
  [/\.tar$|\.tar::|[{}]/i, (shards) => ({ type: "webdataset", shards, buffer_size: 1000, line_per_caption: false })],
  [/\.parquet$/i, (files) => ({ type: "parquet", files })],
  [/\.(jsonl|ndjson)$/i, (path) => ({ type: "lines", path })],
];

type SourceOf<K extends IdsSourceConfig["type"]> = Extract<IdsSourceConfig, { type: K }>;

const SOURCES: {
  readonly [K in IdsSourceConfig["type"]]: (source: SourceOf<K>, signal?: AbortSignal) => Promise<Dataset<IdsSample>>;
} = {
  webdataset: async ({ shards, weights, buffer_size, line_per_caption }) =>
    idsWebdataset({
      shards: await findShards(shards),
      source: nodeShardSource(),
      bufferSize: buffer_size,
      linePerCaption: line_per_caption,
      ...(weights !== undefined && { weights: parseShardWeights(weights) }),
    }),
  lines: ({ path, ...columns }, signal) => openIdsTable(nodeDataFiles, path, { ...columnsOf(columns), signal }),
  parquet: async ({ files, ...columns }, signal) =>
    openIdsParquet(nodeDataFiles, await findDataFiles([files]), { ...columnsOf(columns), signal }),
};

function columnsOf({ ids_column, caption_column, concept_column }: Omit<SourceOf<"lines">, "type" | "path">) {
  return {
    ...(ids_column !== undefined && { idsColumn: ids_column }),
    ...(caption_column !== undefined && { captionColumn: caption_column }),
    ...(concept_column !== undefined && { conceptColumn: concept_column }),
  };
}

/**
 * Opens a data set of ids: a path, by its ending, or a source with all its settings.
 * @throws FILE_NOT_FOUND, FILE_READ_FAILED, DATA_INVALID, DATA_EMPTY, ABORTED
 */
export function openIdsSource(source: string | IdsSourceConfig, signal?: AbortSignal): Promise<Dataset<IdsSample>> {
  const full = typeof source === "string" ? SHORT_FORMS.find(([pattern]) => pattern.test(source))?.[1](source) : source;
  if (full === undefined) {
    throw new ToklipError("DATA_INVALID", `data: ${source}: expected .tar shards, a .jsonl or .parquet file of ids`);
  }
  return (SOURCES[full.type] as (source: IdsSourceConfig, signal?: AbortSignal) => Promise<Dataset<IdsSample>>)(
    full,
    signal,
  );
}

/** What batches of packed sequences need. */
export interface IdsBatchSources {
  readonly config: RunConfigs["ar"];
  readonly model: ArConfig;
  readonly tokenizer: TextTokenizer;
  /** Rows of a batch of this process. */
  readonly batchSize: number;
  readonly communicator: Communicator;
  readonly signal?: AbortSignal | undefined;
  readonly onBad?: ((bad: BadSample) => void) | undefined;
}

/** Training batches from a position on, and held-out ones. */
export interface IdsBatches {
  readonly train: (from: DataPosition | undefined) => AsyncIterable<ArBatch>;
  readonly evaluation: (() => AsyncIterable<ArBatch>) | undefined;
  /** Samples of the training data, where that is known. */
  readonly size: number | undefined;
}

/** Opens the data of a run. @throws as `openIdsSource` */
export async function openIdsBatches(sources: IdsBatchSources): Promise<IdsBatches> {
  const { config, model, tokenizer, batchSize, communicator, signal, onBad } = sources;
  const { data, seed, tasks, loss, eval_batches } = config;
  const dataset = await openIdsSource(data.train, signal);
  const held = data.eval === null ? undefined : await openIdsSource(data.eval, signal);
  const { rank, size } = communicator;
  const { count, fraction } = data.bad_limit;
  const shared = {
    model,
    tokenizer,
    seed,
    shares: tasks,
    captions: data.captions,
    templates: resolveTemplates(data.templates),
    imagePrior: loss.image_prior > 0,
    batchSize,
  };
  const badLimit = { fraction, ...(count !== null && { count }) };
  return {
    size: dataset.size,
    train: (from) => arBatches(dataset, { ...shared, from, rank, size, signal, badLimit, onBad }),
    // Without the signal: an interrupted run saves after the evaluation under way. Every process evaluates all of it.
    evaluation: held && (() => firstOf(arHeldOutBatches(held, { ...shared, badLimit: { fraction: 1 } }), eval_batches)),
  };
}

async function* firstOf<T>(items: AsyncIterable<T>, limit: number): AsyncGenerator<T> {
  let count = 0;
  for await (const item of items) {
    yield item;
    if (++count === limit) return;
  }
}
