/**
 * The unified transformer loaded with the TokLIP whose ids it reads and writes, platform-free: pictures to captions, answers
 * and scores of labels, and texts to pictures. What it does with ids is in `ar-*.ts`; here are pictures and strings.
 *
 * Dim letters: B pictures of a batch, h w grid, N ids of a picture.
 */
import { type LongCallOptions, type NDArray, rows, ToklipError, throwIfAborted } from "../core/index.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import type { Image } from "../image/image.ts";
import { fromPixels } from "../image/pixels.ts";
import { type ArConfig, PREFIXES } from "../models/index.ts";
import type { Backend } from "../runtime/index.ts";
import { TextStream } from "../text/text-stream.ts";
import { TextTokenizer } from "../text/text-tokenizer.ts";
import { type BeamOptions, searchTexts } from "./ar-beams.ts";
import { ArDecoder } from "./ar-decoder.ts";
import { findArConfig } from "./ar-files.ts";
import { scoreTexts, type TextLikelihood } from "./ar-likelihood.ts";
import { arPictureDecoder } from "./ar-picture.ts";
import type { ArPart, ArPrompt } from "./ar-prompt.ts";
import { type WriteOptions, writeTexts, writeWholeTexts } from "./ar-text.ts";
import { batches } from "./batches.ts";
import { DEFAULT_MODEL } from "./bundled-files.ts";
import { checkPrecision } from "./graph-runner.ts";
import type { ImageInput, LoadOptions, PreprocessOptions, TokLIPModel } from "./model.ts";
import { findTokenizer } from "./model-files.ts";
import { PictureBatches } from "./picture-batches.ts";
import {
  type GeneratedPicture,
  type GenerationEvent,
  type PictureGenerator,
  type PictureRequest,
  picturesOf,
  type TextCondition,
} from "./picture-generator.ts";
import type { Platform } from "./platform.ts";
import { PlatformTokLIP } from "./toklip.ts";

/** How a unified transformer is loaded. `precision` is that of its linear layers; the TokLIP stays in fp32. */
export interface UnifiedOptions
  extends Pick<LoadOptions, "config" | "device" | "precision" | "tokenizer" | "download" | "threads">,
    LongCallOptions {
  /**
   * The TokLIP: a checkpoint's path, a hub name, or the name of a model that comes with the package. Default: the
   * `toklip.safetensors` or `toklip.pt` beside the transformer, else `"toklip-mini"`.
   */
  readonly toklip?: string;
}

/** What a text of a picture is asked for with. */
export interface DescribeOptions extends PreprocessOptions, Omit<WriteOptions, "mayOpenPicture"> {
  /** What stands between the picture and the text, as a question about it. Default: nothing, for a caption. */
  readonly question?: string | undefined;
  /** Texts that are followed at the same time by a search for the likeliest; 1, the default, writes one. */
  readonly beams?: number | undefined;
  readonly lengthPenalty?: BeamOptions["lengthPenalty"];
}

/** A text and how likely it is. */
export interface LabelLikelihood extends TextLikelihood {
  readonly label: string;
}

/** The texts to choose among. */
export interface ScoreOptions extends PreprocessOptions {
  readonly labels: readonly string[];
  /** A sentence with `{}` for the label; `"{}"`. */
  readonly template?: string | undefined;
  /** See `DescribeOptions`. */
  readonly question?: string | undefined;
}

/** Pictures to read: files, bytes, decoded pictures, or pixels f32 (B, 3, H, W) as `toklip.preprocess` makes them. */
export type PictureInput = ImageInput | readonly ImageInput[] | NDArray<"f32">;

/** Guidance where a request says nothing. */
const USUAL_GUIDANCE = 3;

/** Pictures that are read side by side. */
const READ_TOGETHER = 8;

/** What a model is made of. */
export interface UnifiedParts {
  readonly backend: Backend;
  readonly checkpoint: Checkpoint;
  readonly config: ArConfig;
  readonly toklip: TokLIPModel;
  readonly tokenizer: TextTokenizer;
  readonly options: UnifiedOptions;
}

/** A checkpoint with those tensors of a token encoder that another has: one that was trained through with its transformer. */
function withEncoderOf(transformer: Checkpoint, checkpoint: Checkpoint): Checkpoint {
  const trained = [...transformer.tensors].filter(([name]) => name.startsWith(`${PREFIXES.trunk}.`));
  const tensors = new Map([...checkpoint.tensors, ...trained]);
  return { ...checkpoint, tensors, close: () => checkpoint.close() };
}

/** The path of the TokLIP that an export of a run has put beside its transformer. */
async function besideTransformer(platform: Platform, location: string): Promise<string | undefined> {
  const file = await platform.findFile(["toklip.safetensors", "toklip.pt"], location);
  await file?.close?.();
  return file?.path;
}

