/**
 * A loss and its gradients as one graph, and the session that runs it over parameters that live outside of it.
 *
 * Outputs: each part of a loss as `part.<name>`; the gradient of each trained parameter as `d.<name>`; whatever else was
 * asked for.
 */
import type { NDArray } from "../core/index.ts";
import { add, Graph, gradients, type Tensor } from "../graph/index.ts";
import type { Backend, Feeds, Fetches, Session, Weight } from "../runtime/index.ts";
import { addInto } from "./gradient-norm.ts";

/** Trained parameters by name, each with a buffer of its own. */
export type Parameters = Map<string, NDArray<"f32">>;

/** A second loss in the same graph, with parameters of its own: a discriminator's. */
export interface OtherLoss {
  /** Scalars whose sum it is. */
  readonly parts: Readonly<Record<string, Tensor>>;
  /** Whether a parameter is trained by it. */
  readonly trained: (name: string) => boolean;
}

/** What is minimised, and what is only looked at. */
export interface TracedLoss {
  /** Scalars whose sum is the loss. */
  readonly parts: Readonly<Record<string, Tensor>>;
  readonly others?: readonly OtherLoss[];
  /** Other results, by the names of their outputs. */
  readonly outputs?: Readonly<Record<string, Tensor>>;
}

/** How a training graph is made. */
export interface TrainingGraphOptions {
  /** Whether a parameter is trained; the others are weights that stay as they are. */
  readonly trained: (name: string) => boolean;
  /** See `gradients`. */
  readonly recompute?: boolean;
}

/** The gradients of a loss by the names of the outputs that they become. */
function derive(
  graph: Graph,
  { parts, trained }: OtherLoss,
  names: readonly string[],
  recompute: boolean,
): (readonly [string, Tensor])[] {
  const wanted = names.filter(trained);
  const parameters = wanted.map((name) => graph.parameters.get(name)!);
  const found = gradients(Object.values(parts).reduce(add), parameters, { recompute });
  return found.map((tensor, i) => [`d.${wanted[i]}`, tensor] as const);
}

/** Traces losses and derives their gradients. @throws GRAPH_INVALID, OP_UNSUPPORTED */
export function trainingGraph(
  trace: (graph: Graph) => TracedLoss,
  { trained, recompute = false }: TrainingGraphOptions,
): Graph {
  const graph = new Graph();
  const { parts, others = [], outputs = {} } = trace(graph);
  const losses = [{ parts, trained }, ...others];
  const names = [...graph.parameters.keys()];
  const derived = losses.flatMap((loss) => derive(graph, loss, names, recompute));
  for (const [name, tensor] of derived) graph.output(name, tensor);
  for (const [name, tensor] of Object.entries(outputs)) graph.output(name, tensor);
  for (const [name, tensor] of losses.flatMap((loss) => Object.entries(loss.parts))) {
    graph.output(`part.${name}`, tensor);
  }
  return graph;
}

/** Outputs whose names begin with a prefix, under the rest of their names. */
export function outputsNamed(prefix: "d." | "part." | "statistic.", fetched: Fetches): Map<string, Float32Array> {
  const named = Object.entries(fetched).filter(([name]) => name.startsWith(prefix));
  return new Map(named.map(([name, { data }]) => [name.slice(prefix.length), data as Float32Array]));
}

/** The one number of each part of a loss. */
export function partsOf(fetched: Fetches): Record<string, number> {
  return Object.fromEntries([...outputsNamed("part.", fetched)].map(([name, data]) => [name, data[0]!]));
}

/** Adds gradients to sums; the first ones become the sums. */
export function accumulateGradients(
  sums: Map<string, Float32Array>,
  gradients: ReadonlyMap<string, Float32Array>,
): void {
  for (const [name, gradient] of gradients) {
    const sum = sums.get(name);
    if (sum === undefined) sums.set(name, gradient);
    else addInto(sum, gradient);
  }
}

/** A compiled graph that is run over parameters which it borrows each time. */
export class FedSession {
  private readonly session: Session;
  private readonly names: readonly string[];

  private constructor(session: Session, names: readonly string[]) {
    this.session = session;
    this.names = names;
  }

  /** Compiles a graph. Parameters that are not in `parameters` are weights, asked for by name. */
  static async compile(
    backend: Backend,
    name: string,
    graph: Graph,
    parameters: Parameters,
    frozen: (name: string) => Promise<Weight>,
  ): Promise<FedSession> {
    const weight = async (parameter: string): Promise<Weight> =>
      parameters.has(parameter) ? { kind: "fed" } : frozen(parameter);
    const session = await backend.compile({ name, graph, weight });
    return new FedSession(
      session,
      [...graph.parameters.keys()].filter((parameter) => parameters.has(parameter)),
    );
  }

  /** Runs the graph on the present values of the parameters. */
  async run(parameters: Parameters, feeds: Feeds): Promise<Fetches> {
    const lent: Record<string, NDArray> = {};
    for (const name of this.names) lent[name] = parameters.get(name)!;
    try {
      return await this.session.run(feeds, { lent });
    } finally {
      for (const name of this.names) parameters.set(name, lent[name] as NDArray<"f32">);
    }
  }

  /** Frees the graph. */
  dispose(): Promise<void> {
    return this.session.dispose();
  }
}
