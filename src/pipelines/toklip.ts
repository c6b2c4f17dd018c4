/**
 * A loaded TokLIP, platform-free: checks what comes in, runs the graphs of `models/toklip.ts` on a backend, each compiled
 * when it is first needed, so that asking for ids never reads the rest of a checkpoint.
 *
 * Dim letters: B batch, N image tokens (N = h*w), T text length, D embedding width, H W pixels, h w grid.
 */
import {
  concatRows,
  type LongCallOptions,
  type NDArray,
  ndarray,
  rows,
  ToklipError,
  throwIfAborted,
} from "../core/index.ts";
import { type Checkpoint, readTensor } from "../files/checkpoint.ts";
import { writePixels } from "../image/pixels.ts";
import { preprocessImage } from "../image/preprocess.ts";
import {
  checkCheckpoint,
  checkpointGraphs,
  type GraphName,
  NAMES,
  type ToklipConfig,
  traceGraph,
  withModelNames,
} from "../models/index.ts";
import { gridOf } from "../models/vision-transformer.ts";
import {
  accelerateConvolutions,
  type Backend,
  checkpointWeights,
  type Feeds,
  type Fetches,
  type Program,
  quantizeProgram,
  type Session,
} from "../runtime/index.ts";
import { resolveTemplates } from "../text/templates.ts";
import { TextTokenizer } from "../text/text-tokenizer.ts";
import { encodeLabels, type LabelFeatures, scoreLabels } from "./classify.ts";
import type {
  ClassifyOptions,
  EncodedFeatures,
  EncodedImage,
  ImageInput,
  LabelScore,
  LoadOptions,
  Precision,
  PreprocessOptions,
  TokenStream,
  TokLIPModel,
} from "./model.ts";
import { findConfig, findTokenizer } from "./model-files.ts";
import type { Platform } from "./platform.ts";
import { startTokenStream } from "./token-stream.ts";

/** Pictures that are decoded at the same time. */
const DECODES_IN_FLIGHT = 4;

/** Tokens in one run on a CPU: image tokens, or text tokens. */
const TOKENS_OF_RUN = 256;

/** Label sets whose text features are kept. */
const KEPT_LABEL_SETS = 16;

/** The form of each linear layer at a precision. The VQ is never quantised: its ids would change. */
const SCHEMES: Record<Precision, (parameter: string) => "block" | "row" | undefined> = {
  fp32: () => undefined,
  int8: (parameter) => (parameter.includes(".vq.") ? undefined : "block"),
  "int8-fast": (parameter) => (parameter.includes(".vq.") ? undefined : "row"),
};

interface Parts {
  readonly platform: Platform;
  readonly backend: Backend;
  readonly checkpoint: Checkpoint;
  readonly config: ToklipConfig;
  /** What the checkpoint can be run for. */
  readonly graphs: readonly GraphName[];
  readonly location: string;
  readonly options: LoadOptions;
}

/** See `TokLIPModel` for what each method takes and gives. */
export class PlatformTokLIP implements TokLIPModel {
  readonly config: ToklipConfig;
  private readonly parts: Parts;
  private readonly sessions = new Map<GraphName, Promise<Session>>();
  private readonly labelSets = new Map<string, Promise<LabelFeatures>>();
  private tokenizer: Promise<TextTokenizer> | undefined;
  private disposed = false;

  protected constructor(parts: Parts) {
    this.parts = parts;
    this.config = parts.config;
  }

  /** Opens a checkpoint and checks it against its configuration; weights are read when they are first needed. */
  protected static async open(platform: Platform, source: string, options: LoadOptions): Promise<Parts> {
    const { signal, onProgress, download = false, device = "cpu", threads } = options;
    throwIfAborted(signal, "load");
    if (options.precision !== undefined && !Object.hasOwn(SCHEMES, options.precision)) {
      throw new ToklipError(
        "ARGUMENT_INVALID",
        `precision "${options.precision}": expected ${Object.keys(SCHEMES).join(", ")}`,
      );
    }
    const location = await platform.locate(source, { signal, onProgress, download });
    const checkpoint = withModelNames(await platform.openCheckpoint(location));
    try {
      const config = await findConfig(platform, location, checkpoint, options.config);
      const graphs = checkpointGraphs(checkpoint, config, options.textTower);
      checkCheckpoint(checkpoint, config, graphs);
      const backend = platform.createBackend({ device, threads });
      return { platform, backend, checkpoint, config, graphs, location, options };
    } catch (thrown) {
      await checkpoint.close();
      throw thrown;
    }
  }

