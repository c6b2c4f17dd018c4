/** A run that is ready to begin: its trainer and its batches. Here for the kinds that are trained on pictures. */
import { availableParallelism } from "node:os";
import type { BadSample, Batch, DataPosition } from "../data/index.ts";
import type { ToklipConfig } from "../models/index.ts";
import type { Backend } from "../runtime/index.ts";
import type { Communicator } from "../train/communicator.ts";
import type { FeatureCache } from "../train/feature-cache.ts";
import type { ImageTextBatch } from "../train/image-text-batch.ts";
import type { Positioned, TrainingEvent } from "../train/loop.ts";
import type { PictureRunConfig, RunConfig } from "../train/run-config.ts";
import type { Trainer } from "../train/trainer.ts";
import { createDecodePool } from "./decode-pool.ts";
import { openRunCache } from "./feature-cache.ts";
import { openRunBatches } from "./train-data.ts";
import { localBatchSize, openTrainer, tokenizerOf } from "./train-trainers.ts";

/** What any run is opened with. */
export interface RunContext {
  /** The run's folder. */
  readonly out: string;
  readonly backend: Backend;
  readonly communicator: Communicator;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: TrainingEvent) => void) | undefined;
  readonly onBad?: ((bad: BadSample) => void) | undefined;
}

/** A run. */
export interface OpenRun<B extends Positioned> {
  readonly trainer: Trainer<B>;
  /** Names of parameters that begin at random. */
  readonly fresh: readonly string[];
  /** The training batches from a position on, without end. */
  readonly batches: (from: DataPosition | undefined) => AsyncIterable<B>;
  /** The held-out ones. */
  readonly evaluation: (() => AsyncIterable<B>) | undefined;
  /** Samples of the training data, where that is known. */
  readonly size: number | undefined;
  /** Frees all of it but what it was opened with. */
  close(): Promise<void>;
}

/** Threads of the engine of one process. */
export function threadsOf({ threads }: RunConfig, communicator: Communicator): number {
  return threads ?? Math.max(1, Math.floor(availableParallelism() / localSize(communicator)));
}

/** Processes on this machine. */
function localSize(communicator: Communicator): number {
  return "localSize" in communicator ? (communicator.localSize as number) : communicator.size;
}

/** Opens a run on pictures. @throws what its data, models and trainer are refused for */
export async function openPictureRun(
  config: PictureRunConfig,
  model: ToklipConfig,
  context: RunContext,
): Promise<OpenRun<ImageTextBatch & Positioned>> {
  const { backend, communicator, signal, onBad } = context;
  const tokenizer = await tokenizerOf(config, model);
  const pool = createDecodePool(config.data.workers === null ? {} : { workers: config.data.workers });
  let cache: FeatureCache | undefined;
  const close = async (): Promise<void> => {
    await cache?.close();
    await pool.dispose();
  };
  try {
    cache = await openRunCache({ ...context, config, model });
    const { train, evaluation, size } = await openRunBatches({
      data: config.data,
      seed: config.seed,
      batchSize: localBatchSize(config, communicator),
      evalBatches: config.eval_batches,
      imageSize: model.trunk.imageSize,
      decode: pool.decode,
      ...(tokenizer && { text: { tokenizer, contextLength: model.text.contextLength } }),
      communicator,
      cache,
      signal,
      onBad,
    });
    const opened = await openTrainer({ config, model, backend, communicator, cache });
    return {
      trainer: opened.trainer,
      fresh: opened.fresh,
      batches: (from) => withTexts(train(from)),
      evaluation: evaluation && (() => withTexts(evaluation())),
      size,
      close: async () => {
        await opened.trainer.dispose();
        await opened.close();
        await close();
      },
    };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** Batches as the trainers take them; where no texts are wanted, none are read. */
async function* withTexts(batches: AsyncIterable<Batch>): AsyncGenerator<ImageTextBatch & Positioned> {
  const none = { dtype: "i32", shape: [0, 0], data: new Int32Array() } as const;
  for await (const { textIds = none, ...batch } of batches) yield { ...batch, textIds };
}
