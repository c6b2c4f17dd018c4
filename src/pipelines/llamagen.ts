/**
 * LlamaGen (arXiv 2406.06525) loaded, platform-free: a GPT that continues a class or a caption with ids, and a VQ that
 * decodes them. The loop over ids is in `generate.ts`, that over batches in `picture-batches.ts`.
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
import type { Checkpoint } from "../files/checkpoint.ts";
import type { CaptionCondition, ClassCondition, GptConfig } from "../models/index.ts";
import type { Backend } from "../runtime/index.ts";
import type { IdDecoder } from "./generate.ts";
import { alignCaptions, checkPrompt, type GptPrompt } from "./gpt-condition.ts";
import { openGptDecoder } from "./gpt-decoder.ts";
import { findGptConfig, type GptConfigOptions } from "./gpt-files.ts";
import { checkPrecision } from "./graph-runner.ts";
import type { LoadOptions } from "./model.ts";
import { PictureBatches } from "./picture-batches.ts";
import {
  type GeneratedPicture,
  type GenerationEvent,
  type PictureGenerator,
  type PictureRequest,
  picturesOf,
} from "./picture-generator.ts";
import type { Platform } from "./platform.ts";
import type { GuidanceOptions } from "./sampling.ts";
import { VqDecoder } from "./vq-decoder.ts";

/** How a GPT is loaded. `precision` is that of its linear layers; the VQ stays in fp32. */
export interface LlamaGenOptions
  extends LongCallOptions,
    GptConfigOptions,
    Pick<LoadOptions, "device" | "precision" | "download" | "threads"> {
  /** The VQ that decodes: LlamaGen's or a TokLIP's, a path or a hub name. Without it there are ids and no pictures. */
  readonly vq?: string | undefined;
}

/** What LlamaGen's demonstrations generate with. */
const USUAL = {
  class: { guidanceScale: 4, topK: 2000 },
  caption: { guidanceScale: 7.5, topK: 1000 },
} as const;

/** What a model is made of. */
export interface LlamaGenParts {
  readonly backend: Backend;
  readonly checkpoints: readonly Checkpoint[];
  readonly config: GptConfig;
  readonly vq: VqDecoder | undefined;
  readonly options: LlamaGenOptions;
}

/** See `PictureGenerator` for what each method takes and gives. */
export class PlatformLlamaGen implements PictureGenerator {
  readonly config: GptConfig;
  private readonly parts: LlamaGenParts;
  private decoder: Promise<IdDecoder<GptPrompt>> | undefined;
  private disposed = false;

  protected constructor(parts: LlamaGenParts) {
    this.parts = parts;
    this.config = parts.config;
  }

  /** Opens a GPT and its VQ and holds them against each other; weights are read when they are first needed. */
  protected static async open(platform: Platform, source: string, options: LlamaGenOptions): Promise<LlamaGenParts> {
    const { signal, onProgress, download = false, device = "cpu", threads } = options;
    throwIfAborted(signal, "load");
    checkPrecision(options.precision);
    const sources = options.vq === undefined ? [source] : [source, options.vq];
    const locations: string[] = [];
    for (const name of sources) locations.push(await platform.locate(name, { signal, onProgress, download }));
    const backend = platform.createBackend({ device, threads });
    const checkpoints: Checkpoint[] = [];
    try {
      for (const location of locations) checkpoints.push(await platform.openCheckpoint(location));
      const [gpt, checkpoint] = checkpoints as [Checkpoint, Checkpoint?];
      const config = await findGptConfig(platform, locations[0]!, gpt, options);
      const vq = checkpoint && new VqDecoder({ backend, checkpoint, side: config.side, device });
      if (vq) checkCodebook(gpt, config, checkpoint!, vq);
      return { backend, checkpoints, config, vq, options };
    } catch (thrown) {
      await backend.dispose();
      for (const checkpoint of checkpoints) await checkpoint.close();
      throw thrown;
    }
  }

  get name(): string {
    return this.config.name;
  }

  get condition(): ClassCondition | CaptionCondition {
    return this.config.condition;
  }

  get side(): number {
    return this.config.side;
  }

