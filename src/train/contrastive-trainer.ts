/** Trains towers against a contrastive loss: TokLIP's token encoder, or a pixel teacher with its text tower. */
import type { NDArray } from "../core/index.ts";
import type { Graph } from "../graph/index.ts";
import type { Feeds, Fetches } from "../runtime/index.ts";
import { type ContrastiveObjective, feedsOf } from "./contrastive-objective.ts";
import {
  batchLossGraph,
  compileContrastiveStep,
  featureWidths,
  joined,
  type LossAndGradients,
  rowsOf,
  towerGraph,
  wholeBatchGraph,
} from "./contrastive-step.ts";
import type { ImageTextBatch } from "./image-text-batch.ts";
import type { Evaluation, Learner } from "./learner.ts";
import { type LearnerOptions, openLearner } from "./open-learner.ts";
import { recallAtOne } from "./retrieval.ts";
import type { Schedule } from "./schedule.ts";
import type { StepReport, Trainer, TrainerState } from "./trainer.ts";
import { outputsNamed } from "./training-graph.ts";

/** What a training of towers is made of. */
export interface ContrastiveTrainerOptions extends LearnerOptions {
  readonly objective: ContrastiveObjective;
  /** What an evaluation computes, where that is not the same. Default `objective`. */
  readonly evaluated?: ContrastiveObjective;
  readonly schedule: Schedule;
}

/** The trainer. */
export class ContrastiveTrainer implements Trainer<ImageTextBatch> {
  private readonly options: ContrastiveTrainerOptions;
  private readonly learner: Learner;

  private constructor(options: ContrastiveTrainerOptions, learner: Learner) {
    this.options = options;
    this.learner = learner;
  }

  /** Compiles the graphs of a training. @throws ARGUMENT_INVALID, GRAPH_INVALID, CHECKPOINT_MISMATCH, OUT_OF_MEMORY */
  static async create(options: ContrastiveTrainerOptions): Promise<ContrastiveTrainer> {
    const { backend, objective, parameters, batchSize, partSize = batchSize, recompute = false } = options;
    const learner = await openLearner(options, {
      step: (given) =>
        compileContrastiveStep(backend, objective, parameters, { batchSize, partSize, recompute, ...given }),
      graph: () => wholeBatchGraph(objective, batchSize, (name) => parameters.has(name), recompute),
    });
    return new ContrastiveTrainer(options, learner);
  }

  private get evaluated(): ContrastiveObjective {
    return this.options.evaluated ?? this.options.objective;
  }

  async step(
    batch: ImageTextBatch,
    { step, total }: { readonly step: number; readonly total: number },
  ): Promise<StepReport> {
    const learningRate = this.options.schedule(step, total);
    const feeds = await this.options.objective.prepare(batch, step);
    const { parts, gradientNorm, logitScale } = await this.learner.step(feeds, learningRate);
    const loss = Object.values(parts).reduce((sum, part) => sum + part, 0);
    const scale = logitScale !== undefined && { logit_scale: Math.exp(logitScale) };
    return { loss, learningRate, parts: { ...parts, ...scale }, gradientNorm };
  }

  /** The loss by parts and all gradients of a batch, without a step: what the tests hold against the reference. */
  async lossAndGradients(batch: ImageTextBatch): Promise<LossAndGradients> {
    return this.learner.lossAndGradients(await this.options.objective.prepare(batch));
  }

  /**
   * `loss` and its parts, as means over batches, and the share of pictures whose own text is the nearest of all
   * (`image_to_text@1`), and of texts whose picture is (`text_to_image@1`), over all samples together.
   */
  async evaluate(batches: AsyncIterable<ImageTextBatch>): Promise<Readonly<Record<string, number>>> {
    const objective = this.evaluated;
    const sums: Record<string, number> = {};
    const seen: Feeds[] = [];
    let samples = 0;
    const evaluation = this.learner.evaluation();
    for await (const batch of batches) {
      const count = batch.keys.length;
      const feeds = await objective.prepare(batch);
      const inputs = { ...(await this.features(evaluation, feeds, count)), ...feedsOf(objective.lossInputs, feeds) };
      const fetched = await evaluation.run(`eval_loss_${count}`, () => evaluatedLoss(objective, count), inputs);
      for (const [name, data] of outputsNamed("part.", fetched)) sums[name] = (sums[name] ?? 0) + data[0]! * count;
      seen.push({ ...inputs, concepts: batch.concepts });
      samples += count;
    }
    const parts = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / samples]));
    const loss = Object.values(parts).reduce((sum, part) => sum + part, 0);
    return { loss, ...parts, ...recallOf(seen) };
  }

  /** The features of a batch, a part at a time. */
  private async features(evaluation: Evaluation, feeds: Feeds, count: number): Promise<Feeds> {
    const { batchSize, partSize = batchSize } = this.options;
    const objective = this.evaluated;
    const inputs = feedsOf(objective.towerInputs, feeds);
    const made: Fetches[] = [];
    for (let start = 0; start < count; start += partSize) {
      const part = rowsOf(inputs, start, Math.min(start + partSize, count));
      made.push(await evaluation.run("eval_towers", () => towerGraph(objective, "B"), part));
    }
    return joined(made);
  }

  /** What a checkpoint holds of the training. */
  state(): Promise<TrainerState> {
    return this.learner.state();
  }

  restore(state: TrainerState): Promise<void> {
    return this.learner.restore(state);
  }

  /** The trained parameters as they are, or averaged where an average is kept. */
  trained(weights: "last" | "ema" = "last"): Promise<ReadonlyMap<string, NDArray>> {
    return this.learner.trained(weights);
  }

  async dispose(): Promise<void> {
    await this.learner.dispose();
    await this.options.objective.dispose();
  }
}

/** The loss of a batch of this size over features. */
function evaluatedLoss(objective: ContrastiveObjective, count: number): Graph {
  return batchLossGraph(objective, count, featureWidths(towerGraph(objective, count)), { withGradients: false });
}

function recallOf(seen: readonly Feeds[]): Record<string, number> {
  const text = seen[0]?.["features.text"] === undefined ? "text_features" : "features.text";
  if (seen[0]?.[text] === undefined) return {};
  const all = (name: string) => seen.map((feeds) => feeds[name]!);
  return recallAtOne(all("features.image"), all(text), all("concepts"));
}
