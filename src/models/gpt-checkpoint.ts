/** LlamaGen's GPT as graphs, and a checkpoint held against them. */
import type { Checkpoint } from "../files/checkpoint.ts";
import { Graph } from "../graph/index.ts";
import { Scope } from "../nn/index.ts";
import { checkTensors } from "./checkpoint-names.ts";
import { gptCondition, gptStep } from "./gpt.ts";
import type { GptConfig } from "./gpt-config.ts";

/** The names of the inputs and the output of the graph of a condition. */
export const GPT_CONDITION = { condition: "condition", drop: "drop", embedded: "embedded" } as const;

type Trace = (graph: Graph, config: GptConfig) => void;

/** The graphs that generation takes. */
export const GPT_GRAPHS = {
  /** condition i32 (B) or f32 (B, T, width), drop bool (B) -> embedded (B, T, D): see `gptCondition` */
  gpt_condition: (graph, config) => {
    const { condition: kind } = config;
    const condition =
      kind.kind === "class"
        ? graph.input(GPT_CONDITION.condition, "i32", ["B"])
        : graph.input(GPT_CONDITION.condition, "f32", ["B", kind.tokens, kind.width]);
    const drop = graph.input(GPT_CONDITION.drop, "bool", ["B"]);
    graph.output(GPT_CONDITION.embedded, gptCondition(new Scope(graph), condition, drop, config));
  },
  /** The next positions over a cache: see `gptStep` */
  gpt_step: (graph, config) => gptStep(new Scope(graph), config),
} as const satisfies Record<string, Trace>;

/** The name of a graph of a GPT. */
export type GptGraphName = keyof typeof GPT_GRAPHS;

/** Traces one graph of a GPT. */
export function traceGptGraph(name: GptGraphName, config: GptConfig): Graph {
  const graph = new Graph();
  GPT_GRAPHS[name](graph, config);
  return graph;
}

/** The shapes of all parameters of a GPT, by name. */
export function gptParameterShapes(config: GptConfig): Map<string, readonly number[]> {
  const graphs = (Object.keys(GPT_GRAPHS) as GptGraphName[]).map((name) => traceGptGraph(name, config));
  const parameters = graphs.flatMap((graph) => [...graph.parameters]);
  return new Map(parameters.map(([name, { shape }]) => [name, shape as number[]]));
}

/** Drawn once and stored, but never trained: what stands for no caption. */
export const GPT_BUFFERS: readonly string[] = ["cls_embedding.uncond_embedding"];

/** What LlamaGen's files may hold beside the parameters: caches of a model that has generated, the rotary table. */
const UNREAD = [/\.kv_cache\.[kv]_cache$/, /^freqs_cis$/];

/**
 * Checks that a checkpoint is a GPT of this configuration.
 * @throws CHECKPOINT_MISMATCH naming the first tensors that are mis-shaped, missing or unexpected
 */
export function checkGptCheckpoint(checkpoint: Checkpoint, config: GptConfig): void {
  const unread = (name: string) => UNREAD.some((pattern) => pattern.test(name));
  checkTensors(checkpoint, config.name, gptParameterShapes(config), unread);
}
