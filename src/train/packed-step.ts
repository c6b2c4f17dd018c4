/**
 * The loss of packed rows and the gradients of all parameters, a part of the rows at a time: parts, and processes, add up.
 */
import { rows, ToklipError } from "../core/index.ts";
import type { Graph } from "../graph/index.ts";
import type { Backend, Feeds, Weight } from "../runtime/index.ts";
import type { Communicator } from "./communicator.ts";
import type { ContrastiveStep, LossAndGradients } from "./contrastive-step.ts";
import { sumOverProcesses } from "./process-group.ts";
import { accumulateGradients, FedSession, outputsNamed, type Parameters, partsOf } from "./training-graph.ts";

/** How many parts of so many rows a batch has. @throws ARGUMENT_INVALID when they do not divide it */
export function partsOfBatch(batchSize: number, partSize: number): number {
  if (batchSize % partSize === 0) return batchSize / partSize;
  throw new ToklipError("ARGUMENT_INVALID", `a part of ${partSize} rows does not divide a batch of ${batchSize}`);
}

/** The share of a part in each array: its rows, of as many as the array has. */
export function feedsOfPart(feeds: Feeds, part: number, parts: number): Feeds {
  if (parts === 1) return feeds;
  const share = Object.entries(feeds).map(([name, array]) => {
    const count = array.shape[0]! / parts;
    return [name, rows(array, part * count, (part + 1) * count)] as const;
  });
  return Object.fromEntries(share);
}

/** Runs the graph of a part over each, and sums. */
export class PackedStep implements ContrastiveStep {
  private readonly session: FedSession;
  private readonly parts: number;
  private readonly communicator: Communicator;

  private constructor(session: FedSession, parts: number, communicator: Communicator) {
    this.session = session;
    this.parts = parts;
    this.communicator = communicator;
  }

  /** Compiles the graph of a part: outputs `part.<name>`, `d.<parameter>`. */
  static async compile(
    backend: Backend,
    graph: Graph,
    parameters: Parameters,
    options: {
      readonly parts: number;
      readonly communicator: Communicator;
      readonly frozen: (name: string) => Promise<Weight>;
    },
  ): Promise<PackedStep> {
    const session = await FedSession.compile(backend, "train_step", graph, parameters, options.frozen);
    return new PackedStep(session, options.parts, options.communicator);
  }

  async run(parameters: Parameters, feeds: Feeds): Promise<LossAndGradients> {
    const gradients = new Map<string, Float32Array>();
    const losses: Record<string, number> = {};
    for (let part = 0; part < this.parts; part++) {
      const fetched = await this.session.run(parameters, feedsOfPart(feeds, part, this.parts));
      accumulateGradients(gradients, outputsNamed("d.", fetched));
      for (const [name, value] of Object.entries(partsOf(fetched))) losses[name] = (losses[name] ?? 0) + value;
    }
    await sumOverProcesses(this.communicator, gradients, losses);
    return { parts: losses, gradients };
  }

  /** Frees the graph. */
  dispose(): Promise<void> {
    return this.session.dispose();
  }
}
