/**
 * The loss of a batch and the gradients of all parameters.
 *
 * One process with a batch that fits runs one graph: towers, loss, gradients. Otherwise the batch is taken in parts,
 * without changing what is computed: the towers run over each part and their features are kept; the loss over all of
 * them gives the gradient of each feature; the towers run again over each part, and carry these on to the parameters
 * (GradCache, arXiv 2101.06983). The result is the gradient of the whole batch up to rounding, and memory is that of one
 * part. With several processes the features are gathered from all of them before the loss and the gradients summed after.
 *
 * Dim letters: G samples of the whole batch, L of this process, M of one part.
 */
import { concatRows, type NDArray, ndarray, rows, ToklipError } from "../core/index.ts";
import { add, type Dim, Graph, gradients, mul, reduceSum, reshape, type Tensor } from "../graph/index.ts";
import type { Backend, Feeds, Fetches, Weight } from "../runtime/index.ts";
import type { Communicator } from "./communicator.ts";
import {
  type ContrastiveObjective,
  declareInputs,
  feedsOf,
  type RowInputs,
  type Tensors,
} from "./contrastive-objective.ts";
import { sumOverProcesses } from "./process-group.ts";
import {
  accumulateGradients,
  FedSession,
  outputsNamed,
  type Parameters,
  partsOf,
  trainingGraph,
} from "./training-graph.ts";

/** How the step of a batch is organised. */
export interface ContrastiveStepOptions {
  /** Samples of this process in one optimizer step. */
  readonly batchSize: number;
  /** Samples that the towers take at once. It divides `batchSize`. */
  readonly partSize: number;
  /** See `gradients`. */
  readonly recompute: boolean;
  readonly communicator: Communicator;
  /** The weights of parameters that are not trained. */
  readonly frozen: (name: string) => Promise<Weight>;
}

/** The loss of a batch by parts, and the gradients by parameter. */
export interface LossAndGradients {
  readonly parts: Record<string, number>;
  readonly gradients: Map<string, Float32Array>;
  /** The features of this process's samples, (L, D) each, where the batch was taken in parts. */
  readonly features?: Feeds;
}

/** Computes losses and gradients. */
export interface ContrastiveStep {
  /** The loss of a batch, and the gradients of all parameters. */
  run(parameters: Parameters, feeds: Feeds): Promise<LossAndGradients>;
  /** Frees the graphs. */
  dispose(): Promise<void>;
}

/** Makes ready what a batch of these sizes needs. @throws ARGUMENT_INVALID when the part does not divide the batch. */
export async function compileContrastiveStep(
  backend: Backend,
  objective: ContrastiveObjective,
  parameters: Parameters,
  options: ContrastiveStepOptions,
): Promise<ContrastiveStep> {
  const { batchSize, partSize, communicator } = options;
  if (batchSize % partSize !== 0) {
    throw new ToklipError("ARGUMENT_INVALID", `a part of ${partSize} samples does not divide a batch of ${batchSize}`);
  }
  const whole = partSize === batchSize && communicator.size === 1;
  return whole
    ? WholeBatch.compile(backend, objective, parameters, options)
    : BatchInParts.compile(backend, objective, parameters, options);
}

class WholeBatch implements ContrastiveStep {
  private readonly session: FedSession;
  private readonly inputs: RowInputs;

  private constructor(session: FedSession, inputs: RowInputs) {
    this.session = session;
    this.inputs = inputs;
  }

  static async compile(
    backend: Backend,
    objective: ContrastiveObjective,
    parameters: Parameters,
    { batchSize, recompute, frozen }: ContrastiveStepOptions,
  ): Promise<ContrastiveStep> {
    const graph = wholeBatchGraph(objective, batchSize, (name) => parameters.has(name), recompute);
    const session = await FedSession.compile(backend, "train_step", graph, parameters, frozen);
    return new WholeBatch(session, {
      ...objective.towerInputs,
      ...objective.innerInputs,
      ...objective.lossInputs,
    });
  }

