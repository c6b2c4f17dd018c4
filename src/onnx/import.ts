/**
 * OnnxModel -> calls of our ops: a network of another framework becomes part of a graph of ours, so that it can be
 * differentiated, compiled and used in a loss. Operators are read by the tables in `operators`, one row each, as operator
 * sets 7 to 24 define them (https://onnx.ai/onnx/operators), with their meaning in inference. Floats are f32 throughout.
 *
 * What models compute about shapes is computed while importing. Control flow, recurrent and quantised operators, and
 * operators of other domains are not here.
 */
import { type NDArray, ndarray, sizeOf, ToklipError, toF32, viewBytes } from "../core/index.ts";
import { formatShape, type Graph, isStatic, type Tensor } from "../graph/index.ts";
import type { OnnxInitializer, OnnxModel, OnnxNode } from "./model.ts";
import { Call, type Context, type Row } from "./operators/call.ts";
import { elementwiseOperators } from "./operators/elementwise.ts";
import { linearOperators } from "./operators/linear.ts";
import { normalizationOperators } from "./operators/normalization.ts";
import { pickingOperators } from "./operators/picking.ts";
import { shapingOperators } from "./operators/shaping.ts";
import { isKnown, knownArray, toTensor, type Value } from "./operators/value.ts";
import { windowOperators } from "./operators/windows.ts";

const OPERATORS: Readonly<Record<string, Row>> = {
  ...elementwiseOperators,
  ...linearOperators,
  ...normalizationOperators,
  ...pickingOperators,
  ...shapingOperators,
  ...windowOperators,
};

const OLDEST_OPSET = 7;
const NEWEST_OPSET = 24;
/** What lowering makes. */
const LOWERED_OPSET = 20;

/** Elements that all known values of one import may have together. */
const MOST_KNOWN_IN_ALL = 2 ** 22;
/** More axes than any model has. */
const MOST_AXES = 32;

/** The operators that `importOnnx` takes, by their names in ONNX. */
export function importedOperators(): string[] {
  return Object.keys(OPERATORS).sort();
}

/** How a model is brought into a graph. */
export interface ImportOptions {
  /** What the names of its parameters begin with. Default "". */
  readonly prefix?: string;
  /** The values to give, by their names in the model: its outputs, or anything inside. Default: its outputs. */
  readonly outputs?: readonly string[];
  /** Whether weights become parameters of the graph, or constants in it. Default "parameters". */
  readonly weights?: "parameters" | "constants";
}

/** @throws ARGUMENT_INVALID when the elements lie in another file still. */
function elements({ name, dtype, shape, data }: OnnxInitializer): NDArray {
  if (!(data instanceof Uint8Array)) {
    const where = `its elements are in ${data.location}, which is not loaded (loadExternalData)`;
    throw new ToklipError("ARGUMENT_INVALID", `weight ${name}: ${where}`);
  }
  return ndarray(dtype, shape, viewBytes(dtype, data));
}

const FLOATS = ["f32", "f16", "bf16", "f64"];

/** Weights are floats of more than one element; other initializers are known while importing. */
function isWeight({ dtype, shape }: OnnxInitializer): boolean {
  return FLOATS.includes(dtype) && sizeOf(shape) !== 1;
}

/** The initializers of a model, and the tensors of its `Constant` nodes, by name. */
function initializersOf(model: OnnxModel): ReadonlyMap<string, OnnxInitializer> {
  const found = new Map(model.initializers.map((item) => [item.name, item]));
  for (const { opType, domain, outputs, attributes } of model.nodes) {
    const value = opType === "Constant" && domain === "" ? attributes.value : undefined;
    if (typeof value === "object" && "tensor" in value && outputs[0]) {
      found.set(outputs[0], { ...value.tensor, name: outputs[0] });
    }
  }
  return found;
}

function asF32({ dtype, shape, data }: NDArray): NDArray<"f32"> {
  return ndarray("f32", shape, toF32(dtype, data));
}

/**
 * A function that gives the values of the parameters that `importOnnx` makes, by name, as f32; undefined for names that
 * are none.
 * @throws (the function) ARGUMENT_INVALID for weights in files that are not loaded.
 */
