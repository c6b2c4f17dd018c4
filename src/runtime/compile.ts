/** Program -> the bytes of an ONNX model, the same for every backend. */
import { bytesOf, ToklipError } from "../core/index.ts";
import { formatShape, type Graph, simplifyGraph, verifyGraph } from "../graph/index.ts";
import { lowerGraph } from "../onnx/lowering.ts";
import type { Placement } from "../onnx/model.ts";
import { writeOnnx } from "../onnx/writer.ts";
import type { Program, Weight } from "./session.ts";

/** What a platform does with weights that stay outside the model's bytes. */
export interface WeightFiles {
  /** How the ONNX model refers to a file. */
  locate(path: string): string;
  /** Puts bytes into a file. Without it they are written into the model. */
  spill?(bytes: Uint8Array): Promise<{ readonly path: string; readonly offset: number; readonly length: number }>;
}

/** Smaller weights are written into the model whatever the platform can do. */
const SMALLEST_SPILLED_BYTES = 1 << 16;

async function placementOf(weight: Weight, files: WeightFiles): Promise<Placement> {
  if (weight.kind === "fed") return { kind: "input" };
  if (weight.kind === "file") {
    const { dtype, path, offset, length } = weight;
    return { kind: "external", dtype, data: { location: files.locate(path), offset, length } };
  }
  const { value } = weight;
  if (files.spill === undefined || value.data.byteLength < SMALLEST_SPILLED_BYTES) return { kind: "embedded", value };
  const { path, offset, length } = await files.spill(bytesOf(value.data));
  return { kind: "external", dtype: value.dtype, data: { location: files.locate(path), offset, length } };
}

/** A traced graph, simplified and checked. */
export function prepareGraph(graph: Graph): Graph {
  const simple = simplifyGraph(graph);
  verifyGraph(simple);
  return simple;
}

/**
 * Compiles a program.
 * @throws CHECKPOINT_MISMATCH when a weight in memory has another shape than its parameter.
 */
export async function compileProgram({ name, graph, weight }: Program, files: WeightFiles): Promise<Uint8Array> {
  const prepared = prepareGraph(graph);
  const placements = new Map<string, Placement>();
  for (const [parameter, { shape }] of prepared.parameters) {
    const found = await weight(parameter);
    if (found.kind === "array" && formatShape(found.value.shape) !== formatShape(shape)) {
      throw new ToklipError(
        "CHECKPOINT_MISMATCH",
        `${parameter}: expected ${formatShape(shape)}, got ${formatShape(found.value.shape)}`,
      );
    }
    placements.set(parameter, await placementOf(found, files));
  }
  return writeOnnx(lowerGraph(prepared, name, (parameter) => placements.get(parameter)!));
}