  async run(parameters: Parameters, feeds: Feeds): Promise<LossAndGradients> {
    const fetched = await this.session.run(parameters, feedsOf(this.inputs, feeds));
    return { parts: partsOf(fetched), gradients: outputsNamed("d.", fetched) };
  }

  dispose(): Promise<void> {
    return this.session.dispose();
  }
}

/** Towers, loss and gradients of a batch of a known size as one graph. */
export function wholeBatchGraph(
  objective: ContrastiveObjective,
  batchSize: number,
  trained: (name: string) => boolean,
  recompute: boolean,
): Graph {
  const trace = (graph: Graph) => {
    const result = objective.towers(graph, declareInputs(graph, objective.towerInputs, batchSize));
    const inner = objective.innerLoss(graph, result, declareInputs(graph, objective.innerInputs, batchSize));
    const others = declareInputs(graph, objective.lossInputs, batchSize);
    return { parts: { ...objective.batchLoss(graph, result.features, others), ...inner } };
  };
  return trainingGraph(trace, { trained, recompute });
}

/** The towers alone: features by name. */
export function towerGraph(objective: ContrastiveObjective, batch: Dim): Graph {
  const graph = new Graph();
  const { features } = objective.towers(graph, declareInputs(graph, objective.towerInputs, batch));
  for (const [name, tensor] of Object.entries(features)) graph.output(`features.${name}`, tensor);
  return graph;
}

/** The loss over given features, and the gradients of these and of the parameters that only the loss has. */
export function batchLossGraph(
  objective: ContrastiveObjective,
  batchSize: number,
  widths: Readonly<Record<string, number>>,
  { withGradients }: { readonly withGradients: boolean },
): Graph {
  const graph = new Graph();
  const features: Tensors = Object.fromEntries(
    Object.entries(widths).map(([name, width]) => [name, graph.input(`features.${name}`, "f32", [batchSize, width])]),
  );
  const others = declareInputs(graph, objective.lossInputs, batchSize);
  const parts = objective.batchLoss(graph, features, others);
  if (withGradients) {
    const names = Object.keys(features);
    const wrt = [...names.map((name) => features[name]!), ...graph.parameters.values()];
    const outputs = [
      ...names.map((name) => `features.${name}.d`),
      ...[...graph.parameters.keys()].map((p) => `d.${p}`),
    ];
    gradients(Object.values(parts).reduce(add), wrt).forEach((gradient, i) => {
      graph.output(outputs[i]!, gradient);
    });
  }
  for (const [name, tensor] of Object.entries(parts)) graph.output(`part.${name}`, tensor);
  return graph;
}

/** The widths of the features that a tower graph gives. */
export function featureWidths(graph: Graph): Record<string, number> {
  return Object.fromEntries(
    [...graph.outputs].map(([name, { shape }]) => [name.slice("features.".length), shape.at(-1) as number]),
  );
}

/** The towers of one part, with sum(features * their gradients) in place of the loss, and the terms within samples. */
function carryGraph(
  objective: ContrastiveObjective,
  { partSize, share, recompute }: { partSize: number; share: number; recompute: boolean },
  trained: (name: string) => boolean,
): Graph {
  const trace = (graph: Graph) => {
    const result = objective.towers(graph, declareInputs(graph, objective.towerInputs, partSize));
    const inner = objective.innerLoss(graph, result, declareInputs(graph, objective.innerInputs, partSize));
    const carried = Object.entries(result.features).map(([name, tensor]): Tensor => {
      const gradient = graph.input(`features.${name}.d`, "f32", tensor.shape);
      return reshape(reduceSum(mul(tensor, gradient), [0, 1]), []);
    });
    const shares = Object.entries(inner).map(([name, tensor]) => [name, mul(tensor, share)] as const);
    return { parts: { carried: carried.reduce(add), ...Object.fromEntries(shares) } };
  };
  return trainingGraph(trace, { trained, recompute });
}

class BatchInParts implements ContrastiveStep {
  private readonly towers: FedSession;
  private readonly loss: FedSession;
  private readonly carry: FedSession;
  private readonly objective: ContrastiveObjective;
  private readonly options: ContrastiveStepOptions;