export function onnxWeights(
  model: OnnxModel,
  { prefix = "" }: Pick<ImportOptions, "prefix"> = {},
): (name: string) => NDArray<"f32"> | undefined {
  const initializers = initializersOf(model);
  return (name) => {
    const item = name.startsWith(prefix) ? initializers.get(name.slice(prefix.length)) : undefined;
    return item !== undefined && isWeight(item) ? asF32(elements(item)) : undefined;
  };
}

/** The node that makes each value, and the nodes that are needed for some values. */
function neededNodes(model: OnnxModel, given: ReadonlySet<string>, wanted: readonly string[]): ReadonlySet<OnnxNode> {
  const makers = new Map(model.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  const needed = new Set<OnnxNode>();
  const open = [...wanted];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const node = given.has(name) ? undefined : makers.get(name);
    if (node === undefined || needed.has(node)) continue;
    needed.add(node);
    open.push(...node.inputs);
  }
  return needed;
}

/** What to call a node in a message. */
function nodeTitle({ opType, name, outputs }: OnnxNode): string {
  return `${opType} ${name || outputs[0]}`;
}

/** A model on its way into a graph. */
class Import {
  readonly values = new Map<string, Value>();
  private readonly graph: Graph;
  private readonly options: Required<Omit<ImportOptions, "outputs">>;
  private readonly initializers: ReadonlyMap<string, OnnxInitializer>;
  private readonly weights = new Map<Tensor, OnnxInitializer>();
  private readonly context: Context;
  private known = 0;

  constructor(model: OnnxModel, graph: Graph, options: Required<Omit<ImportOptions, "outputs">>) {
    this.graph = graph;
    this.options = options;
    this.initializers = initializersOf(model);
    const weight = (tensor: Tensor) => this.weights.get(tensor);
    this.context = { graph, opset: model.opsets?.[""] ?? LOWERED_OPSET, decode: elements, weight };
  }

  /** The value of a name, if it is there by now: made, given, or an initializer. */
  find(name: string): Value | undefined {
    const value = this.values.get(name) ?? this.initial(name);
    if (value !== undefined) this.values.set(name, value);
    return value;
  }

  /** The value of an input of a node; "" is one that is left out. */
  private input(name: string): Value | undefined {
    const value = name === "" ? undefined : this.find(name);
    if (value !== undefined || name === "") return value;
    throw new ToklipError("FILE_CORRUPT", `nothing before it makes its input ${name}`);
  }

  private initial(name: string): Value | undefined {
    const item = this.initializers.get(name);
    if (item === undefined) return undefined;
    if (!isWeight(item)) return knownArray(elements(item));
    const tensor =
      this.options.weights === "parameters"
        ? this.graph.parameter(`${this.options.prefix}${name}`, item.shape)
        : this.graph.constant(asF32(elements(item)));
    this.weights.set(tensor, item);
    return tensor;
  }

  /** Applies a node. */
  apply(node: OnnxNode): void {
    if (node.opType === "Constant" && this.initializers.has(node.outputs[0] ?? "")) return; // found when it is read
    const row = node.domain === "" && Object.hasOwn(OPERATORS, node.opType) ? OPERATORS[node.opType] : undefined;
    if (row === undefined) {
      const domain = node.domain === "" ? "" : ` of ${node.domain}`;
      throw new ToklipError("OP_UNSUPPORTED", `the operator${domain} is not supported`);
    }
    const inputs = node.inputs.map((name) => this.input(name));
    const made = row(new Call(node, inputs, this.context));
    const results = Array.isArray(made) ? (made as readonly Value[]) : [made as Value];
    node.outputs.forEach((name, i) => {
      if (name !== "" && results[i] !== undefined) this.keep(name, results[i]);
    });
  }

  private keep(name: string, value: Value): void {
    if (this.values.has(name)) throw new ToklipError("FILE_CORRUPT", `${name} is made twice`);
    if (value.shape.length > MOST_AXES)
      throw new ToklipError("OP_UNSUPPORTED", `${name} has ${value.shape.length} axes`);
    if (isKnown(value)) this.known += value.items.length;
    if (this.known > MOST_KNOWN_IN_ALL) throw new ToklipError("OP_UNSUPPORTED", "too much is computed while importing");
    this.values.set(name, value);
  }
}

