/**
 * Bytes of an ONNX file -> OnnxModel: the graph, its weights and its operator sets. Field numbers are those of
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. The file is untrusted: what is broken ends in FILE_CORRUPT, and
 * memory stays in proportion to the file (raw weights are views of its bytes).
 *
 * Not held: subgraphs, local functions, sparse and string tensors, quantisation notes, training information. Attributes of
 * such types are left out; an operator that needs one is refused by the importer, by its name.
 */
import { messageOf, ToklipError } from "../core/index.ts";
import type { Dim } from "../graph/index.ts";
import { bytesField, type Field, numberField, readFields, textField } from "./fields.ts";
import type { OnnxAttribute, OnnxInitializer, OnnxModel, OnnxNode, OnnxValue } from "./model.ts";
import { dtypeOfOnnx, readEntry, readTensorProto } from "./tensor-reader.ts";

/** What AttributeProto.type says of each kind that we hold. */
const ATTRIBUTE_TYPES = { float: 1, int: 2, text: 3, tensor: 4, floats: 6, ints: 7 };

function readAttribute(bytes: Uint8Array): [name: string, value: OnnxAttribute | undefined] {
  let name = "";
  let type = 0;
  const found: { float: number; int: number; text: string; tensor?: Uint8Array } = { float: 0, int: 0, text: "" };
  const floats: number[] = [];
  const ints: number[] = [];
  readFields(bytes, {
    1: textField((value) => {
      name = value;
    }),
    2: numberField("float", (value) => {
      found.float = value;
    }),
    3: numberField("int64", (value) => {
      found.int = value;
    }),
    4: bytesField((value) => {
      found.text = new TextDecoder().decode(value); // bytes of any kind: only our ops' attributes need be text
    }),
    5: bytesField((value) => {
      found.tensor = value;
    }),
    7: numberField("float", (value) => floats.push(value)),
    8: numberField("int64", (value) => ints.push(value)),
    20: numberField("int64", (value) => {
      type = value;
    }),
  });
  const { float, int, text, tensor } = found;
  const values: Readonly<Record<number, () => OnnxAttribute>> = {
    [ATTRIBUTE_TYPES.float]: () => ({ float }),
    [ATTRIBUTE_TYPES.int]: () => int,
    [ATTRIBUTE_TYPES.text]: () => text,
    [ATTRIBUTE_TYPES.tensor]: () => ({ tensor: readTensorProto(tensor ?? new Uint8Array()) }),
    [ATTRIBUTE_TYPES.floats]: () => ({ floats }),
    [ATTRIBUTE_TYPES.ints]: () => ints,
  };
  return [name, values[type]?.()];
}

function readNode(bytes: Uint8Array): OnnxNode {
  const node = { name: "", opType: "", domain: "" };
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes: [string, OnnxAttribute][] = [];
  readFields(bytes, {
    1: textField((value) => inputs.push(value)),
    2: textField((value) => outputs.push(value)),
    3: textField((value) => {
      node.name = value;
    }),
    4: textField((value) => {
      node.opType = value;
    }),
    5: bytesField((message) => {
      const [name, value] = readAttribute(message);
      if (value !== undefined) attributes.push([name, value]);
    }),
    7: textField((value) => {
      node.domain = value === "ai.onnx" ? "" : value;
    }),
  });
  return { ...node, inputs, outputs, attributes: Object.fromEntries(attributes) };
}

/** A message that is only there for one message inside of it. */
function inside(bytes: Uint8Array, field: number, read: (message: Uint8Array) => void): void {
  readFields(bytes, { [field]: bytesField(read) });
}

/** A dimension: a number, a symbol, or "?" where the file says nothing. */
function readDim(bytes: Uint8Array): Dim {
  let dim: Dim = "?";
  readFields(bytes, {
    1: numberField("int64", (value) => {
      dim = value;
    }),
    2: textField((value) => {
      dim = value;
    }),
  });
  return dim;
}

/** An input or output; undefined for what is no tensor. */
function readValue(bytes: Uint8Array): OnnxValue | undefined {
  let name = "";
  let code: number | undefined;
  const shape: Dim[] = [];
  const tensorType: Readonly<Record<number, Field>> = {
    1: numberField("int64", (value) => {
      code = value;
    }),
    2: bytesField((message) => inside(message, 1, (dim) => shape.push(readDim(dim)))),
  };
  readFields(bytes, {
    1: textField((value) => {
      name = value;
    }),
    2: bytesField((type) => inside(type, 1, (message) => readFields(message, tensorType))),
  });
  return code === undefined ? undefined : { name, dtype: dtypeOfOnnx(code, `value ${name}`), shape };
}

interface GraphParts {
  name: string;
  readonly nodes: OnnxNode[];
  readonly initializers: OnnxInitializer[];
  readonly inputs: OnnxValue[];
  readonly outputs: OnnxValue[];
}

function readGraph(bytes: Uint8Array): GraphParts {
  const graph: GraphParts = { name: "", nodes: [], initializers: [], inputs: [], outputs: [] };
  const keep = (list: OnnxValue[]) =>
    bytesField((message) => {
      const value = readValue(message);
      if (value !== undefined) list.push(value);
    });
  readFields(bytes, {
    1: bytesField((message) => graph.nodes.push(readNode(message))),
    2: textField((value) => {
      graph.name = value;
    }),
    5: bytesField((message) => graph.initializers.push(readTensorProto(message))),
    11: keep(graph.inputs),
    12: keep(graph.outputs),
    15: () => {
      throw new ToklipError("FILE_UNSUPPORTED", "sparse weights are not supported");
    },
  });
  return graph;
}

function readOpset(bytes: Uint8Array): [domain: string, version: number] {
  const opset: [string, number] = ["", 0];
  readFields(bytes, {
    1: textField((domain) => {
      opset[0] = domain === "ai.onnx" ? "" : domain;
    }),
    2: numberField("int64", (version) => {
      opset[1] = version;
    }),
  });
  return opset;
}

function readModel(bytes: Uint8Array): OnnxModel {
  let graph: GraphParts | undefined;
  const opsets: [string, number][] = [];
  const metadata: [string, string][] = [];
  readFields(bytes, {
    7: bytesField((message) => {
      graph = readGraph(message);
    }),
    8: bytesField((message) => opsets.push(readOpset(message))),
    14: bytesField((message) => metadata.push(readEntry(message))),
  });
  if (graph === undefined || opsets.length === 0) throw new Error("it has no graph or no operator sets");
  return { ...graph, opsets: Object.fromEntries(opsets), metadata: Object.fromEntries(metadata) };
}

/**
 * Reads an ONNX model. Weights in other files stay there: see `loadExternalData`.
 * @param name what to call the file in messages
 * @throws FILE_CORRUPT when the bytes are no ONNX model; FILE_UNSUPPORTED for tensors of types that we do not hold.
 */
export function readOnnx(bytes: Uint8Array, name = "ONNX model"): OnnxModel {
  try {
    // A plain view: Node's Buffer is a Uint8Array whose slice() does not copy.
    return readModel(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  } catch (error) {
    const code = error instanceof ToklipError ? error.code : "FILE_CORRUPT";
    throw new ToklipError(code, `${name}: ${messageOf(error)}`, { cause: error });
  }
}