  private constructor(
    sessions: readonly [FedSession, FedSession, FedSession],
    objective: ContrastiveObjective,
    options: ContrastiveStepOptions,
  ) {
    [this.towers, this.loss, this.carry] = sessions;
    this.objective = objective;
    this.options = options;
  }

  static async compile(
    backend: Backend,
    objective: ContrastiveObjective,
    parameters: Parameters,
    options: ContrastiveStepOptions,
  ): Promise<ContrastiveStep> {
    const { batchSize, partSize, recompute, communicator, frozen } = options;
    const all = batchSize * communicator.size;
    const compile = (name: string, graph: Graph) => FedSession.compile(backend, name, graph, parameters, frozen);
    const towers = towerGraph(objective, partSize);
    const loss = batchLossGraph(objective, all, featureWidths(towers), { withGradients: true });
    const carry = carryGraph(objective, { partSize, share: partSize / all, recompute }, (name) => parameters.has(name));
    const sessions = [
      await compile("train_towers", towers),
      await compile("train_loss", loss),
      await compile("train_carry", carry),
    ] as const;
    return new BatchInParts(sessions, objective, options);
  }

  async run(parameters: Parameters, feeds: Feeds): Promise<LossAndGradients> {
    const { partSize, batchSize, communicator } = this.options;
    const starts = Array.from({ length: batchSize / partSize }, (_, i) => i * partSize);
    const part = (inputs: RowInputs, start: number) => rowsOf(feedsOf(inputs, feeds), start, start + partSize);
    const made: Fetches[] = [];
    for (const start of starts) made.push(await this.towers.run(parameters, part(this.objective.towerInputs, start)));
    const own = joined(made);
    const gathered = await this.gather({ ...own, ...feedsOf(this.objective.lossInputs, feeds) });
    const lossRun = await this.loss.run(parameters, gathered);
    const first = communicator.rank * batchSize;
    const sums = new Map<string, Float32Array>();
    const inner: Record<string, number> = {};
    for (const start of starts) {
      const carried = await this.carry.run(parameters, {
        ...part(this.objective.towerInputs, start),
        ...part(this.objective.innerInputs, start),
        ...rowsOf(gradientsOf(lossRun), first + start, first + start + partSize),
      });
      accumulateGradients(sums, outputsNamed("d.", carried));
      const { carried: _, ...terms } = partsOf(carried);
      for (const [name, value] of Object.entries(terms)) inner[name] = (inner[name] ?? 0) + value;
    }
    await sumOverProcesses(communicator, sums, inner);
    for (const [name, gradient] of outputsNamed("d.", lossRun)) accumulateGradients(sums, new Map([[name, gradient]]));
    return { parts: { ...partsOf(lossRun), ...inner }, gradients: sums, features: own };
  }

  async dispose(): Promise<void> {
    for (const session of [this.towers, this.loss, this.carry]) await session.dispose();
  }

  /** The rows of all processes, in the order of ranks. */
  private async gather(feeds: Feeds): Promise<Feeds> {
    const { communicator } = this.options;
    if (communicator.size === 1) return feeds;
    const all: Record<string, NDArray> = {};
    for (const [name, { dtype, shape, data }] of Object.entries(feeds)) {
      const gathered = await communicator.allGather(data as Float32Array);
      all[name] = ndarray(dtype, shape.with(0, shape[0]! * communicator.size), gathered as never);
    }
    return all;
  }
}

/** Rows of several arrays. */
export function rowsOf(feeds: Feeds, begin: number, end: number): Feeds {
  return Object.fromEntries(Object.entries(feeds).map(([name, array]) => [name, rows(array, begin, end)]));
}

/** The rows of several runs, one after the other. */
export function joined(made: readonly Fetches[]): Feeds {
  return Object.fromEntries(
    Object.keys(made[0]!).map((name) => [name, concatRows(made.map((fetched) => fetched[name]!))]),
  );
}

/** The gradients of features, by the names of the inputs that take them. */
function gradientsOf(fetched: Fetches): Feeds {
  return Object.fromEntries(Object.entries(fetched).filter(([name]) => name.startsWith("features.")));
}
