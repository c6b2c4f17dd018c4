/**
 * OnnxModel -> bytes of an ONNX file (onnx.proto: IR version 9; opset 20 and com.microsoft 1 unless the model says).
 * Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; the wire encoding is
 * @bufbuild/protobuf's. Reading ONNX is in reader.ts.
 */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type DType, ToklipError } from "../core/index.ts";
import { isStatic, onnxDtype, type Shape } from "../graph/index.ts";
import type { OnnxAttribute, OnnxInitializer, OnnxModel, OnnxNode, OnnxValue } from "./model.ts";

const IR_VERSION = 9;
const OPSETS: Readonly<Record<string, number>> = { "": 20, "com.microsoft": 1 };
/** A protobuf message holds less than 2 GiB; weights beyond that belong in external files. */
const LARGEST_MESSAGE = 2 ** 31 - 1;

const ATTRIBUTE_TYPES = { float: 1, int: 2, string: 3, tensor: 4, floats: 6, ints: 7 };

type Body = (writer: BinaryWriter) => void;

function message(writer: BinaryWriter, field: number, body: Body): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  body(writer);
  writer.join();
}

function text(writer: BinaryWriter, field: number, value: string): void {
  writer.tag(field, WireType.LengthDelimited).string(value);
}

function integer(writer: BinaryWriter, field: number, value: number): void {
  writer.tag(field, WireType.Varint).int64(value);
}

function attribute(writer: BinaryWriter, name: string, value: OnnxAttribute): void {
  text(writer, 1, name);
  if (typeof value === "number") {
    integer(writer, 3, value);
    integer(writer, 20, ATTRIBUTE_TYPES.int);
  } else if (typeof value === "string") {
    text(writer, 4, value);
    integer(writer, 20, ATTRIBUTE_TYPES.string);
  } else if ("float" in value) {
    writer.tag(2, WireType.Bit32).float(value.float);
    integer(writer, 20, ATTRIBUTE_TYPES.float);
  } else if ("floats" in value) {
    for (const item of value.floats) writer.tag(7, WireType.Bit32).float(item);
    integer(writer, 20, ATTRIBUTE_TYPES.floats);
  } else if ("tensor" in value) {
    message(writer, 5, (w) => initializer(w, value.tensor));
    integer(writer, 20, ATTRIBUTE_TYPES.tensor);
  } else {
    for (const item of value) integer(writer, 8, item);
    integer(writer, 20, ATTRIBUTE_TYPES.ints);
  }
}

function node(writer: BinaryWriter, { name, opType, domain, inputs, outputs, attributes }: OnnxNode): void {
  for (const input of inputs) text(writer, 1, input);
  for (const output of outputs) text(writer, 2, output);
  text(writer, 3, name);
  text(writer, 4, opType);
  for (const [key, value] of Object.entries(attributes)) message(writer, 5, (w) => attribute(w, key, value));
  if (domain !== "") text(writer, 7, domain);
}

function initializer(writer: BinaryWriter, { name, dtype, shape, data }: OnnxInitializer): void {
  for (const dim of shape) integer(writer, 1, dim);
  integer(writer, 2, onnxDtype(dtype));
  text(writer, 8, name);
  if (data instanceof Uint8Array) {
    writer.tag(9, WireType.LengthDelimited).bytes(data);
    return;
  }
  const entries = { location: data.location, offset: String(data.offset), length: String(data.length) };
  for (const [key, value] of Object.entries(entries)) {
    message(writer, 13, (w) => {
      text(w, 1, key);
      text(w, 2, value);
    });
  }
  integer(writer, 14, 1);
}

function tensorType(writer: BinaryWriter, dtype: DType, shape: Shape): void {
  integer(writer, 1, onnxDtype(dtype));
  message(writer, 2, (w) => {
    for (const dim of shape) {
      message(w, 1, (d) => (isStatic(dim) ? integer(d, 1, dim) : text(d, 2, dim)));
    }
  });
}

function value(writer: BinaryWriter, { name, dtype, shape }: OnnxValue): void {
  text(writer, 1, name);
  message(writer, 2, (type) => message(type, 1, (w) => tensorType(w, dtype, shape)));
}

/**
 * Serialises a model.
 * @throws ARGUMENT_INVALID when embedded weights pass protobuf's 2 GiB.
 */
export function writeOnnx(model: OnnxModel): Uint8Array {
  const embedded = model.initializers.reduce(
    (sum, { data }) => sum + (data instanceof Uint8Array ? data.length : 0),
    0,
  );
  if (embedded > LARGEST_MESSAGE - 2 ** 24) {
    throw new ToklipError(
      "ARGUMENT_INVALID",
      `${model.name}: ${embedded} bytes of weights do not fit in one ONNX message`,
    );
  }
  const writer = new BinaryWriter();
  integer(writer, 1, IR_VERSION);
  text(writer, 2, "toklip");
  message(writer, 7, (graph) => {
    for (const item of model.nodes) message(graph, 1, (w) => node(w, item));
    text(graph, 2, model.name);
    for (const item of model.initializers) message(graph, 5, (w) => initializer(w, item));
    for (const item of model.inputs) message(graph, 11, (w) => value(w, item));
    for (const item of model.outputs) message(graph, 12, (w) => value(w, item));
  });
  for (const [domain, version] of Object.entries(model.opsets ?? OPSETS)) {
    message(writer, 8, (w) => {
      text(w, 1, domain);
      integer(w, 2, version);
    });
  }
  for (const [key, item] of Object.entries(model.metadata)) {
    message(writer, 14, (w) => {
      text(w, 1, key);
      text(w, 2, item);
    });
  }
  return writer.finish();
}
