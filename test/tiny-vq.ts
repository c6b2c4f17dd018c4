// A VQ with random weights, so small that it decodes in no time: grids of any side become pictures twice as large.
import { writeFile } from "node:fs/promises";
import { bytesOf } from "../src/core/index.ts";
import { writeSafetensors } from "../src/files/index.ts";
import { Graph } from "../src/graph/index.ts";
import { initialPieces, type VqConfig, vq } from "../src/models/index.ts";
import { Scope } from "../src/nn/index.ts";

/** The shapes of all parameters of a bare VQ. */
export function vqShapes(config: VqConfig): Map<string, readonly number[]> {
  const graph = new Graph();
  const scope = new Scope(graph);
  vq.encodeIds(scope, graph.input("pixels", "f32", ["B", 3, 64, 64]), config);
  vq.decodeIds(scope, graph.input("ids", "i32", ["B", 4, 4]), config);
  return new Map([...graph.parameters].map(([name, { shape }]) => [name, shape as number[]]));
}

/** Writes one as a .safetensors file. */
export async function writeTinyVq(path: string, codebookSize = 128): Promise<void> {
  const sizes = { ch: 32, chMult: [1, 1], numResBlocks: 1, zChannels: 8, embedDim: 4 };
  const shapes = vqShapes({ type: "llamagen", ...sizes, codebookSize });
  const pieces: Uint8Array[] = [];
  const sink = { write: async (bytes: Uint8Array) => void pieces.push(bytes.slice()) };
  const tensors = [...shapes].map(([name, shape]) => ({ name, dtype: "f32" as const, shape }));
  await writeSafetensors(sink, tensors, async (name) => bytesOf([...initialPieces(name, shapes.get(name)!, 1)][0]!));
  await writeFile(path, Buffer.concat(pieces));
}
