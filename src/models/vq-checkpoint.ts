/** The VQ in a checkpoint, told by its shapes alone, and the graph that decodes its ids on a grid of any size. */
import { ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import { Graph } from "../graph/index.ts";
import { Scope } from "../nn/index.ts";
import { checkTensors, withModelNames } from "./checkpoint-names.ts";
import type { VqConfig } from "./config.ts";
import { NAMES, PREFIXES } from "./toklip.ts";
import { decodeIds } from "./vq.ts";

/** How many of the names that `nameOf` gives for 0, 1, 2, ... are there before the first that is not. */
function countNames(isThere: (name: string) => boolean, nameOf: (index: number) => string): number {
  let count = 0;
  while (isThere(nameOf(count))) count++;
  return count;
}

/**
 * The configuration of the VQ in a checkpoint: a bare one as LlamaGen releases it, or that of a TokLIP. Nothing but shapes
 * is read, so VQ-16, VQ-8 and others of their kind need no configuration.
 * @throws CHECKPOINT_MISMATCH naming the first tensor that a VQ would have
 */
export function inferVqConfig(checkpoint: Checkpoint): VqConfig {
  const { name, tensors } = withModelNames(checkpoint);
  const find = (key: string) => tensors.get(`${PREFIXES.vq}.${key}`)?.shape;
  const shapeOf = (key: string): readonly number[] => {
    const shape = find(key);
    const isWeight = (shape?.length === 4 || shape?.length === 2) && shape.every((dim) => dim > 0);
    if (isWeight) return shape;
    throw new ToklipError("CHECKPOINT_MISMATCH", `${name} holds no VQ of LlamaGen's kind: it has no weight ${key}`);
  };
  const isThere = (key: string) => find(key) !== undefined;
  const blockOf = (level: number, block: number) => `encoder.conv_blocks.${level}.res.${block}.conv1.weight`;
  const [codebookSize, embedDim] = shapeOf("quantize.embedding.weight") as [number, number];
  const ch = shapeOf("encoder.conv_in.weight")[0]!;
  const levels = countNames(isThere, (level) => blockOf(level, 0));
  const stem = Math.sqrt(shapeOf("decoder.conv_out.weight")[0]! / 3);
  if (!Number.isInteger(stem)) {
    throw new ToklipError("CHECKPOINT_MISMATCH", `${name}: decoder.conv_out.weight gives no pixels of three channels`);
  }
  return {
    type: "llamagen",
    ch,
    chMult: Array.from({ length: levels }, (_, level) => shapeOf(blockOf(level, 0))[0]! / ch),
    numResBlocks: countNames(isThere, (block) => blockOf(0, block)),
    zChannels: shapeOf("encoder.conv_out.weight")[0]!,
    codebookSize,
    embedDim,
    ...(stem > 1 && { stem }),
  };
}

/** Traces the decoder for grids of ids of a side: ids i32 (B, h, w) -> pixels (B, 3, H, W). */
export function traceVqDecoder(config: VqConfig, side: number): Graph {
  const graph = new Graph();
  const ids = graph.input(NAMES.ids, "i32", ["B", side, side]);
  graph.output(NAMES.pixels, decodeIds(new Scope(graph).at(PREFIXES.vq), ids, config));
  return graph;
}

/**
 * Checks that a checkpoint, under the names of `withModelNames`, holds all that a traced decoder reads.
 * @throws CHECKPOINT_MISMATCH naming the first tensors that are mis-shaped or missing
 */
export function checkVqDecoder(checkpoint: Checkpoint, decoder: Graph): void {
  const shapes = [...decoder.parameters].map(([name, { shape }]) => [name, shape as number[]] as const);
  checkTensors(checkpoint, "VQ of LlamaGen's kind", new Map(shapes), () => true);
}