/** The tensors for a model's inputs, by their names in it. */
function givenInputs(model: OnnxModel, given: Readonly<Record<string, Tensor>> | Tensor): Map<string, Tensor> {
  const initializers = new Set(model.initializers.map(({ name }) => name)); // older files list weights as inputs
  const names = model.inputs.map(({ name }) => name).filter((name) => !initializers.has(name));
  if ("graph" in given && "node" in given) {
    if (names.length === 1) return new Map([[names[0]!, given as Tensor]]);
    throw new ToklipError("ARGUMENT_INVALID", `${model.name}: name its inputs (${names.join(", ")})`);
  }
  const tensors = new Map(Object.entries(given as Readonly<Record<string, Tensor>>));
  for (const name of tensors.keys()) {
    if (!names.includes(name)) {
      throw new ToklipError("ARGUMENT_INVALID", `${model.name} has no input ${name} (it has ${names.join(", ")})`);
    }
  }
  return tensors;
}

/** What to say of shapes that do not fit: often a model was exported for one size. */
function exportedFor(model: OnnxModel, given: ReadonlyMap<string, Tensor>): string {
  const fixed = model.inputs.find(({ name, shape }) =>
    shape.some((dim, axis) => isStatic(dim) && given.has(name) && given.get(name)!.shape[axis] !== dim),
  );
  if (fixed === undefined) return "";
  const shapes = `${formatShape(fixed.shape)}, and got ${formatShape(given.get(fixed.name)!.shape)}`;
  return `; the model was exported for ${fixed.name} of ${shapes}`;
}

/**
 * Applies a model to tensors of a graph.
 * @param inputs tensors by the names of the model's inputs, or the tensor of its only one: (B, 3, H, W) for networks of
 * pictures, H and W known, B any. The pixels' scaling is the model's: most expect more than [-1, 1] or [0, 1].
 * @returns the values that were asked for, by name. Weights are parameters of the graph named as in the model behind
 * `prefix`, whose values `onnxWeights` gives.
 * @throws OP_UNSUPPORTED naming the operator and its node; FILE_CORRUPT for a model that contradicts itself;
 * SHAPE_MISMATCH when the inputs do not fit; ARGUMENT_INVALID for names that the model lacks, and for weights in files
 * that must be loaded first (`loadExternalData`).
 */
export function importOnnx(
  model: OnnxModel,
  inputs: Readonly<Record<string, Tensor>> | Tensor,
  { outputs, prefix = "", weights = "parameters" }: ImportOptions = {},
): { readonly outputs: Readonly<Record<string, Tensor>> } {
  const opset = model.opsets?.[""];
  if (opset !== undefined && !(opset >= OLDEST_OPSET && opset <= NEWEST_OPSET)) {
    const range = `${OLDEST_OPSET} to ${NEWEST_OPSET}`;
    throw new ToklipError("OP_UNSUPPORTED", `${model.name}: operator set ${opset} is not within ${range}`);
  }
  const given = givenInputs(model, inputs);
  const [first] = given.values();
  if (first === undefined) throw new ToklipError("ARGUMENT_INVALID", `${model.name}: no input is given`);
  const wanted = outputs ?? model.outputs.map(({ name }) => name);
  const work = new Import(model, first.graph, { prefix, weights });
  for (const [name, tensor] of given) work.values.set(name, tensor);
  const hint = exportedFor(model, given);
  const needed = neededNodes(model, new Set(given.keys()), wanted);
  for (const node of model.nodes) {
    if (needed.has(node)) inContext(nodeTitle(node), () => work.apply(node), hint);
  }
  const results = wanted.map((name) => {
    const value = work.find(name);
    if (value !== undefined) return [name, toTensor(first.graph, value)] as const;
    throw new ToklipError("ARGUMENT_INVALID", `${model.name} has no value ${name}`);
  });
  return { outputs: Object.fromEntries(results) };
}

/** Runs `work`; what it throws is said of `what`, and shapes that do not fit are explained by `hint`. */
function inContext(what: string, work: () => void, hint: string): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof ToklipError)) throw error;
    const more = error.code === "SHAPE_MISMATCH" || error.code === "GRAPH_INVALID" ? hint : "";
    throw new ToklipError(error.code, `${what}: ${error.reason}${more}`, { cause: error });
  }
}
