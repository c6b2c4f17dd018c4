/** Program -> the bytes of an ONNX model, the same for every backend. */
import { ToklipError } from "../core/index.ts";
import { formatShape, type Graph, simplifyGraph, verifyGraph } from "../graph/index.ts";
import { lowerGraph, type Placement, writeOnnx } from "../onnx/index.ts";
import type { Program, Weight } from "./session.ts";

/** Says how the ONNX file refers to a file on this platform, or undefined where it cannot. */
export type Locate = (path: string) => string;

function placementOf(weight: Weight, locate: Locate): Placement {
  if (weight.kind === "array") return { kind: "embedded", value: weight.value };
  const { dtype, path, offset, length } = weight;
  return { kind: "external", dtype, data: { location: locate(path), offset, length } };
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
export async function compileProgram({ name, graph, weight }: Program, locate: Locate): Promise<Uint8Array> {
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
    placements.set(parameter, placementOf(found, locate));
  }
  return writeOnnx(lowerGraph(prepared, name, (parameter) => placements.get(parameter)!));
}
