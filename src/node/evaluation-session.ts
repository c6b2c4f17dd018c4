/** The workplace of evaluations in Node: a model, data by their paths, features kept in a folder. */
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Dataset, JsonValue } from "../data/index.ts";
import { passFeatures, sampleViews } from "../evaluation/feature-pass.ts";
import { KeptRows, keptTextEncoder } from "../evaluation/kept-rows.ts";
import type { ScratchFile } from "../evaluation/ordered-rows.ts";
import type {
  DataOptions,
  EvaluationSession,
  FeatureOptions,
  PictureMeasure,
  SessionOptions,
} from "../evaluation/session.ts";
import type { Augmentation } from "../image/index.ts";
import {
  type GraphName,
  gridOf,
  type PreprocessConfig,
  type ToklipConfig,
  weightsPrint,
  withModelNames,
} from "../models/index.ts";
import { defaultBatch } from "../pipelines/index.ts";
import type { TokLIPModel } from "../pipelines/model.ts";
import { findTokenizer } from "../pipelines/model-files.ts";
import { TextTokenizer } from "../text/index.ts";
import type { DataSourceConfig } from "../train/run-config.ts";
import { createDecodePool, type DecodePool } from "./decode-pool.ts";
import { TokLIP } from "./index.ts";
import { createOrtBackend } from "./ort-backend.ts";
import { nodePlatform } from "./platform.ts";
import { pictureWriter, readRunFolder } from "./run-folder.ts";
import { createScratchFile } from "./scratch-file.ts";
import { fullSource, openDataSource, pictureScope } from "./train-data.ts";

/** Changes when the same settings would give other features in a new version of this project. */
const VERSION = 1;

/**
 * Opens a session.
 * @throws FILE_NOT_FOUND, FILE_CORRUPT, CHECKPOINT_MISMATCH, CONFIG_UNKNOWN, CONFIG_INVALID, DEVICE_UNAVAILABLE,
 * FILE_WRITE_FAILED, ABORTED
 */
export async function openEvaluationSession(options: SessionOptions): Promise<EvaluationSession> {
  const { load, signal, onProgress } = options;
  const how = { signal, onProgress, download: load?.download ?? false };
  const location = await nodePlatform.locate(options.model, how);
  const model = await TokLIP.load(options.model, { ...load, signal, onProgress });
  const temporary = await mkdtemp(join(tmpdir(), "toklip-eval-"));
  return new NodeSession(options, model, location, temporary);
}

/** The graphs whose weights image features go through. */
function pictureGraphs({ vq }: ToklipConfig): readonly GraphName[] {
  return vq ? ["vq_encoder", "token_encoder"] : ["pixel_encoder"];
}

/** The fingerprint of the weights that graphs read. */
async function weightsOf(location: string, config: ToklipConfig, graphs: readonly GraphName[]): Promise<string> {
  const checkpoint = withModelNames(await nodePlatform.openCheckpoint(location));
  try {
    const prints: string[] = [];
    for (const graph of graphs) prints.push(await weightsPrint(graph, config, [checkpoint]));
    return prints.join(" ");
  } finally {
    await checkpoint.close();
  }
}

function plain(value: object): JsonValue {
  return JSON.parse(JSON.stringify(value)) as JsonValue;
}

/** What a model is, in a few words: `"TokLIP, 64 ids of 12 bits, width 256"`. */
function describeModel({ trunk, vq, embedDim }: ToklipConfig): string {
  if (vq === undefined) return `pixel model, ${trunk.imageSize} px, width ${embedDim}`;
  return `TokLIP, ${gridOf(trunk).tokens} ids of ${Math.ceil(Math.log2(vq.codebookSize))} bits, width ${embedDim}`;
}

class NodeSession implements EvaluationSession {
  readonly model: TokLIPModel;
  readonly texts: EvaluationSession["texts"];
  readonly backend: EvaluationSession["backend"];
  readonly description: EvaluationSession["description"];
  readonly pictures = pictureWriter;
  private readonly options: SessionOptions;
  private readonly location: string;
  private readonly temporary: string;
  private readonly pool: DecodePool;
  private readonly scratch: ScratchFile[] = [];
  private readonly tables = new Map<string, Promise<KeptRows>>();
  /** By the names of data sets, since evaluations wrap them. */
  private readonly scopes = new Map<string, string>();

  constructor(options: SessionOptions, model: TokLIPModel, location: string, temporary: string) {
    const { exif, maxPixels, load = {} } = options;
    this.options = options;
    this.model = model;
    this.location = location;
    this.temporary = temporary;
    this.description = { name: options.model, description: describeModel(model.config) };
    this.pool = createDecodePool({
      ...(exif !== undefined && { exif }),
      ...(maxPixels !== undefined && { maxPixels }),
    });
    this.backend = createOrtBackend({ device: "cpu", ...(load.threads !== undefined && { threads: load.threads }) });
    this.texts = { encodeText: (texts, how) => this.encodeText(texts, how) };
  }

  async openData(path: string, options: DataOptions = {}): Promise<Dataset> {
    const source = sourceOf(path, options);
    const dataset = await openDataSource(source, this.options.signal);
    this.scopes.set(dataset.name, pictureScope(source, this.augmentation));
    return dataset;
  }

