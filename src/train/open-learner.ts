/** Chooses what holds the parameters of a training, JavaScript or the device, and puts it together. */
import { ToklipError } from "../core/index.ts";
import type { Graph } from "../graph/index.ts";
import type { Backend, Weight } from "../runtime/index.ts";
import { type Communicator, singleProcess } from "./communicator.ts";
import type { ContrastiveStep } from "./contrastive-step.ts";
import { HostLearner } from "./host-learner.ts";
import type { Learner } from "./learner.ts";
import type { ParameterUpdateOptions } from "./parameter-update.ts";
import { ResidentLearner } from "./resident-learner.ts";
import type { Parameters } from "./training-graph.ts";

/** What every training by gradients is made of. */
export interface LearnerOptions {
  readonly backend: Backend;
  /** The trained parameters at their start; the learner takes them over. */
  readonly parameters: Parameters;
  /** The weights of parameters that are not trained. */
  readonly frozen?: (name: string) => Promise<Weight>;
  readonly update: ParameterUpdateOptions;
  /** Samples, or packed rows, of this process in one step. */
  readonly batchSize: number;
  /** How many of them are taken at once. Default all. */
  readonly partSize?: number;
  /** Compute the inside of blocks again instead of keeping it: less memory for about a third more time. */
  readonly recompute?: boolean;
  readonly communicator?: Communicator;
  /** Keep the parameters with the backend between steps: for devices with a memory of their own. Default false. */
  readonly resident?: boolean;
}

/** What an objective gives a learner: one of the two is asked for. */
export interface LearnerPlan {
  /** Compiles a step in parts, for parameters in JavaScript. */
  step(given: Required<Pick<LearnerOptions, "communicator" | "frozen">>): Promise<ContrastiveStep>;
  /** The graph of a step over a whole batch, for parameters on the device. */
  graph(): Graph;
}

function nothingFrozen(name: string): Promise<Weight> {
  return Promise.reject(new ToklipError("CHECKPOINT_MISMATCH", `parameter ${name} has no value`));
}

/** Compiles the step. @throws ARGUMENT_INVALID, GRAPH_INVALID, CHECKPOINT_MISMATCH, OUT_OF_MEMORY */
export async function openLearner(options: LearnerOptions, plan: LearnerPlan): Promise<Learner> {
  const { backend, parameters, update, batchSize, partSize = batchSize, resident = false } = options;
  const { communicator = singleProcess, frozen = nothingFrozen } = options;
  const parts = { backend, parameters, update, frozen };
  if (!resident) return new HostLearner({ ...parts, step: await plan.step({ communicator, frozen }) });
  if (partSize !== batchSize || communicator.size > 1) {
    throw new ToklipError("ARGUMENT_INVALID", "parameters stay on the device only for whole batches in one process");
  }
  return ResidentLearner.create({ ...parts, graph: () => plan.graph() });
}