/** A TokLIP, with the token encoder that a transformer's checkpoint may have. */
class EncoderTokLIP extends PlatformTokLIP {
  static async load(platform: Platform, source: string, options: LoadOptions, transformer: Checkpoint) {
    const openCheckpoint = async (location: string) =>
      withEncoderOf(transformer, await platform.openCheckpoint(location));
    return new EncoderTokLIP(await PlatformTokLIP.open({ ...platform, openCheckpoint }, source, options));
  }
}

function isPixels(images: PictureInput): images is NDArray<"f32"> {
  return typeof images === "object" && "dtype" in images;
}

/** A loaded unified transformer. See `PictureGenerator` for how it generates. */
export class PlatformUnified implements PictureGenerator {
  readonly condition: TextCondition = { kind: "text" };
  readonly config: ArConfig;
  /** The TokLIP beside it. */
  readonly toklip: TokLIPModel;
  private readonly parts: UnifiedParts;
  private decoder: Promise<ArDecoder> | undefined;
  private disposed = false;

  protected constructor(parts: UnifiedParts) {
    this.parts = parts;
    this.config = parts.config;
    this.toklip = parts.toklip;
  }

  get name(): string {
    return this.config.name;
  }

  get side(): number {
    return Math.sqrt(this.config.imageTokens);
  }

  /** Opens a transformer, its tokenizer and its TokLIP; weights are read when they are first needed. */
  protected static async open(platform: Platform, source: string, options: UnifiedOptions): Promise<UnifiedParts> {
    const { signal, onProgress, download = false, device = "cpu", threads, toklip: asked } = options;
    throwIfAborted(signal, "load");
    checkPrecision(options.precision);
    const location = await platform.locate(source, { signal, onProgress, download });
    const backend = platform.createBackend({ device, threads });
    const opened: { checkpoint?: Checkpoint; toklip?: TokLIPModel } = {};
    try {
      const checkpoint = await platform.openCheckpoint(location);
      opened.checkpoint = checkpoint;
      const config = await findArConfig(platform, location, checkpoint, options.config);
      const json = await findTokenizer(platform, location, { text: {} }, options);
      const tokenizer = TextTokenizer.fromJson(json, { vocabSize: config.textVocabSize });
      const given = { device, download, ...(threads !== undefined && { threads }), ...(signal && { signal }) };
      const beside = asked ?? (await besideTransformer(platform, location)) ?? DEFAULT_MODEL;
      const toklip = await EncoderTokLIP.load(platform, beside, { ...given, textTower: false }, checkpoint);
      opened.toklip = toklip;
      return { backend, checkpoint, config, toklip, tokenizer, options };
    } catch (thrown) {
      await backend.dispose();
      await opened.checkpoint?.close();
      await opened.toklip?.dispose();
      throw thrown;
    }
  }

  /**
   * Writes a text for each picture: a caption, or the answer to a question. Where ids are drawn, that of picture i is drawn
   * by seed + i.
   * @throws ARGUMENT_INVALID, IMAGE_UNREADABLE, IMAGE_TOO_LARGE; LOGITS_INVALID where the model gives no numbers; ABORTED,
   * DISPOSED, OUT_OF_MEMORY
   */
  async describe(images: PictureInput, options: DescribeOptions = {}): Promise<string[]> {
    const { beams = 1, seed = 0, signal } = options;
    const decoder = await this.compiled(options);
    const texts: string[] = [];
    const all = await this.prompts(images, options);
    for await (const prompts of batches(all, READ_TOGETHER)) {
      const given = { ...options, seed: seed + texts.length, onProgress: undefined };
      const found =
        beams === 1
          ? await writeWholeTexts(decoder, prompts, given)
          : (await searchTexts(decoder, prompts, { ...given, beams })).map(([best]) => best!);
      texts.push(...found.map(({ ids }) => this.parts.tokenizer.textOf(ids)));
      options.onProgress?.({ stage: "describe", done: texts.length, total: all.length, unit: "images" });
      throwIfAborted(signal, "describe");
    }
    return texts;
  }

  /** Writes a text for one picture, and gives it piece by piece. @throws as `describe` */
  async *streamText(
    image: ImageInput | NDArray<"f32">,
    options: Omit<DescribeOptions, "beams" | "lengthPenalty"> = {},
  ): AsyncGenerator<string, void, undefined> {
    const decoder = await this.compiled(options);
    const stream = new TextStream(this.parts.tokenizer);
    const prompts = await this.prompts(image, options);
    for await (const { ids } of writeTexts(decoder, prompts, { ...options, onProgress: undefined })) {
      const piece = ids[0]! < 0 ? "" : stream.push(ids[0]!);
      if (piece !== "") yield piece;
    }
    const rest = stream.end();
    if (rest !== "") yield rest;
  }

