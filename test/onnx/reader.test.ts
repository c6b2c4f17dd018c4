// Reading ONNX bytes: every form of a tensor, files beside the model, and files that are broken or hostile.
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ByteSource, bytesOf, memorySource, Random, ToklipError } from "../../src/core/index.ts";
import { Graph } from "../../src/graph/index.ts";
import {
  importOnnx,
  loadExternalData,
  type OnnxModel,
  onnxWeights,
  readOnnx,
  writeOnnx,
} from "../../src/onnx/index.ts";
import { f32, i64, initializer, node, smallCnn } from "./small-models.ts";

/** The bytes of a message that is described field by field. */
function message(describe: (writer: BinaryWriter) => void): Uint8Array {
  const writer = new BinaryWriter();
  describe(writer);
  return writer.finish();
}

const bytesIn = (field: number, bytes: Uint8Array) => (writer: BinaryWriter) =>
  writer.tag(field, WireType.LengthDelimited).bytes(bytes);
const intIn = (field: number, value: number) => (writer: BinaryWriter) =>
  writer.tag(field, WireType.Varint).int64(value);

/** A model whose only initializer is the given TensorProto. */
function modelOf(...tensors: readonly Uint8Array[]): Uint8Array {
  const graph = message((w) => {
    for (const tensor of tensors) bytesIn(5, tensor)(w);
  });
  return message((w) => {
    bytesIn(7, graph)(w);
    bytesIn(8, message(intIn(2, 17)))(w);
  });
}

function tensor(
  shape: readonly number[],
  type: number,
  ...rest: readonly ((w: BinaryWriter) => unknown)[]
): Uint8Array {
  return message((w) => {
    for (const dim of shape) intIn(1, dim)(w);
    intIn(2, type)(w);
    w.tag(8, WireType.LengthDelimited).string("t");
    for (const field of rest) field(w);
  });
}

const packed = (field: number, write: (w: BinaryWriter) => void) => bytesIn(field, message(write));
const read = (...tensors: readonly Uint8Array[]) => readOnnx(modelOf(...tensors)).initializers[0]!;
const numbers = (
  bytes: unknown,
  view:
    | Float32ArrayConstructor
    | BigInt64ArrayConstructor
    | Int8ArrayConstructor
    | Uint16ArrayConstructor
    | Float64ArrayConstructor,
) => Array.from(new view((bytes as Uint8Array).slice().buffer) as Float32Array);

/** What reading throws, or undefined. @throws what is no ToklipError. */
function failure(work: () => unknown): ToklipError | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof ToklipError) return error;
    throw error;
  }
}

describe("tensors", () => {
  test("are read from raw bytes, and from the field of their type, packed or not", () => {
    const raw = bytesIn(9, bytesOf(Float32Array.of(1.5, -2)));
    const floats = packed(4, (w) => w.float(1.5).float(-2));
    const single = (w: BinaryWriter) => w.tag(4, WireType.Bit32).float(1.5).tag(4, WireType.Bit32).float(-2);
    for (const field of [raw, floats, single]) {
      expect(numbers(read(tensor([2], 1, field)).data, Float32Array)).toEqual([1.5, -2]);
    }
    const doubles = packed(10, (w) => w.double(0.1).double(1e300));
    expect(numbers(read(tensor([2], 11, doubles)).data, Float64Array)).toEqual([0.1, 1e300]);
    const wide = packed(7, (w) => w.int64(-1).int64("9223372036854775807"));
    expect(numbers(read(tensor([2], 7, wide)).data, BigInt64Array)).toEqual([-1n, 2n ** 63n - 1n]);
    const small = packed(5, (w) => w.int32(-3).int32(127));
    expect(numbers(read(tensor([2], 3, small)).data, Int8Array)).toEqual([-3, 127]);
    const halves = packed(5, (w) => w.int32(0x3c00).int32(0xbc00));
    expect(read(tensor([2], 10, halves))).toMatchObject({ dtype: "f16", shape: [2] });
    expect(numbers(read(tensor([2], 10, halves)).data, Uint16Array)).toEqual([0x3c00, 0xbc00]);
  });

  test("must have as many elements as their shape", () => {
    const two = bytesIn(9, new Uint8Array(8));
    for (const shape of [[3], [1], [-2], [2 ** 40], [2 ** 30, 2 ** 30], new Array(40).fill(1)]) {
      expect(() => read(tensor(shape, 1, two)), `${shape}`).toThrow(expect.objectContaining({ code: "FILE_CORRUPT" }));
    }
    expect(() => read(tensor([2 ** 40], 1))).toThrow("tensor t: expected 4398046511104 bytes of f32");
  });

  test("of strings and of unknown types are refused by name", () => {
    expect(() => read(tensor([1], 8))).toThrow("tensor t: ONNX data type 8 is not supported [FILE_UNSUPPORTED]");
    expect(() => read(tensor([1], 999))).toThrow(expect.objectContaining({ code: "FILE_UNSUPPORTED" }));
  });

  test("are views of the file's bytes where they are raw", () => {
    const bytes = writeOnnx(smallCnn());
    for (const { data } of readOnnx(bytes).initializers) expect((data as Uint8Array).buffer).toBe(bytes.buffer);
  });
});

