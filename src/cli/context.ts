/**
 * What a verb works with: where data and messages go, when to stop, and the parts of the project that do the work.
 * Tests bring their own, so the whole command line runs in process.
 */
import type { LongCallOptions, NDArray } from "../core/index.ts";
import type { EvaluationSession, SessionOptions } from "../evaluation/session.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import type { Image } from "../image/image.ts";
import type { ArConfig } from "../models/ar-config.ts";
import type { ToklipConfig } from "../models/config.ts";
import type { GptConfig } from "../models/gpt-config.ts";
import type { CaptionEncoderOptions } from "../node/caption-encoder.ts";
import type { PictureGeneratorOptions } from "../node/picture-generator.ts";
import type { TrainOptions, TrainResult } from "../node/train.ts";
import type { EstimateRunOptions, RunEstimate } from "../node/train-estimate.ts";
import type { ExportRunOptions } from "../node/train-export.ts";
import type { PictureReader } from "../pipelines/caption.ts";
import type { LoadOptions, TokLIPModel } from "../pipelines/model.ts";
import type { PictureGenerator } from "../pipelines/picture-generator.ts";
import type { UnifiedOptions } from "../pipelines/unified.ts";
import type { Output } from "./output.ts";

/** `convert`: which tensors, in what form. */
export interface ConvertRequest extends LongCallOptions {
  readonly source: string;
  readonly out: string;
  readonly precision?: "keep" | "fp32" | "fp16";
  readonly shardBytes?: number;
  readonly only?: "vq" | "image" | "text";
  readonly weights?: "model" | "ema";
  readonly overwrite?: boolean;
}

export interface ConvertedFiles {
  readonly files: readonly string[];
  /** Names of tensors with values that the new dtype could only hold as infinity. */
  readonly overflowed: readonly string[];
}

/** `export`: a model as ONNX files in the folder `out`. */
export interface ExportRequest extends LongCallOptions {
  readonly source: string;
  readonly out: string;
  readonly config?: string;
  readonly download: boolean;
  readonly overwrite?: boolean;
}

/** `init`: a checkpoint of random weights. */
export interface InitRequest extends LongCallOptions {
  readonly config: string;
  readonly seed: number;
  readonly out: string;
  readonly precision?: "fp32" | "fp16";
  readonly overwrite?: boolean;
}

/** The heavy parts behind the verbs, each loaded when it is first called. */
export interface Engine {
  loadModel(source: string, options: LoadOptions): Promise<TokLIPModel>;
  /** A model that generates pictures. */
  loadGenerator(source: string, options: PictureGeneratorOptions): Promise<PictureGenerator>;
  /** A unified transformer, for reading pictures. */
  loadUnified(source: string, options: UnifiedOptions): Promise<PictureReader & { dispose(): Promise<void> }>;
  /** The features of captions by an ONNX encoder. */
  encodeCaptions(texts: readonly string[], options: CaptionEncoderOptions): Promise<readonly NDArray<"f32">[]>;
  /** The local path of a checkpoint: the path itself, or a hub name's place in the cache, downloaded where allowed. */
  locate(source: string, options: LongCallOptions & { readonly download: boolean }): Promise<string>;
  openCheckpoint(path: string): Promise<Checkpoint>;
  /** The configuration that belongs to a checkpoint. @throws CONFIG_UNKNOWN */
  findConfig(path: string, checkpoint: Checkpoint, asked: string | undefined): Promise<ToklipConfig>;
  /** The same for a GPT of LlamaGen, held against it; undefined for a checkpoint of anything else. */
  findGptConfig(path: string, checkpoint: Checkpoint, asked: string | undefined): Promise<GptConfig | undefined>;
  /** The same for a unified transformer. */
  findArConfig(path: string, checkpoint: Checkpoint, asked: string | undefined): Promise<ArConfig | undefined>;
  convert(request: ConvertRequest): Promise<ConvertedFiles>;
  exportOnnx(request: ExportRequest): Promise<{ readonly files: readonly string[] }>;
  initCheckpoint(request: InitRequest): Promise<{ readonly parameters: number; readonly bytes: number }>;
  encodePng(image: Image): Promise<Uint8Array>;
  train(options: TrainOptions): Promise<TrainResult>;
  estimateTraining(options: EstimateRunOptions): Promise<RunEstimate>;
  /** Opens what every evaluation works with. @throws as `openEvaluationSession` of `node/evaluation-session.ts` */
  openEvaluation(options: SessionOptions): Promise<EvaluationSession>;
  exportRun(options: ExportRunOptions): Promise<{ readonly out: string; readonly step: number }>;
}

/** What `toklip` was started with. */
export interface CliContext {
  /** Data. */
  readonly stdout: Output;
  /** People's text and progress. */
  readonly stderr: Output;
  /** Fires when the user interrupts. */
  readonly signal: AbortSignal;
  readonly engine: Engine;
  /** Seconds, for rates. */
  readonly now: () => number;
}

/** Runs a verb's work and keeps its exit status. */
export type RunVerb = (work: (context: CliContext) => Promise<number>) => Promise<void>;