  async *stream(request: PictureRequest): AsyncGenerator<GenerationEvent, void, undefined> {
    if (this.disposed) throw new ToklipError("DISPOSED", "this model has been disposed of");
    const batches = batchesOf(request, this.config);
    throwIfAborted(request.signal, "generate");
    const decoder = await this.compiled(request);
    const { vq } = this.parts;
    yield* batches.stream(decoder, vq && ((ids, options) => vq.decode(ids, options)));
  }

  generate(request: PictureRequest): Promise<GeneratedPicture[]> {
    return picturesOf(this.stream(request));
  }

  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    await this.parts.backend.dispose();
    for (const checkpoint of this.parts.checkpoints) await checkpoint.close();
  }

  /** The GPT, compiled when it is first asked for. */
  private compiled({ onProgress = this.parts.options.onProgress }: LongCallOptions): Promise<IdDecoder<GptPrompt>> {
    const { backend, checkpoints, config, options } = this.parts;
    const parts = { backend, checkpoint: checkpoints[0]!, config, precision: options.precision ?? "fp32" };
    this.decoder ??= openGptDecoder(parts, { onProgress }).catch((thrown) => {
      this.decoder = undefined;
      throw thrown;
    });
    return this.decoder;
  }
}

/** @throws ARGUMENT_INVALID, SHAPE_MISMATCH */
function batchesOf(request: PictureRequest, config: GptConfig): PictureBatches<GptPrompt> {
  const prompt = promptOf(request, config);
  checkPrompt(prompt, config);
  return new PictureBatches({
    request,
    conditions: "labels" in prompt ? prompt.labels.shape[0]! : prompt.features.shape[0]!,
    promptOf: (conditions) => promptRows(prompt, conditions),
    guidance: guidanceOf(request, config),
    topK: USUAL[config.condition.kind].topK,
  });
}

/** What the classes or the captions of a request are to the model. */
function promptOf({ classes, captions, texts }: PictureRequest, { name, condition }: GptConfig): GptPrompt {
  if ((classes === undefined) === (captions === undefined) || texts !== undefined) {
    throw new ToklipError("ARGUMENT_INVALID", `${name}: expected either classes or features of captions`);
  }
  if (classes !== undefined) {
    const odd = classes.find((label) => !Number.isInteger(label));
    if (odd !== undefined) throw new ToklipError("ARGUMENT_INVALID", `class ${odd}: expected a whole number`);
    return { labels: ndarray("i32", [classes.length], Int32Array.from(classes)) };
  }
  if (condition.kind === "caption") return alignCaptions(captions!, condition);
  throw new ToklipError("ARGUMENT_INVALID", `${name}: the condition is a class, not the features of a caption`);
}

/**
 * How a request is guided. A model that was trained without dropping its condition does not know what nothing is: that is
 * told where guidance was asked for, and left out where the model has no row to stand for it.
 */
function guidanceOf(request: PictureRequest, { name, condition }: GptConfig): GuidanceOptions | undefined {
  const { guidanceScale: asked, guidanceInterval: interval, warn } = request;
  if (condition.hasNull) return { scale: asked ?? USUAL[condition.kind].guidanceScale, interval };
  if (asked === undefined || asked <= 1) return undefined;
  const [trained, then] =
    condition.kind === "class"
      ? ["classes", "it is generated without guidance"]
      : ["captions", "guidance may do more harm than good"];
  warn?.(`${name} was trained without dropped ${trained}, which guidance by ${asked} leans on: ${then}`);
  return condition.kind === "class" ? undefined : { scale: asked, interval };
}

/** The rows of a prompt that some pictures continue. */
function promptRows(prompt: GptPrompt, conditions: readonly number[]): GptPrompt {
  const pick = <D extends "i32" | "f32">(array: NDArray<D>) =>
    concatRows(conditions.map((row) => rows(array, row, row + 1)));
  if ("labels" in prompt) return { labels: pick(prompt.labels) };
  const { features, valid } = prompt;
  return { features: pick(features), ...(valid && { valid: pick(valid) }) };
}

/** @throws CHECKPOINT_MISMATCH where a VQ has other ids than a GPT */
function checkCodebook(gpt: Checkpoint, { vocabSize }: GptConfig, vq: Checkpoint, { codebookSize }: VqDecoder): void {
  if (vocabSize === codebookSize) return;
  const message = `${gpt.name} makes ids of ${vocabSize} codes, but the codebook of ${vq.name} has ${codebookSize}`;
  throw new ToklipError("CHECKPOINT_MISMATCH", message);
}