describe("a model", () => {
  test("comes back as it was written", () => {
    const model = smallCnn();
    const back = readOnnx(writeOnnx(model));
    expect({ ...back, nodes: [] }).toEqual({ ...model, nodes: [] });
    expect(back.nodes.map(({ name, inputs, outputs }) => [name, inputs, outputs])).toEqual(
      model.nodes.map(({ name, inputs, outputs }) => [name, inputs, outputs]),
    );
    expect(back.nodes[3]!.attributes).toEqual(model.nodes[3]!.attributes);
    expect((back.nodes[1]!.attributes.epsilon as { float: number }).float).toBe(Math.fround(1e-5));
  });

  test("keeps names like __proto__ as names", () => {
    const plain: OnnxModel = {
      ...smallCnn(),
      nodes: [node("Relu", ["x"], ["__proto__"], JSON.parse('{"__proto__": 3, "constructor": 4}'))],
      outputs: [{ name: "__proto__", dtype: "f32", shape: [] }],
      metadata: JSON.parse('{"__proto__": "text"}'),
    };
    const back = readOnnx(writeOnnx(plain));
    expect(Object.getOwnPropertyNames(back.nodes[0]!.attributes)).toEqual(["__proto__", "constructor"]);
    expect(Object.getOwnPropertyNames(back.metadata)).toEqual(["__proto__"]);
    const graph = new Graph();
    const { outputs } = importOnnx(back, graph.input("x", "f32", [1, 3]));
    expect(Object.getOwnPropertyNames(outputs)).toEqual(["__proto__"]);
  });

  test("is told from other files", () => {
    const others = ["", "PK\u0003\u0004", "{}", "not a model at all", "\u0000".repeat(100)];
    for (const text of others) {
      expect(() => readOnnx(new TextEncoder().encode(text), "net.onnx"), text).toThrow(
        /^net\.onnx: .*\[FILE_CORRUPT\]$/,
      );
    }
  });
});

describe("files beside a model", () => {
  const entry = (key: string, value: string) =>
    bytesIn(
      13,
      message((w) => {
        w.tag(1, WireType.LengthDelimited).string(key);
        w.tag(2, WireType.LengthDelimited).string(value);
      }),
    );
  const beside = (location: string, offset = 0, length?: number) =>
    tensor(
      [2],
      1,
      entry("location", location),
      entry("offset", `${offset}`),
      ...(length === undefined ? [] : [entry("length", `${length}`)]),
      intIn(14, 1),
    );
  const weights = bytesOf(Float32Array.of(0, 1.5, -2));

  test("are read once each and closed", async () => {
    const opened: string[] = [];
    let closed = 0;
    const open = async (location: string): Promise<ByteSource> => {
      opened.push(location);
      return { ...memorySource(weights, location), close: async () => void closed++ };
    };
    const model = readOnnx(modelOf(beside("weights.bin", 4), beside("weights.bin", 4, 8), beside("sub/more.bin")));
    expect(() => onnxWeights(model)("t")).toThrow(/weights\.bin|more\.bin/);
    const loaded = await loadExternalData(model, open);
    expect(loaded.initializers.map(({ data }) => numbers(data, Float32Array))).toEqual([
      [1.5, -2],
      [1.5, -2],
      [0, 1.5],
    ]);
    expect(opened).toEqual(["weights.bin", "sub/more.bin"]);
    expect(closed).toBe(2);
    expect(await loadExternalData(loaded, open)).toBe(loaded);
  });

  test("must be in the model's folder and long enough", async () => {
    const open = async (location: string) => memorySource(weights, location);
    for (const location of ["/etc/passwd", "../up.bin", "a/../../b", "C:\\x", "a//b", "..\\up"]) {
      const model = readOnnx(modelOf(beside(location)));
      await expect(loadExternalData(model, open), location).rejects.toMatchObject({ code: "FILE_CORRUPT" });
    }
    await expect(loadExternalData(readOnnx(modelOf(beside("w", 8))), open)).rejects.toMatchObject({
      code: "FILE_CORRUPT",
    });
    const repeated = readOnnx(modelOf(...[0, 1, 2, 3].map((offset) => beside("w", offset))));
    await expect(loadExternalData(repeated, open)).rejects.toThrow("weights of 32 bytes are expected, w holds 12");
  });

  test("must say where and how much", () => {
    for (const bad of [beside("w", 0, 9), beside("", 0), tensor([2], 1, intIn(14, 1)), beside("w", Number.NaN)]) {
      expect(() => read(bad)).toThrow(expect.objectContaining({ code: "FILE_CORRUPT" }));
    }
  });
});

