/** Parameters that live in JavaScript: lent to each run, updated by the SIMD kernel. The fastest on a CPU. */
import type { NDArray } from "../core/index.ts";
import type { Graph } from "../graph/index.ts";
import type { Backend, Feeds, Weight } from "../runtime/index.ts";
import type { ContrastiveStep, LossAndGradients } from "./contrastive-step.ts";
import { type Evaluation, type Learner, type LearnerReport, LOGIT_SCALE } from "./learner.ts";
import {
  evaluatedParameters,
  fileOf,
  ParameterUpdate,
  type ParameterUpdateOptions,
  restoreParameters,
} from "./parameter-update.ts";
import type { TrainerState } from "./trainer.ts";
import { FedSession, type Parameters } from "./training-graph.ts";

/** What a learner in JavaScript is made of. */
export interface HostLearnerOptions {
  readonly backend: Backend;
  /** The learner takes them over. */
  readonly parameters: Parameters;
  readonly step: ContrastiveStep;
  readonly update: ParameterUpdateOptions;
  /** The weights of parameters that are not trained. */
  readonly frozen: (name: string) => Promise<Weight>;
}

/** The learner. */
export class HostLearner implements Learner {
  private readonly options: HostLearnerOptions;
  private readonly parameters: Parameters;
  private readonly update: ParameterUpdate;
  private readonly sessions = new Map<string, Promise<FedSession>>();

  /** @throws ARGUMENT_INVALID, OUT_OF_MEMORY */
  constructor(options: HostLearnerOptions) {
    this.options = options;
    this.parameters = options.parameters;
    this.update = new ParameterUpdate(options.parameters, options.update);
  }

  async step(feeds: Feeds, learningRate: number): Promise<LearnerReport> {
    const { parts, gradients } = await this.lossAndGradients(feeds);
    const finite = Object.values(parts).every(Number.isFinite);
    const logitScale = this.parameters.get(LOGIT_SCALE)?.data[0];
    const gradientNorm = finite ? this.update.step(this.parameters, gradients, learningRate) : Number.NaN;
    return { parts, gradientNorm, logitScale };
  }

  lossAndGradients(feeds: Feeds): Promise<LossAndGradients> {
    return this.options.step.run(this.parameters, feeds);
  }

  evaluation(): Evaluation {
    const parameters = evaluatedParameters(this.parameters, this.update.averages());
    return { run: async (name, graph, feeds) => (await this.session(name, graph)).run(parameters, feeds) };
  }

  async trained(weights: "last" | "ema"): Promise<ReadonlyMap<string, NDArray>> {
    return (weights === "ema" ? this.update.averages() : undefined) ?? this.parameters;
  }

  async state(): Promise<TrainerState> {
    const { files, json } = this.update.state();
    return { files: { model: this.parameters, ...files }, json };
  }

  async restore({ files, json }: TrainerState): Promise<void> {
    restoreParameters(this.parameters, fileOf(files, "model"));
    this.update.restore(files, json);
  }

  /** Frees the graphs. */
  async dispose(): Promise<void> {
    await this.options.step.dispose();
    for (const session of this.sessions.values()) await (await session).dispose();
  }

  private session(name: string, graph: () => Graph): Promise<FedSession> {
    const { backend, frozen } = this.options;
    let session = this.sessions.get(name);
    if (session === undefined) {
      session = FedSession.compile(backend, name, graph(), this.parameters, frozen);
      this.sessions.set(name, session);
    }
    return session;
  }
}
