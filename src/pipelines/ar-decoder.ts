/** The unified transformer on a backend, ready to read and to write; token features come from the TokLIP beside it. */
import { type LongCallOptions, type NDArray, ndarray, ToklipError } from "../core/index.ts";
import { type Checkpoint, readTensor } from "../files/checkpoint.ts";
import { type ArConfig, type ArGraphName, checkArCheckpoint, gridOf, traceArGraph } from "../models/index.ts";
import { type Backend, checkpointWeights, type Program, quantizeProgram, type Session } from "../runtime/index.ts";
import type { ArSessions } from "./ar-cache.ts";
import { type ArPrompt, type PromptIds, promptIds } from "./ar-prompt.ts";
import { ArStream } from "./ar-stream.ts";
import { checkPrecision, LINEAR_SCHEMES } from "./graph-runner.ts";
import type { Precision, TokLIPModel } from "./model.ts";

/** What makes token features of ids: a TokLIP. */
export type FeatureEncoder = Pick<TokLIPModel, "config" | "encodeFeatures" | "startStream">;

/** What a decoder is made of. */
export interface ArDecoderParts {
  readonly backend: Backend;
  readonly checkpoint: Checkpoint;
  readonly config: ArConfig;
  /** Of the linear layers of the blocks and the head; what makes embeddings stays as it is. Default `fp32`. */
  readonly precision?: Precision;
  /** Needed but for the entry `vq`. */
  readonly encoder?: FeatureEncoder;
}

/** How prompts are begun. */
export interface ArStartOptions extends LongCallOptions {
  /** Whether the prompts end in `<image>`, so that ids of pictures follow; false. */
  readonly opened?: boolean;
  /** Positions that may follow, and the places of the cache that they are to have; by default as many. */
  readonly room: number;
  readonly places?: number;
}

function programOf(name: ArGraphName, { checkpoint, config, precision = "fp32" }: ArDecoderParts): Program {
  const program = { name, graph: traceArGraph(name, config), weight: checkpointWeights(checkpoint) };
  const scheme = LINEAR_SCHEMES[precision];
  if (scheme === undefined) return program;
  const read = (parameter: string) => readTensor(checkpoint.tensors.get(parameter)!);
  return quantizeProgram(program, read, (parameter) => (/^(layers|output)\./.test(parameter) ? scheme : undefined));
}

/** @throws ARGUMENT_INVALID unless the encoder has these ids, and the features that the entry reads */
function checkEncoder({ name, entry, ...wanted }: ArConfig, encoder: FeatureEncoder | undefined): void {
  if (encoder === undefined) {
    if (entry === "vq") return;
    throw new ToklipError("ARGUMENT_INVALID", `${name}: entry ${entry} needs the TokLIP that makes its features`);
  }
  const { trunk, vq } = encoder.config;
  const say = (width: number, tokens: number, codes: number) =>
    `${entry === "vq" ? "" : `features ${width} wide for `}${tokens} ids of ${codes}`;
  const expected = say(wanted.featureWidth, wanted.imageTokens, wanted.codebookSize);
  const found = say(trunk.width, gridOf(trunk).tokens, vq?.codebookSize ?? 0);
  if (found === expected) return;
  throw new ToklipError("ARGUMENT_INVALID", `${name}: expected ${expected}, ${encoder.config.name} has ${found}`);
}

/** A compiled transformer. Backend, checkpoint and encoder stay the caller's. */
export class ArDecoder {
  readonly config: ArConfig;
  readonly encoder: FeatureEncoder | undefined;
  private readonly sessions: ArSessions;
  private readonly compiled: Promise<Session>[];

  private constructor(
    config: ArConfig,
    encoder: FeatureEncoder | undefined,
    sessions: ArSessions,
    compiled: Promise<Session>[],
  ) {
    this.config = config;
    this.encoder = encoder;
    this.sessions = sessions;
    this.compiled = compiled;
  }

  /**
   * Compiles a transformer.
   * @throws CHECKPOINT_MISMATCH for a checkpoint of another model; ARGUMENT_INVALID for a precision that there is not, or
   * where the encoder is missing or another's
   */
  static async open(parts: ArDecoderParts, options: LongCallOptions = {}): Promise<ArDecoder> {
    const { backend, checkpoint, config, encoder, precision } = parts;
    checkPrecision(precision);
    checkArCheckpoint(checkpoint, config);
    checkEncoder(config, encoder);
    const compiled: Promise<Session>[] = [];
    const compile = (name: ArGraphName, given: LongCallOptions) => {
      const session = backend.compile(programOf(name, parts), given);
      compiled.push(session);
      return session;
    };
    let score: Promise<Session> | undefined;
    const sessions = {
      step: await compile("ar_step", options),
      score: (given: LongCallOptions) => {
        score ??= compile("ar_score_step", given);
        return score;
      },
    };
    return new ArDecoder(config, encoder, sessions, compiled);
  }

  /**
   * Takes in prompts, a row for each.
   * @throws ARGUMENT_INVALID for no prompt, or one that the context has no room for; IDS_OUT_OF_RANGE, IDS_GRID_MISMATCH
   */
  async start(
    prompts: readonly ArPrompt[],
    { opened = false, room, places = room, ...options }: ArStartOptions,
  ): Promise<ArStream> {
    const rows = prompts.map((prompt) => promptIds(prompt, this.config, opened));
    return this.startIds(rows, { room, places, ...options });
  }

  /** As `start`, for prompts that are ids already. */
  async startIds(
    prompts: readonly PromptIds[],
    { room, places = room, ...options }: Omit<ArStartOptions, "opened">,
  ): Promise<ArStream> {
    if (prompts.length === 0) throw new ToklipError("ARGUMENT_INVALID", "no prompt is given");
    const features = await this.featuresOf(prompts, options);
    return ArStream.start(this.sessions, this.config, { prompts, features, room, places }, options);
  }

  /** Positions that may follow the longest of some prompts, less than 0 where it does not fit. */
  roomAfter(prompts: readonly ArPrompt[]): number {
    return (
      this.config.contextLength - Math.max(0, ...prompts.map((prompt) => promptIds(prompt, this.config).ids.length))
    );
  }

  /** Frees the graphs. */
  async dispose(): Promise<void> {
    for (const session of this.compiled) await (await session).dispose();
  }

  /** The features of all pictures of some prompts. */
  private async featuresOf(
    prompts: readonly PromptIds[],
    options: LongCallOptions,
  ): Promise<NDArray<"f32"> | undefined> {
    const pictures = prompts.flatMap((prompt) => prompt.pictures);
    if (this.encoder === undefined || this.config.entry === "vq" || pictures.length === 0) return undefined;
    const { imageTokens } = this.config;
    const ids = ndarray("i32", [pictures.length, imageTokens]);
    for (const [i, picture] of pictures.entries()) ids.data.set(picture.ids, i * imageTokens);
    return (await this.encoder.encodeFeatures(ids, { signal: options.signal })).tokenFeatures;
  }
}
