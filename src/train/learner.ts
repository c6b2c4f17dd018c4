/** What holds trained parameters and moves them: in JavaScript (host-learner.ts) or with the backend (resident-learner.ts). */
import type { NDArray } from "../core/index.ts";
import type { Graph } from "../graph/index.ts";
import type { Feeds, Fetches } from "../runtime/index.ts";
import type { LossAndGradients } from "./contrastive-step.ts";
import type { TrainerState } from "./trainer.ts";

/** The name of the parameter that reports speak of: the logarithm of the logit scale. */
export const LOGIT_SCALE = "logit_scale";

/** What one step found. */
export interface LearnerReport {
  /** The loss by parts. */
  readonly parts: Readonly<Record<string, number>>;
  /** The norm of all gradients before clipping; NaN where the loss is no finite number. */
  readonly gradientNorm: number;
  /** The logarithm of the logit scale before the step, where there is one. */
  readonly logitScale: number | undefined;
}

/** Runs graphs over the parameters as they were when it was made: averaged where an average is kept. */
export interface Evaluation {
  /** Graphs of one name are one graph, made once. */
  run(name: string, graph: () => Graph, feeds: Feeds): Promise<Fetches>;
}

/** Parameters under training. */
export interface Learner {
  /** One optimizer step. A loss or gradient that is not finite leaves everything as it was. */
  step(feeds: Feeds, learningRate: number): Promise<LearnerReport>;
  /** The loss and all gradients, without a step. */
  lossAndGradients(feeds: Feeds): Promise<LossAndGradients>;
  /** Ends with the next step. */
  evaluation(): Evaluation;
  /** The parameters as they are, or averaged where an average is kept. */
  trained(weights: "last" | "ema"): Promise<ReadonlyMap<string, NDArray>>;
  /** The same files and JSON whatever holds the parameters. */
  state(): Promise<TrainerState>;
  /** @throws CHECKPOINT_MISMATCH */
  restore(state: TrainerState): Promise<void>;
  /** Frees the graphs and what is kept on the device. */
  dispose(): Promise<void>;
}
