/** Trains towers against a contrastive loss: TokLIP's token encoder, or a pixel teacher with its text tower. */
import { type NDArray, ToklipError } from "../core/index.ts";
import type { Graph } from "../graph/index.ts";
import type { Backend, Feeds, Weight } from "../runtime/index.ts";
import { type Communicator, singleProcess } from "./communicator.ts";
import { type ContrastiveObjective, feedsOf } from "./contrastive-objective.ts";
import {
  batchLossGraph,
  type ContrastiveStep,
  compileContrastiveStep,
  featureWidths,
  type LossAndGradients,
  towerGraph,
} from "./contrastive-step.ts";
import type { ImageTextBatch } from "./image-text-batch.ts";
import {
  evaluatedParameters,
  fileOf,
  ParameterUpdate,
  type ParameterUpdateOptions,
  restoreParameters,
} from "./parameter-update.ts";
import { recallAtOne } from "./retrieval.ts";
import type { Schedule } from "./schedule.ts";
import type { StepReport, Trainer, TrainerState } from "./trainer.ts";
import { FedSession, outputsNamed, type Parameters } from "./training-graph.ts";

/** What a training of towers is made of. */
export interface ContrastiveTrainerOptions {
  readonly backend: Backend;
  readonly objective: ContrastiveObjective;
  /** The trained parameters at their start; the trainer takes them over. */
  readonly parameters: Parameters;
  /** The weights of parameters that are not trained. */
  readonly frozen?: (name: string) => Promise<Weight>;
  readonly update: ParameterUpdateOptions;
  readonly schedule: Schedule;
  /** Samples of this process in one step. */
  readonly batchSize: number;
  /** Samples that the towers take at once. Default all of them. */
  readonly partSize?: number;
  /** Compute the inside of blocks again instead of keeping it: less memory for about a third more time. */
  readonly recompute?: boolean;
  readonly communicator?: Communicator;
}

function nothingFrozen(name: string): Promise<Weight> {
  return Promise.reject(new ToklipError("CHECKPOINT_MISMATCH", `parameter ${name} has no value`));
}

/** The trainer. */
export class ContrastiveTrainer implements Trainer<ImageTextBatch> {
  private readonly options: ContrastiveTrainerOptions;
  private readonly parameters: Parameters;
  private readonly update: ParameterUpdate;
  private readonly compiled: ContrastiveStep;
  private towers: FedSession | undefined;
  private readonly losses = new Map<number, FedSession>();

  private constructor(options: ContrastiveTrainerOptions, compiled: ContrastiveStep) {
    this.options = options;
    this.parameters = options.parameters;
    this.update = new ParameterUpdate(options.parameters, options.update);
    this.compiled = compiled;
  }

  /** Compiles the graphs of a training. @throws ARGUMENT_INVALID, GRAPH_INVALID, CHECKPOINT_MISMATCH, OUT_OF_MEMORY */
  static async create(options: ContrastiveTrainerOptions): Promise<ContrastiveTrainer> {
    const { backend, objective, parameters, batchSize, partSize = batchSize, recompute = false } = options;
    const { communicator = singleProcess, frozen = nothingFrozen } = options;
    const sizes = { batchSize, partSize, recompute };
    const step = await compileContrastiveStep(backend, objective, parameters, { ...sizes, communicator, frozen });
    return new ContrastiveTrainer(options, step);
  }

  async step(
    batch: ImageTextBatch,
    { step, total }: { readonly step: number; readonly total: number },
  ): Promise<StepReport> {
    const { parts, gradients } = await this.lossAndGradients(batch);
    const loss = Object.values(parts).reduce((sum, part) => sum + part, 0);
    const learningRate = this.options.schedule(step, total);
    const scale = this.parameters.get("logit_scale");
    const report = { loss, learningRate, parts: { ...parts, ...(scale && { logit_scale: Math.exp(scale.data[0]!) }) } };
    if (!Number.isFinite(loss)) return { ...report, gradientNorm: Number.NaN };
    return { ...report, gradientNorm: this.update.step(this.parameters, gradients, learningRate) };
  }

  /** The loss by parts and all gradients of a batch, without a step: what the tests hold against the reference. */
  async lossAndGradients(batch: ImageTextBatch): Promise<LossAndGradients> {
    return this.compiled.run(this.parameters, await this.options.objective.prepare(batch));
  }

  /**
   * `loss` and its parts, as means over batches, and the share of pictures whose own text is the nearest of all
   * (`image_to_text@1`), and of texts whose picture is (`text_to_image@1`), over all samples together.
   */
  async evaluate(batches: AsyncIterable<ImageTextBatch>): Promise<Readonly<Record<string, number>>> {
    const sums: Record<string, number> = {};
    const seen: Feeds[] = [];
    let samples = 0;
    const parameters = evaluatedParameters(this.parameters, this.update.averages());
    for await (const batch of batches) {
      const feeds = await this.options.objective.prepare(batch);
      const features = await (await this.towerSession()).run(
        parameters,
        feedsOf(this.options.objective.towerInputs, feeds),
      );
      const count = batch.keys.length;
      const inputs = { ...features, ...feedsOf(this.options.objective.lossInputs, feeds) };
      const fetched = await (await this.lossSession(count)).run(parameters, inputs);
      for (const [name, data] of outputsNamed("part.", fetched)) sums[name] = (sums[name] ?? 0) + data[0]! * count;
      seen.push({ ...inputs, concepts: batch.concepts });
      samples += count;
    }
    const parts = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / samples]));
    const loss = Object.values(parts).reduce((sum, part) => sum + part, 0);
    return { loss, ...parts, ...recallOf(seen) };
  }

  state(): TrainerState {
    const { files, json } = this.update.state();
    return { files: { model: this.parameters, ...files }, json };
  }

  restore({ files, json }: TrainerState): void {
    restoreParameters(this.parameters, fileOf(files, "model"));
    this.update.restore(files, json);
  }

  /** The trained parameters as they are, or averaged where an average is kept. */
  trained(weights: "last" | "ema" = "last"): ReadonlyMap<string, NDArray> {
    return (weights === "ema" ? this.update.averages() : undefined) ?? this.parameters;
  }

  async dispose(): Promise<void> {
    for (const session of [this.compiled, this.towers, ...this.losses.values(), this.options.objective]) {
      await session?.dispose();
    }
  }

  private async towerSession(): Promise<FedSession> {
    this.towers ??= await this.compile("eval_towers", towerGraph(this.options.objective, "B"));
    return this.towers;
  }

  private async lossSession(count: number): Promise<FedSession> {
    let session = this.losses.get(count);
    if (session === undefined) {
      const { objective } = this.options;
      const widths = featureWidths(towerGraph(objective, count));
      const graph = batchLossGraph(objective, count, widths, { withGradients: false });
      session = await this.compile("eval_loss", graph);
      this.losses.set(count, session);
    }
    return session;
  }

  private compile(name: string, graph: Graph): Promise<FedSession> {
    const { backend, frozen = nothingFrozen } = this.options;
    return FedSession.compile(backend, name, graph, this.parameters, frozen);
  }
}

function recallOf(seen: readonly Feeds[]): Record<string, number> {
  const text = seen[0]?.["features.text"] === undefined ? "text_features" : "features.text";
  if (seen[0]?.[text] === undefined) return {};
  const all = (name: string) => seen.map((feeds) => feeds[name]!);
  return recallAtOne(all("features.image"), all(text), all("concepts"));
}