  async features(dataset: Dataset, options: FeatureOptions = {}) {
    const { measure } = options;
    const { config } = this.model;
    const { batch = defaultBatch(config), badLimit, signal, onProgress } = this.options;
    const scratch = await createScratchFile(this.options.features ?? this.temporary);
    this.scratch.push(scratch);
    return passFeatures(dataset, {
      ...options,
      ...this.decoding,
      encode: measure?.encode ?? (async (pixels) => (await this.model.encodePixels(pixels, { signal })).imageFeatures),
      batch,
      width: measure?.width ?? config.embedDim,
      kept: await this.pictureRows(measure),
      scope: this.scopes.get(dataset.name) ?? dataset.name,
      scratch,
      badLimit,
      onProgress,
    });
  }

  views(dataset: Dataset, keys: ReadonlySet<string>) {
    return sampleViews(dataset, keys, this.decoding);
  }

  async close(): Promise<void> {
    for (const scratch of this.scratch) await scratch.close();
    for (const table of this.tables.values()) await (await table.catch(() => undefined))?.close();
    await this.pool.dispose();
    await this.backend.dispose();
    await this.model.dispose();
    await rm(this.temporary, { recursive: true, force: true });
  }

  get settings(): Readonly<Record<string, JsonValue>> {
    const { config } = this.model;
    const {
      batch = defaultBatch(config),
      exif = true,
      load: { device = "cpu", precision = "fp32" } = {},
    } = this.options;
    const image_size = config.trunk.imageSize;
    return { image_size, ...this.preparation, exif, batch, device, precision };
  }

  /** How pictures are prepared: as asked, else as the model wants them. */
  private get preparation(): PreprocessConfig {
    const { resize, background } = this.options;
    const { preprocess } = this.model.config;
    return { resize: resize ?? preprocess.resize, background: background ?? preprocess.background };
  }

  private get augmentation(): Augmentation {
    const { resize, background } = this.preparation;
    return { crop: { kind: resize }, background };
  }

  private get decoding() {
    const { signal } = this.options;
    const { augmentation, pool, model } = this;
    return { decode: pool.decode, imageSize: model.config.trunk.imageSize, augmentation, signal };
  }

  /** The table of what is made of pictures: image features, or what an evaluation measures. */
  private pictureRows(measure: PictureMeasure | undefined): Promise<KeptRows> {
    const { config } = this.model;
    const { batch = defaultBatch(config), exif = true } = this.options;
    const { resize, background } = this.preparation;
    const {
      kind = "pictures",
      graphs = pictureGraphs(config),
      width = config.embedDim,
      identity = null,
    } = measure ?? {};
    const { trunk, vq = null } = config;
    return this.kept(kind, width, graphs, { trunk, vq, batch, resize, background, exif, identity });
  }

  private kept(kind: string, width: number, graphs: readonly GraphName[], rest: object): Promise<KeptRows> {
    const name = JSON.stringify([kind, graphs, rest]);
    const opened = this.tables.get(name) ?? this.openTable(kind, width, graphs, rest);
    this.tables.set(name, opened);
    return opened;
  }

  private async openTable(kind: string, width: number, graphs: readonly GraphName[], rest: object): Promise<KeptRows> {
    const { device = "cpu", precision = "fp32" } = this.options.load ?? {};
    const weights = await weightsOf(this.location, this.model.config, graphs);
    return KeptRows.open({
      storage: readRunFolder(this.options.features ?? this.temporary),
      session: randomBytes(8).toString("hex"),
      digest: (bytes) => createHash("sha256").update(bytes).digest(),
      kind,
      identity: plain({ version: VERSION, device, precision, graphs, weights, ...rest }),
      width,
      warn: (message) => this.options.warn?.(message),
    });
  }

  private encoder: ReturnType<typeof keptTextEncoder> | undefined;

  private async encodeText(...args: Parameters<TokLIPModel["encodeText"]>) {
    const { config } = this.model;
    this.encoder ??= keptTextEncoder({
      tokenizer: once(() => this.openTokenizer()),
      contextLength: config.text.contextLength,
      encode: (textIds, how) => this.model.encodeTextIds(textIds, how),
      kept: await this.kept("texts", config.embedDim, ["text_encoder"], { text: config.text }),
    });
    return this.encoder(...args);
  }

  private async openTokenizer(): Promise<TextTokenizer> {
    const { config } = this.model;
    const options = { ...this.options.load, signal: this.options.signal, onProgress: this.options.onProgress };
    const json = await findTokenizer(nodePlatform, this.location, config, options);
    return TextTokenizer.fromJson(json, { vocabSize: config.text.vocabSize });
  }
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/** A path with the columns and files that say what is what. */
function sourceOf(path: string, options: DataOptions): DataSourceConfig {
  const source = fullSource(path);
  if (source.type === "folder") return { ...source, labels_from_folders: true };
  if (source.type === "webdataset") return source;
  const { imageColumn, captionColumn, labelColumn, imageRoot, groupByImage } = options;
  return {
    ...source,
    ...(imageColumn !== undefined && { image_column: imageColumn }),
    ...(captionColumn !== undefined && { caption_column: captionColumn }),
    ...(labelColumn !== undefined && { concept_column: labelColumn }),
    ...(imageRoot !== undefined && { image_root: imageRoot }),
    ...(source.type === "manifest" && groupByImage !== undefined && { group_by_image: groupByImage }),
  };
}
