/**
 * LlamaGen (arXiv 2406.06525) loaded, platform-free: a GPT that continues a class or a caption with ids, and a VQ that
 * decodes them. The loop over ids is in `generate.ts`; here requests become batches of it, and ids become pictures.
 *
 * Dim letters: B pictures of a batch, h w grid.
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
import type { Image } from "../image/image.ts";
import type { CaptionCondition, ClassCondition, GptConfig } from "../models/index.ts";
import type { Backend } from "../runtime/index.ts";
import { checkGenerateOptions, type GenerateOptions, generateIds, type IdDecoder } from "./generate.ts";
import { alignCaptions, checkPrompt, type GptPrompt } from "./gpt-condition.ts";
import { openGptDecoder } from "./gpt-decoder.ts";
import { findGptConfig, type GptConfigOptions } from "./gpt-files.ts";
import { checkPrecision } from "./graph-runner.ts";
import type { LoadOptions } from "./model.ts";
import type { GeneratedPicture, GenerationEvent, PictureGenerator, PictureRequest } from "./picture-generator.ts";
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

const USUAL_BATCH = 8;

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
    const plan = planOf(request, this.config);
    throwIfAborted(request.signal, "generate");
    const decoder = await this.compiled(request);
    for (let first = 0; first < plan.pictures; first += plan.batch) yield* this.streamBatch(decoder, plan, first);
  }

  async generate(request: PictureRequest): Promise<GeneratedPicture[]> {
    const pictures: GeneratedPicture[] = [];
    for await (const event of this.stream(request)) if (event.type === "pictures") pictures.push(...event.pictures);
    return pictures;
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

  /** Generates the pictures from `first` on that fit into a batch. */
  private async *streamBatch(decoder: IdDecoder<GptPrompt>, plan: Plan, first: number) {
    const last = Math.min(first + plan.batch, plan.pictures);
    const conditions = Array.from({ length: last - first }, (_, i) => Math.floor((first + i) / plan.count));
    let latest: readonly Image[] | undefined;
    const options = { ...plan.options, seed: plan.seed + first, ...this.reporting(plan, first) };
    const steps = generateIds(decoder, promptRows(plan.prompt, conditions), options);
    try {
      for (;;) {
        const { done, value } = await steps.next();
        if (done) {
          // A preview of the last id is the picture.
          const images = latest ?? (await this.parts.vq?.decode(value, plan.options));
          yield { type: "pictures", pictures: picturesOf(value, images, { ...plan, first, conditions }) } as const;
          return;
        }
        const { count, ids, preview } = value;
        latest = preview;
        yield { type: "ids", first, count, ids, ...(preview && { previews: preview }) } as const;
      }
    } finally {
      await steps.return(undefined as never);
    }
  }

  /** Progress counts the steps of all batches. */
  private reporting({ pictures, batch, request }: Plan, first: number): GenerateOptions<readonly Image[]> {
    const { previewEvery: every, onProgress, signal } = request;
    const { vq } = this.parts;
    const steps = this.side ** 2;
    const [before, total] = [(first / batch) * steps, Math.ceil(pictures / batch) * steps];
    return {
      onProgress: onProgress && ((event) => onProgress({ ...event, done: before + event.done, total })),
      ...(vq && every !== undefined && { preview: { every, decode: (ids) => vq.decode(ids, { signal }) } }),
    };
  }
}

/** A request that has been checked. */
interface Plan {
  readonly request: PictureRequest;
  /** Pictures in all, of each condition, and side by side. */
  readonly pictures: number;
  readonly count: number;
  readonly batch: number;
  readonly seed: number;
  /** A row for each condition. */
  readonly prompt: GptPrompt;
  /** What is the same for all batches. */
  readonly options: GenerateOptions<readonly Image[]>;
}

function checkCount(what: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw new ToklipError("ARGUMENT_INVALID", `${what} ${value}: expected a whole number, 1 or more`);
}

/** @throws ARGUMENT_INVALID, SHAPE_MISMATCH */
function planOf(request: PictureRequest, config: GptConfig): Plan {
  const { temperature, topP, greedy, signal, seed = 0 } = request;
  const { topK = USUAL[config.condition.kind].topK } = request;
  const prompt = promptOf(request, config);
  checkPrompt(prompt, config);
  const conditions = "labels" in prompt ? prompt.labels.shape[0]! : prompt.features.shape[0]!;
  const count = checkCount("count", request.count ?? 1);
  const options = { temperature, topK, topP, greedy, signal, guidance: guidanceOf(request, config) };
  checkGenerateOptions({ ...options, seed });
  if (request.previewEvery !== undefined) checkCount("preview every", request.previewEvery);
  const batch = checkCount("batch", request.batch ?? USUAL_BATCH);
  return { request, pictures: conditions * count, count, batch, seed, prompt, options };
}

/** What the classes or the captions of a request are to the model. */
function promptOf({ classes, captions }: PictureRequest, { name, condition }: GptConfig): GptPrompt {
  if ((classes === undefined) === (captions === undefined)) {
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

interface BatchPlan extends Plan {
  readonly first: number;
  readonly conditions: readonly number[];
}

function picturesOf(
  grids: NDArray<"i32">,
  images: readonly Image[] | undefined,
  { first, conditions, seed }: BatchPlan,
): GeneratedPicture[] {
  const [, h, w] = grids.shape as [number, number, number];
  return conditions.map((condition, i) => {
    const ids = ndarray("i32", [h, w], grids.data.slice(i * h * w, (i + 1) * h * w));
    const image = images?.[i];
    return { index: first + i, condition, seed: seed + first + i, ids, ...(image && { image }) };
  });
}

/** @throws CHECKPOINT_MISMATCH where a VQ has other ids than a GPT */
function checkCodebook(gpt: Checkpoint, { vocabSize }: GptConfig, vq: Checkpoint, { codebookSize }: VqDecoder): void {
  if (vocabSize === codebookSize) return;
  const message = `${gpt.name} makes ids of ${vocabSize} codes, but the codebook of ${vq.name} has ${codebookSize}`;
  throw new ToklipError("CHECKPOINT_MISMATCH", message);
}