describe("broken files", () => {
  const whole = (() => {
    const model = smallCnn();
    const shapes = [
      node("Shape", ["g"], ["s"]),
      node("Constant", [], ["k"], { value: { tensor: initializer("", i64([1, -1])) } }),
      node("ConstantOfShape", ["k2"], ["m"], { value: { tensor: initializer("", f32([2])) } }),
      node("Reshape", ["y0", "k"], ["y1"]),
      node("Add", ["y1", "m"], ["y2"]),
      node("Slice", ["y2", "k3", "k2", "k3"], ["y"]),
    ];
    const nodes = [
      ...model.nodes.slice(0, -1),
      node("Gemm", ["g", "head.weight", "head.bias"], ["y0"], { transB: 1 }),
      ...shapes,
    ];
    const known = [initializer("k2", i64([1])), initializer("k3", i64([0]))];
    return writeOnnx({ ...model, nodes, initializers: [...model.initializers, ...known] });
  })();

  /** Reads and imports: values, or ToklipErrors of these codes. */
  function attempt(bytes: Uint8Array): string {
    const error = failure(() => {
      const model = readOnnx(bytes);
      const graph = new Graph();
      importOnnx(model, graph.input("x", "f32", [1, 3, 9, 8]), { prefix: "p." });
    });
    return error?.code ?? "read";
  }

  test("the whole one is read", () => {
    expect(attempt(whole)).toBe("read");
  });

  test("every truncation is an error, and never another kind of one", () => {
    for (let length = 0; length < whole.length; length++) {
      const code = attempt(whole.subarray(0, length));
      // Only where the operator sets and metadata at the end are cut off may what is left be a model.
      if (length < whole.length - 40) expect(code, `${length}`).toBe("FILE_CORRUPT");
    }
  });

  test("flipped bytes give a model or a ToklipError", () => {
    const random = new Random(11);
    const codes = new Set<string>();
    for (let i = 0; i < 1500; i++) {
      const bytes = whole.slice();
      for (let n = 1 + random.integer(3); n > 0; n--) bytes[random.integer(bytes.length)] = random.integer(256);
      codes.add(attempt(bytes));
    }
    expect([...codes].filter((code) => ["INTERNAL", "RUNTIME_FAILED"].includes(code))).toEqual([]);
    expect(codes.size).toBeGreaterThan(3);
  });

  test("flipped bytes outside of the weights find their way into every part", () => {
    const random = new Random(12);
    const places = Array.from({ length: whole.length }, (_, i) => i).filter(
      (i) => whole[i]! < 32 || (whole[i]! > 96 && whole[i]! < 123),
    );
    for (let i = 0; i < 1500; i++) {
      const bytes = whole.slice();
      bytes[places[random.integer(places.length)]!] = [0, 1, 2, 255, 127, 128, 8, 64][random.integer(8)]!;
      attempt(bytes);
    }
  });

  test("random bytes give a ToklipError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(failure(() => readOnnx(bytes))?.code).toMatch(/^FILE_/);
      }),
      { numRuns: 2000 },
    );
  });

  test("absurd lengths are errors at once", () => {
    const huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for (const field of [7, 8, 14, 99]) {
      expect(attempt(Uint8Array.of((field << 3) & 0x7f, ...huge))).toBe("FILE_CORRUPT");
      expect(attempt(Uint8Array.of(((field << 3) | 2) & 0x7f, ...huge, 1, 2, 3))).toBe("FILE_CORRUPT");
    }
    const groups = new Uint8Array(100_000).fill((3 << 3) | 3);
    expect(attempt(groups)).toBe("FILE_CORRUPT");
  });
});
