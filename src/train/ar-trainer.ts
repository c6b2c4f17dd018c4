/**
 * Trains the unified transformer: next-token prediction over packed rows of text and pictures. The token encoder whose
 * features pictures enter by stays as it is, or is trained with it.
 *
 * Dim letters: P pictures, N ids of a picture, F numbers that are read at each id.
 */
import type { NDArray } from "../core/index.ts";
import { Graph } from "../graph/index.ts";
import type { ArConfig, ToklipConfig } from "../models/index.ts";
import type { Feeds } from "../runtime/index.ts";
import type { ArBatch } from "./ar-batches.ts";
import {
  type ArLossWeights,
  countedLosses,
  imageFeeds,
  pictureFeeds,
  rowFeeds,
  totalWeight,
  weightFeeds,
} from "./ar-feeds.ts";
import { arEvaluationGraph, arTrainingGraph } from "./ar-objective.ts";
import { AR_LOSSES, type ArLoss } from "./ar-sequences.ts";
import type { Learner } from "./learner.ts";
import { type LearnerOptions, openLearner } from "./open-learner.ts";
import { feedsOfPart, PackedStep, partsOfBatch } from "./packed-step.ts";
import { fileOf } from "./parameter-update.ts";
import type { Schedule } from "./schedule.ts";
import type { SamplePicture, StepReport, TensorMap, Trainer, TrainerState } from "./trainer.ts";
import { outputsNamed } from "./training-graph.ts";

/** What a frozen token encoder makes of pictures. */
export interface PictureReader {
  /** What it must remember besides its weights, with the transformer: fitted codebooks. */
  readonly buffers: TensorMap;
  /** Takes these over from a checkpoint. @throws CHECKPOINT_MISMATCH */
  restore(tensors: TensorMap): void;
  /** Pictures, each N ids -> token features f32 (P, N, F), or their codes i32. */
  read(pictures: readonly Int32Array[]): Promise<NDArray<"f32"> | NDArray<"i32">>;
  /** Frees its graph. */
  dispose(): Promise<void>;
}

/** A held-out picture to try the model on. */
export interface ArExample {
  readonly caption: string;
  /** i32 (N). */
  readonly picture: Int32Array;
}

/** What a training of the unified transformer is made of. */
export interface ArTrainerOptions extends LearnerOptions {
  readonly model: ArConfig;
  readonly weights: ArLossWeights;
  /** The token encoder that is trained through: its parameters are among the trained, its codebook among the frozen. */
  readonly encoder?: ToklipConfig | undefined;
  /** What reads pictures, where the token encoder stays as it is and the entry reads what it makes. */
  readonly reader?: PictureReader | undefined;
  readonly schedule: Schedule;
  /** Draws what a model of these parameters makes of examples. */
  readonly draw?:
    | ((parameters: TensorMap, examples: readonly ArExample[]) => Promise<readonly SamplePicture[]>)
    | undefined;
}

/** The most examples that pictures are drawn for. */
const MOST_EXAMPLES = 8;

/** The trainer. */
export class ArTrainer implements Trainer<ArBatch> {
  private readonly options: ArTrainerOptions;
  private readonly learner: Learner;

  private constructor(options: ArTrainerOptions, learner: Learner) {
    this.options = options;
    this.learner = learner;
  }

  /** Compiles the step. @throws ARGUMENT_INVALID, GRAPH_INVALID, CHECKPOINT_MISMATCH, OUT_OF_MEMORY */
  static async create(options: ArTrainerOptions): Promise<ArTrainer> {
    const { backend, parameters, batchSize, partSize = batchSize } = options;
    const parts = partsOfBatch(batchSize, partSize);
    const learner = await openLearner(options, {
      step: (given) => PackedStep.compile(backend, trainingGraphOf(options), parameters, { parts, ...given }),
      graph: () => trainingGraphOf(options),
    });
    return new ArTrainer(options, learner);
  }

  async step(batch: ArBatch, { step, total }: { readonly step: number; readonly total: number }): Promise<StepReport> {
    const learningRate = this.options.schedule(step, total);
    const { parts, gradientNorm } = await this.learner.step(await this.feeds(batch), learningRate);
    const loss = Object.values(parts).reduce((sum, part) => sum + part, 0);
    return { loss, learningRate, gradientNorm, parts: this.means(parts, batch) };
  }

  /** The weighted loss by parts and all gradients of a batch, without a step. */
  async lossAndGradients(batch: ArBatch) {
    return this.learner.lossAndGradients(await this.feeds(batch));
  }