  async preprocess(
    images: ImageInput | readonly ImageInput[],
    options: PreprocessOptions = {},
  ): Promise<NDArray<"f32">> {
    const list = Array.isArray(images) ? (images as readonly ImageInput[]) : [images as ImageInput];
    if (list.length === 0) throw new ToklipError("ARGUMENT_INVALID", "preprocess: no images given");
    const size = this.config.trunk.imageSize;
    const { resize = "shortest", background } = options;
    const pixels = ndarray("f32", [list.length, 3, size, size]);
    let next = 0;
    const decodeRest = async (): Promise<void> => {
      for (let i = next++; i < list.length; i = next++) {
        throwIfAborted(options.signal, "preprocess");
        const image = await this.parts.platform.decodeImage(list[i]!, options);
        writePixels(preprocessImage(image, { size, resize, ...(background && { background }) }), pixels, i);
        options.onProgress?.({ stage: "preprocess", done: i + 1, total: list.length, unit: "images" });
      }
    };
    await Promise.all(Array.from({ length: Math.min(DECODES_IN_FLIGHT, list.length) }, decodeRest));
    return pixels;
  }

  async encodeIds(pixels: NDArray<"f32">, options: LongCallOptions = {}): Promise<NDArray<"i32">> {
    this.requireVq("encodeIds");
    this.checkPixels(pixels);
    const { ids } = await this.run("vq_encoder", { [NAMES.pixels]: pixels }, options);
    return ids as NDArray<"i32">;
  }

  async encodeFeatures(ids: NDArray<"i32">, options: LongCallOptions = {}): Promise<EncodedFeatures> {
    this.requireVq("encodeFeatures");
    return this.features("token_encoder", { [NAMES.ids]: this.checkIds(ids) }, options);
  }

  async encodeImage(pixels: NDArray<"f32">, options: LongCallOptions = {}): Promise<EncodedImage> {
    const ids = await this.encodeIds(pixels, options);
    return { ids, ...(await this.encodeFeatures(ids, options)) };
  }

  /** Pixels f32 (B, 3, H, W) -> features of a pixel model (a teacher), or of a TokLIP through its ids. */
  async encodePixels(pixels: NDArray<"f32">, options: LongCallOptions = {}): Promise<EncodedFeatures> {
    if (this.config.vq) return this.encodeImage(pixels, options);
    this.checkPixels(pixels);
    return this.features("pixel_encoder", { [NAMES.pixels]: pixels }, options);
  }

  async encodeTextIds(textIds: NDArray<"i32">, options: LongCallOptions = {}): Promise<NDArray<"f32">> {
    const { contextLength, vocabSize } = this.config.text;
    if (textIds.shape.length !== 2 || textIds.shape[0]! < 1 || textIds.shape[1] !== contextLength) {
      throw new ToklipError("SHAPE_MISMATCH", `text ids: expected (B, ${contextLength}), got [${textIds.shape}]`);
    }
    checkRange("text ids", textIds, vocabSize);
    const outputs = await this.run("text_encoder", { [NAMES.textIds]: textIds }, options);
    return outputs[NAMES.textFeatures] as NDArray<"f32">;
  }

  async encodeText(texts: string | readonly string[], options: LongCallOptions = {}): Promise<NDArray<"f32">> {
    const list = typeof texts === "string" ? [texts] : texts;
    if (list.length === 0) throw new ToklipError("ARGUMENT_INVALID", "encodeText: no texts given");
    const tokenizer = await this.textTokenizer();
    const textIds = tokenizer.encode(list, { contextLength: this.config.text.contextLength });
    return this.encodeTextIds(textIds, options);
  }

