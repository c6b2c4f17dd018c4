/** The unified transformer as graphs, and a checkpoint held against them. */
import type { Checkpoint } from "../files/checkpoint.ts";
import { Graph } from "../graph/index.ts";
import { Scope } from "../nn/index.ts";
import type { ArConfig } from "./ar-config.ts";
import { arScoreStep, arStep } from "./ar-step.ts";
import { checkTensors } from "./checkpoint-names.ts";
import { PREFIXES } from "./toklip.ts";

/** The graphs that writing and understanding take. */
export const AR_GRAPHS = {
  /** The next positions over a cache: see `arStep` */
  ar_step: (graph, config) => arStep(new Scope(graph), config),
  /** The probabilities of given ids over a cache: see `arScoreStep` */
  ar_score_step: (graph, config) => arScoreStep(new Scope(graph), config),
} as const satisfies Record<string, (graph: Graph, config: ArConfig) => void>;

/** The name of a graph of the unified transformer. */
export type ArGraphName = keyof typeof AR_GRAPHS;

/** Traces one graph of the unified transformer. */
export function traceArGraph(name: ArGraphName, config: ArConfig): Graph {
  const graph = new Graph();
  AR_GRAPHS[name](graph, config);
  return graph;
}

/** The shapes of all parameters, by name, the codebooks of semantic codes among them. */
export function arParameterShapes(config: ArConfig): Map<string, readonly number[]> {
  const { parameters } = traceArGraph("ar_step", config);
  return new Map([...parameters].map(([name, { shape }]) => [name, shape as number[]]));
}

/** Fitted before training and stored, but never trained: the codebooks of semantic codes. */
export const AR_BUFFERS = /^semantic_codebooks\.\d+\.weight$/;

/**
 * Checks that a checkpoint is a unified transformer of this configuration. The token encoder that it was trained with may
 * be in it.
 * @throws CHECKPOINT_MISMATCH naming the first tensors that are mis-shaped, missing or unexpected
 */
export function checkArCheckpoint(checkpoint: Checkpoint, config: ArConfig): void {
  const unread = (name: string) => name.startsWith(`${PREFIXES.trunk}.`);
  checkTensors(checkpoint, config.name, arParameterShapes(config), unread);
}
