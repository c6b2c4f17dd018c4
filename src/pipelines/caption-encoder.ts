/**
 * Captions -> features by a text encoder of someone else's, given as an ONNX file: what a GPT that continues captions was
 * trained with (FLAN-T5-XL for LlamaGen's).
 *
 * Each caption is encoded alone and without padding, in a graph of its own length: an encoder that masks its padding gives
 * the same for the tokens that count.
 *
 * Dim letters: T text ids of a caption, W width.
 */
import { type LongCallOptions, type NDArray, ndarray, ToklipError, throwIfAborted } from "../core/index.ts";
import { formatShape, Graph, type Tensor } from "../graph/index.ts";
import { importOnnx, type OnnxModel, onnxWeights } from "../onnx/index.ts";
import type { Backend } from "../runtime/index.ts";

/** An encoder and how it is fed. */
export interface CaptionEncoderParts {
  readonly backend: Backend;
  /** Takes ids (1, T), and a mask of that shape where it has an input whose name says so; gives (1, T, W). */
  readonly model: OnnxModel;
  /** The ids of a text, at least one. */
  readonly idsOf: (text: string) => readonly number[];
  /** Longer captions are cut: 120 ids for LlamaGen's. */
  readonly longest: number;
}

/**
 * Encodes texts: f32 (T, W) each.
 * @throws ARGUMENT_INVALID for a network with other inputs; OP_UNSUPPORTED, SHAPE_MISMATCH, FILE_CORRUPT as `importOnnx`;
 * ABORTED
 */
export async function encodeCaptions(
  { backend, model, idsOf, longest }: CaptionEncoderParts,
  texts: readonly string[],
  { signal, onProgress }: LongCallOptions = {},
): Promise<NDArray<"f32">[]> {
  const captions: NDArray<"f32">[] = [];
  const weights = onnxWeights(model);
  for (const text of texts) {
    throwIfAborted(signal, "encode captions");
    const ids = idsOf(text).slice(0, longest);
    if (ids.length === 0) throw new ToklipError("ARGUMENT_INVALID", `caption "${text}" has no text ids`);
    const graph = traceEncoder(model, ids.length);
    const weight = async (name: string) => ({ kind: "array" as const, value: weights(name)! });
    const session = await backend.compile({ name: "caption-encoder", graph, weight });
    const { features } = await session.run({ ids: ndarray("i32", [1, ids.length], Int32Array.from(ids)) }, { signal });
    await session.dispose();
    captions.push(ndarray("f32", features!.shape.slice(1), features!.data as Float32Array<ArrayBuffer>));
    onProgress?.({ stage: "encode captions", done: captions.length, total: texts.length, unit: "texts" });
  }
  return captions;
}

/** The inputs of an encoder by what they are. */
const INPUTS = { ids: /ids$|^input$|tokens?$/i, mask: /mask/i } as const;

/** Ids i32 (1, T) -> features f32 (1, T, W). */
function traceEncoder(model: OnnxModel, length: number): Graph {
  const graph = new Graph();
  const ids = graph.input("ids", "i32", [1, length]);
  const weights = new Set(model.initializers.map(({ name }) => name)); // older files list them as inputs
  const fed: Record<string, Tensor> = {};
  for (const { name } of model.inputs.filter((input) => !weights.has(input.name))) {
    if (INPUTS.mask.test(name)) fed[name] = graph.constant(ndarray("i32", [1, length], new Int32Array(length).fill(1)));
    else if (INPUTS.ids.test(name)) fed[name] = ids;
    else throw new ToklipError("ARGUMENT_INVALID", `${model.name}: has an input ${name}; expected text ids and a mask`);
  }
  const output = model.outputs[0]?.name ?? "";
  const features = importOnnx(model, fed, { outputs: [output] }).outputs[output]!;
  const [batch, tokens, width] = features.shape;
  if (batch !== 1 || tokens !== length || width === undefined || features.shape.length !== 3) {
    const shape = formatShape(features.shape);
    throw new ToklipError("ARGUMENT_INVALID", `${model.name}: ${output} is ${shape}, expected (1, ${length}, width)`);
  }
  graph.output("features", features);
  return graph;
}