  async decodeIds(ids: NDArray<"i32">, options: LongCallOptions = {}): Promise<NDArray<"f32">> {
    this.requireVq("decodeIds");
    const { pixels } = await this.run("vq_decoder", { [NAMES.ids]: this.checkIds(ids) }, options);
    return pixels as NDArray<"f32">;
  }

  async classify(images: ImageInput | readonly ImageInput[], options: ClassifyOptions): Promise<LabelScore[][]> {
    const labels = await this.labelFeatures(options);
    const list = Array.isArray(images) ? (images as readonly ImageInput[]) : [images as ImageInput];
    const features: NDArray<"f32">[] = [];
    for (const image of list) {
      const pixels = await this.preprocess(image, { ...options, onProgress: undefined });
      features.push((await this.encodePixels(pixels, { signal: options.signal })).imageFeatures);
      options.onProgress?.({ stage: "classify", done: features.length, total: list.length, unit: "images" });
    }
    return scoreLabels(concatRows(features), labels);
  }

  async startStream({ batch = 1 }: { batch?: number } = {}): Promise<TokenStream> {
    this.requireVq("startStream");
    if (!Number.isInteger(batch) || batch < 1) {
      throw new ToklipError("ARGUMENT_INVALID", `startStream: expected a batch of at least 1, got ${batch}`);
    }
    const session = await this.session("token_encoder_step", {});
    return startTokenStream(session, this.config, batch, (ids) => checkRange("ids", ids, this.config.vq!.codebookSize));
  }

  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    await this.parts.backend.dispose();
    await this.parts.checkpoint.close();
  }

  /** The text features of a label set: computed once, then kept. */
  private labelFeatures({ labels, templates = "simple", signal }: ClassifyOptions): Promise<LabelFeatures> {
    const prompts = resolveTemplates(templates);
    const key = JSON.stringify([labels, prompts]);
    const known = this.labelSets.get(key);
    if (known) return known;
    const made = encodeLabels(this, labels, { templates: prompts, signal });
    this.labelSets.set(key, made);
    // A set that failed is not kept, and the oldest makes room.
    made.catch(() => this.labelSets.delete(key));
    const [oldest] = this.labelSets.keys();
    if (this.labelSets.size > KEPT_LABEL_SETS) this.labelSets.delete(oldest!);
    return made;
  }

  private textTokenizer(): Promise<TextTokenizer> {
    const { platform, location, options } = this.parts;
    this.tokenizer ??= findTokenizer(platform, location, this.config, options).then((json) =>
      TextTokenizer.fromJson(json, { vocabSize: this.config.text.vocabSize }),
    );
    return this.tokenizer;
  }

  private async features(graph: GraphName, feeds: Feeds, options: LongCallOptions): Promise<EncodedFeatures> {
    const outputs = await this.run(graph, feeds, options);
    return {
      tokenFeatures: outputs[NAMES.tokenFeatures] as NDArray<"f32">,
      imageFeatures: outputs[NAMES.imageFeatures] as NDArray<"f32">,
    };
  }

  /** Runs a graph over all rows, a few at a time: `rowsOfRun` says how many. */
  private async run(graph: GraphName, feeds: Feeds, options: LongCallOptions): Promise<Fetches> {
    const session = await this.session(graph, options);
    const count = Object.values(feeds)[0]!.shape[0]!;
    const size = this.rowsOfRun(graph);
    const parts: Fetches[] = [];
    for (let begin = 0; begin < count; begin += size) {
      throwIfAborted(options.signal, graph);
      const end = Math.min(begin + size, count);
      const part = Object.entries(feeds).map(([name, array]) => [name, rows(array, begin, end)]);
      parts.push(await session.run(Object.fromEntries(part), { signal: options.signal }));
      options.onProgress?.({
        stage: graph,
        done: end,
        total: count,
        unit: graph === "text_encoder" ? "texts" : "images",
      });
    }
    if (parts.length === 1) return parts[0]!;
    const names = Object.keys(parts[0] ?? {});
    return Object.fromEntries(names.map((name) => [name, concatRows(parts.map((part) => part[name]!))]));
  }

  /**
   * On a CPU more tokens at once are no faster, but leave its caches and take memory: measured, a batch of four pictures
   * of 256 tokens runs 10 to 25 % slower a picture than one.
   */
  private rowsOfRun(graph: GraphName): number {
    const { device = "cpu" } = this.parts.options;
    const tokens = graph === "text_encoder" ? this.config.text.contextLength : gridOf(this.config.trunk).tokens;
    return device === "cpu" ? Math.max(1, Math.floor(TOKENS_OF_RUN / tokens)) : Number.POSITIVE_INFINITY;
  }

  private session(graph: GraphName, { onProgress = this.parts.options.onProgress }: LongCallOptions): Promise<Session> {
    if (this.disposed) return Promise.reject(new ToklipError("DISPOSED", "this model has been disposed of"));
    // The incremental encoder reads what the whole one reads.
    const needed = graph === "token_encoder_step" ? "token_encoder" : graph;
    if (!this.parts.graphs.includes(needed)) {
      const why = `${this.parts.checkpoint.name} was opened without what ${needed.replace("_", " ")} needs`;
      return Promise.reject(new ToklipError("ARGUMENT_INVALID", why));
    }
    let session = this.sessions.get(graph);
    if (session === undefined) {
      session = this.parts.backend.compile(this.program(graph), { onProgress });
      this.sessions.set(graph, session);
      session.catch(() => this.sessions.delete(graph));
    }
    return session;
  }

  private program(name: GraphName): Program {
    const { checkpoint, options } = this.parts;
    const { precision = "fp32", device = "cpu" } = options;
    const read = (parameter: string) => readTensor(checkpoint.tensors.get(parameter)!);
    const plain = { name, graph: traceGraph(name, this.config), weight: checkpointWeights(checkpoint) };
    // The fast form leans on a layout that only the CPU provider has.
    const program = device === "cpu" ? accelerateConvolutions(plain, read) : plain;
    return precision === "fp32" ? program : quantizeProgram(program, read, SCHEMES[precision]);
  }

  private requireVq(call: string): void {
    if (this.config.vq === undefined) {
      throw new ToklipError(
        "ARGUMENT_INVALID",
        `${call}: ${this.config.name} is a pixel model, which has no image ids`,
      );
    }
  }

  private checkPixels({ shape, dtype }: NDArray): void {
    const { imageSize } = this.config.trunk;
    if (
      dtype !== "f32" ||
      shape.length !== 4 ||
      shape[0]! < 1 ||
      shape.slice(1).join() !== `3,${imageSize},${imageSize}`
    ) {
      throw new ToklipError(
        "SHAPE_MISMATCH",
        `pixels: expected f32 (B, 3, ${imageSize}, ${imageSize}), got ${dtype} [${shape}]`,
      );
    }
  }

  /** Ids (B, h, w) or (B, N), as (B, h, w). */
  private checkIds(ids: NDArray<"i32">): NDArray<"i32"> {
    const { side, tokens } = gridOf(this.config.trunk);
    const [batch, ...grid] = ids.shape;
    if (ids.dtype !== "i32") throw new ToklipError("DTYPE_MISMATCH", `ids: expected i32, got ${ids.dtype}`);
    if (batch === undefined || batch < 1 || (grid.join() !== `${side},${side}` && grid.join() !== `${tokens}`)) {
      throw new ToklipError("IDS_GRID_MISMATCH", `ids: expected (B, ${side}, ${side}), got [${ids.shape}]`);
    }
    checkRange("ids", ids, this.config.vq!.codebookSize);
    return { dtype: "i32", shape: [batch, side, side], data: ids.data };
  }
}

function checkRange(what: string, { data }: NDArray<"i32">, size: number): void {
  const place = data.findIndex((id) => id < 0 || id >= size);
  if (place >= 0) {
    throw new ToklipError("IDS_OUT_OF_RANGE", `${what}: ${data[place]} at place ${place} is not in [0, ${size})`);
  }
}