  /**
   * Over held-out batches: the weighted `loss`, and the mean cross entropy of the targets of each loss in nats, as
   * `text_to_image`, `image_to_text`, `image_prior`.
   */
  async evaluate(batches: AsyncIterable<ArBatch>): Promise<Readonly<Record<string, number>>> {
    const { weights } = this.options;
    const losses = countedLosses(weights);
    const sums = Object.fromEntries(losses.map((loss) => [loss, { sum: 0, count: 0 }]));
    const evaluation = this.learner.evaluation();
    for await (const batch of batches) {
      const ones = Object.fromEntries(losses.map((loss) => [loss, 1]));
      const feeds = { ...rowFeeds(batch), ...weightFeeds(batch, ones), ...(await this.pictures(batch)) };
      const parts = batch.rows.ids.shape[0]! / this.partSize;
      for (let part = 0; part < parts; part++) {
        const fetched = await evaluation.run(
          "eval_loss",
          () => this.evaluationGraph(),
          feedsOfPart(feeds, part, parts),
        );
        for (const [name, data] of outputsNamed("part.", fetched)) sums[name]!.sum += data[0]!;
      }
      for (const loss of losses) sums[loss]!.count += batch.targets[loss];
    }
    const counted = losses.filter((loss) => sums[loss]!.count > 0);
    const total = counted.reduce((sum, loss) => sum + weights[loss] * sums[loss]!.count, 0);
    const loss = counted.reduce((sum, each) => sum + weights[each] * sums[each]!.sum, 0) / total;
    return { loss, ...Object.fromEntries(counted.map((each) => [each, sums[each]!.sum / sums[each]!.count])) };
  }

  /** What the model makes of the first samples of a batch. */
  async samples(batch: ArBatch): Promise<readonly SamplePicture[]> {
    const { draw } = this.options;
    if (draw === undefined) return [];
    const first = new Map<string, ArExample>();
    for (const { sequence } of batch.placed) {
      if (first.size < MOST_EXAMPLES && !first.has(sequence.key)) first.set(sequence.key, sequence);
    }
    return draw(await this.trained("ema"), [...first.values()]);
  }

  /** What a checkpoint holds of the training: what the reader of pictures must remember goes with the model. */
  async state(): Promise<TrainerState> {
    const { files, json } = await this.learner.state();
    const buffers = this.options.reader?.buffers ?? new Map();
    return { files: { ...files, model: new Map([...fileOf(files, "model"), ...buffers]) }, json };
  }

  async restore(state: TrainerState): Promise<void> {
    await this.learner.restore(state);
    this.options.reader?.restore(fileOf(state.files, "model"));
  }

  /** The model's parameters as they are, or averaged where an average is kept. */
  async trained(weights: "last" | "ema" = "last"): Promise<TensorMap> {
    return new Map([...(await this.learner.trained(weights)), ...(this.options.reader?.buffers ?? [])]);
  }

  async dispose(): Promise<void> {
    await this.learner.dispose();
    await this.options.reader?.dispose();
  }

  private get partSize(): number {
    return this.options.partSize ?? this.options.batchSize;
  }

  private evaluationGraph(): Graph {
    return arEvaluationGraph(new Graph(), partOptions(this.options));
  }

  private async feeds(batch: ArBatch): Promise<Feeds> {
    const { weights } = this.options;
    const total = totalWeight(batch.targets, weights);
    const shares = countedLosses(weights).map((loss) => [loss, weights[loss] / total] as const);
    const pictures = await this.pictures(batch);
    return { ...rowFeeds(batch), ...weightFeeds(batch, Object.fromEntries(shares)), ...pictures };
  }

  /** What the entry reads of pictures, or what the encoder in the graph does. */
  private async pictures(batch: ArBatch): Promise<Feeds> {
    const { model, encoder, reader } = this.options;
    if (encoder !== undefined) return pictureFeeds(batch, model, this.partSize);
    if (reader === undefined) return {};
    return imageFeeds(batch, await reader.read(batch.placed.map(({ sequence }) => sequence.picture)));
  }

  /** The mean cross entropy of each loss that the batch has targets of. */
  private means(parts: Readonly<Record<string, number>>, { targets }: ArBatch): Record<string, number> {
    const { weights } = this.options;
    const total = totalWeight(targets, weights);
    const present = AR_LOSSES.filter((loss: ArLoss) => weights[loss] > 0 && targets[loss] > 0);
    return Object.fromEntries(present.map((loss) => [loss, (parts[loss]! * total) / (weights[loss] * targets[loss])]));
  }
}

function partOptions({ model, encoder, weights, batchSize, partSize = batchSize }: ArTrainerOptions) {
  return { model, encoder, partSize, losses: countedLosses(weights) };
}

function trainingGraphOf(options: ArTrainerOptions): Graph {
  const { parameters, recompute = false } = options;
  return arTrainingGraph(partOptions(options), { trained: (name) => parameters.has(name), recompute });
}