  /**
   * How likely each label is to be written behind each picture, likeliest first.
   * @throws ARGUMENT_INVALID for no label, or one of which cleaning leaves nothing; else as `describe`
   */
  async scoreLabels(images: PictureInput, options: ScoreOptions): Promise<LabelLikelihood[][]> {
    const { labels, template = "{}", signal } = options;
    if (!template.includes("{}")) {
      throw new ToklipError("ARGUMENT_INVALID", `template "${template}" has no {} for the label`);
    }
    const texts = labels.map((label) => this.parts.tokenizer.idsOf(template.replaceAll("{}", () => label)));
    const decoder = await this.compiled(options);
    const scored: LabelLikelihood[][] = [];
    for await (const prompts of batches(await this.prompts(images, options), READ_TOGETHER)) {
      for (const scores of await scoreTexts(decoder, prompts, texts, { signal })) {
        const named = scores.map((score, i) => ({ label: labels[i]!, ...score }));
        scored.push(named.sort((a, b) => b.logProbability - a.logProbability));
      }
    }
    return scored;
  }

  async *stream(request: PictureRequest): AsyncGenerator<GenerationEvent, void, undefined> {
    const { texts = [], classes, captions } = request;
    if (texts.length === 0 || classes !== undefined || captions !== undefined) {
      throw new ToklipError("ARGUMENT_INVALID", `${this.name}: expected texts, and neither classes nor captions`);
    }
    const prompts = texts.map((text) => this.textPart(text));
    const planned = new PictureBatches<readonly ArPrompt[]>({
      request,
      conditions: prompts.length,
      promptOf: (conditions) => conditions.map((condition) => [prompts[condition]!]),
      guidance: this.guidanceOf(request),
    });
    throwIfAborted(request.signal, "generate");
    const decoder = await this.compiled(request);
    yield* planned.stream(arPictureDecoder(decoder), (ids, options) => this.decode(ids, options));
  }

  generate(request: PictureRequest): Promise<GeneratedPicture[]> {
    return picturesOf(this.stream(request));
  }

  /** Lets the run under way end, then frees everything, the TokLIP too. */
  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    await this.parts.backend.dispose();
    await this.parts.checkpoint.close();
    await this.toklip.dispose();
  }

  /** The transformer, compiled when it is first asked for. */
  private compiled({ onProgress = this.parts.options.onProgress }: LongCallOptions): Promise<ArDecoder> {
    if (this.disposed) return Promise.reject(new ToklipError("DISPOSED", "this model has been disposed of"));
    const { backend, checkpoint, config, toklip, options } = this.parts;
    const parts = { backend, checkpoint, config, encoder: toklip, precision: options.precision ?? "fp32" };
    this.decoder ??= ArDecoder.open(parts, { onProgress }).catch((thrown) => {
      this.decoder = undefined;
      throw thrown;
    });
    return this.decoder;
  }

  /** What stands before the text of each picture. */
  private async prompts(
    images: PictureInput,
    { question, ...options }: PreprocessOptions & Pick<DescribeOptions, "question">,
  ): Promise<ArPrompt[]> {
    const asked = question === undefined ? [] : [this.textPart(question)];
    const pixels = isPixels(images) ? images : await this.toklip.preprocess(images, options);
    const { data } = await this.toklip.encodeIds(pixels, { signal: options.signal });
    const { imageTokens } = this.config;
    return Array.from({ length: pixels.shape[0]! }, (_, i) => [
      { picture: data.subarray(i * imageTokens, (i + 1) * imageTokens) },
      ...asked,
    ]);
  }

  /** @throws ARGUMENT_INVALID for a text of which cleaning leaves nothing */
  private textPart(text: string): ArPart {
    const ids = this.parts.tokenizer.idsOf(text);
    if (ids.length > 0) return { text: ids };
    throw new ToklipError("ARGUMENT_INVALID", `text "${text}": cleaning leaves nothing of it`);
  }

  /** How a request is guided; a model that never saw pictures without their text is told of, and guided where that is asked. */
  private guidanceOf({ guidanceScale: asked, guidanceInterval: interval, warn }: PictureRequest) {
    const { conditionDropout, name } = this.config;
    if (conditionDropout > 0) return { scale: asked ?? USUAL_GUIDANCE, interval };
    if (asked === undefined || asked <= 1) return undefined;
    warn?.(
      `${name} was trained without dropped texts, which guidance by ${asked} leans on: it may do more harm than good`,
    );
    return { scale: asked, interval };
  }

  /** Ids i32 (B, h, w) as RGB pictures, one at a time, which bounds memory. */
  private async decode(ids: NDArray<"i32">, { signal }: LongCallOptions): Promise<Image[]> {
    const images: Image[] = [];
    for (let row = 0; row < ids.shape[0]!; row++) {
      throwIfAborted(signal, "decode");
      images.push(fromPixels(await this.toklip.decodeIds(rows(ids, row, row + 1), { signal })));
    }
    return images;
  }
}
