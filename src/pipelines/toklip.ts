/**
 * A loaded TokLIP, platform-free: from pictures and texts to ids, features, labels and back to pixels. What goes in is
 * checked in `input-checks.ts`; the graphs run in `graph-runner.ts`.
 *
 * Dim letters: B batch, N image tokens (N = h*w), T text length, D embedding width, H W pixels, h w grid.
 */
import {
  concatRows,
  type LongCallOptions,
  mapOrdered,
  type NDArray,
  ndarray,
  ToklipError,
  throwIfAborted,
} from "../core/index.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import type { Image } from "../image/image.ts";
import { writePixels } from "../image/pixels.ts";
import { preprocessImage } from "../image/preprocess.ts";
import {
  checkCheckpoint,
  checkpointGraphs,
  type GraphName,
  NAMES,
  type ToklipConfig,
  withModelNames,
} from "../models/index.ts";
import type { Feeds } from "../runtime/index.ts";
import { resolveTemplates } from "../text/templates.ts";
import { TextTokenizer } from "../text/text-tokenizer.ts";
import { encodeLabels, type LabelFeatures, scoreLabels } from "./classify.ts";
import { checkPrecision, GraphRunner, type RunnerParts } from "./graph-runner.ts";
import { checkIds, checkPixels, checkRange, checkTextIds, requireCausal, requireVq } from "./input-checks.ts";
import { resolveLabels } from "./label-sets.ts";
import type {
  ClassifyOptions,
  EncodedFeatures,
  EncodedImage,
  ImageInput,
  LabelScore,
  LoadOptions,
  PreprocessOptions,
  TokenStream,
  TokLIPModel,
} from "./model.ts";
import { findConfig, findTokenizer } from "./model-files.ts";
import type { Platform } from "./platform.ts";
import { startTokenStream } from "./token-stream.ts";

/** Pictures that are decoded at the same time. */
const DECODES_IN_FLIGHT = 4;

/** Label sets whose text features are kept. */
const KEPT_LABEL_SETS = 16;

interface Parts extends RunnerParts {
  readonly platform: Platform;
  readonly location: string;
  readonly options: LoadOptions;
}

/** See `TokLIPModel` for what each method takes and gives. */
export class PlatformTokLIP implements TokLIPModel {
  readonly config: ToklipConfig;
  private readonly parts: Parts;
  private readonly runner: GraphRunner;
  private readonly labelSets = new Map<string, Promise<LabelFeatures>>();
  private tokenizer: Promise<TextTokenizer> | undefined;

  protected constructor(parts: Parts) {
    this.parts = parts;
    this.runner = new GraphRunner(parts);
    this.config = parts.config;
  }

  /** Opens a checkpoint and checks it against its configuration; weights are read when they are first needed. */
  protected static async open(platform: Platform, source: string, options: LoadOptions): Promise<Parts> {
    const { signal, onProgress, download = false, device = "cpu", threads } = options;
    throwIfAborted(signal, "load");
    checkPrecision(options.precision);
    const location = await platform.locate(source, { signal, onProgress, download });
    // Its start-up runs beside the reading of headers.
    const backend = platform.createBackend({ device, threads });
    let checkpoint: Checkpoint | undefined;
    try {
      checkpoint = withModelNames(await platform.openCheckpoint(location));
      const config = await findConfig(platform, location, checkpoint, options.config);
      const graphs = checkpointGraphs(checkpoint, config, options.textTower);
      checkCheckpoint(checkpoint, config, graphs);
      return { platform, backend, checkpoint, config, graphs, location, options };
    } catch (thrown) {
      await backend.dispose();
      await checkpoint?.close();
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
    const { preprocess } = this.config;
    const { resize = preprocess.resize, background = preprocess.background } = options;
    const pixels = ndarray("f32", [list.length, 3, size, size]);
    const decode = async (input: ImageInput): Promise<Image> => {
      throwIfAborted(options.signal, "preprocess");
      return this.parts.platform.decodeImage(input, options);
    };
    let done = 0;
    for await (const image of mapOrdered(list, decode, { concurrency: DECODES_IN_FLIGHT })) {
      writePixels(preprocessImage(image, { size, resize, background }), pixels, done++);
      options.onProgress?.({ stage: "preprocess", done, total: list.length, unit: "images" });
    }
    return pixels;
  }

  async encodeIds(pixels: NDArray<"f32">, options: LongCallOptions = {}): Promise<NDArray<"i32">> {
    requireVq(this.config, "encodeIds");
    checkPixels(pixels, this.config);
    const { ids } = await this.runner.run("vq_encoder", { [NAMES.pixels]: pixels }, options);
    return ids as NDArray<"i32">;
  }

  async encodeFeatures(ids: NDArray<"i32">, options: LongCallOptions = {}): Promise<EncodedFeatures> {
    return this.features("token_encoder", { [NAMES.ids]: checkIds(ids, this.config, "encodeFeatures") }, options);
  }

  /** Pixels f32 (B, 3, H, W) -> ids, token features and image features. */
  async encodeImage(pixels: NDArray<"f32">, options: LongCallOptions = {}): Promise<EncodedImage> {
    const ids = await this.encodeIds(pixels, options);
    return { ids, ...(await this.encodeFeatures(ids, options)) };
  }

  /** Pixels f32 (B, 3, H, W) -> features of a pixel model (a teacher), or of a TokLIP through its ids. */
  async encodePixels(pixels: NDArray<"f32">, options: LongCallOptions = {}): Promise<EncodedFeatures> {
    if (this.config.vq) return this.encodeImage(pixels, options);
    checkPixels(pixels, this.config);
    return this.features("pixel_encoder", { [NAMES.pixels]: pixels }, options);
  }

  async encodeTextIds(textIds: NDArray<"i32">, options: LongCallOptions = {}): Promise<NDArray<"f32">> {
    checkTextIds(textIds, this.config);
    const outputs = await this.runner.run("text_encoder", { [NAMES.textIds]: textIds }, options);
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
    const feeds = { [NAMES.ids]: checkIds(ids, this.config, "decodeIds") };
    const { pixels } = await this.runner.run("vq_decoder", feeds, options);
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
    const { codebookSize } = requireVq(this.config, "startStream");
    requireCausal(this.config, "startStream");
    if (!Number.isInteger(batch) || batch < 1) {
      throw new ToklipError("ARGUMENT_INVALID", `startStream: expected a batch of at least 1, got ${batch}`);
    }
    const session = await this.runner.session("token_encoder_step", {});
    return startTokenStream(session, this.config, batch, (ids) => checkRange("ids", ids, codebookSize));
  }

  /** Lets the run under way end, then frees everything. */
  async dispose(): Promise<void> {
    await this.runner.dispose();
  }

  /** The text features of a label set: computed once, then kept. */
  private labelFeatures({
    labels: asked,
    templates = this.config.templates,
    signal,
  }: ClassifyOptions): Promise<LabelFeatures> {
    const labels = resolveLabels(asked);
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
    const outputs = await this.runner.run(graph, feeds, options);
    return {
      tokenFeatures: outputs[NAMES.tokenFeatures] as NDArray<"f32">,
      imageFeatures: outputs[NAMES.imageFeatures] as NDArray<"f32">,
    };
  }
}
