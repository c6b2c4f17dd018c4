/**
 * TensorProto -> an initializer: little-endian bytes in memory, or where they lie in another file. Numbers may stand in
 * `raw_data` or in a field by type (`float_data`, `int32_data`, ...), as onnx.proto says; both become bytes.
 * Strings, complex numbers and types below 8 bits are not here.
 */
import { allocate, bytesOf, DTYPES, type DType, sizeOf, ToklipError, type TypedArray } from "../core/index.ts";
import { bytesField, numberField, readFields, textField } from "./fields.ts";
import type { ExternalData, OnnxInitializer } from "./model.ts";

/** The dtype of each number of TensorProto.DataType that we hold. */
const DTYPE_OF: Readonly<Record<number, DType>> = {
  1: "f32",
  2: "u8",
  3: "i8",
  4: "u16",
  5: "i16",
  6: "i32",
  7: "i64",
  9: "bool",
  10: "f16",
  11: "f64",
  16: "bf16",
};

/** More axes than any model has; without a limit a file could make every later step slow. */
const MOST_AXES = 32;

/** The dtype of a number of TensorProto.DataType. @throws FILE_UNSUPPORTED for those that we do not hold. */
export function dtypeOfOnnx(code: number, what: string): DType {
  const dtype = DTYPE_OF[code];
  if (dtype === undefined)
    throw new ToklipError("FILE_UNSUPPORTED", `${what}: ONNX data type ${code} is not supported`);
  return dtype;
}

/** A whole number that was rounded to float64, which may have brought the largest of all out of range. */
const toInt64 = (value: number) => (value >= 2 ** 63 ? 2n ** 63n - 1n : BigInt(value));

/** Numbers of one kind in a buffer that grows: their memory stays in proportion to their bytes in the file. */
class Numbers {
  private held: TypedArray;
  private length = 0;
  private readonly dtype: "f32" | "f64" | "i64" | "i32";

  constructor(dtype: "f32" | "f64" | "i64" | "i32") {
    this.dtype = dtype;
    this.held = allocate(dtype, 0);
  }

  push(value: number): void {
    if (this.length === this.held.length) {
      const grown = allocate(this.dtype, Math.max(16, 2 * this.length)) as Float64Array;
      grown.set(this.held as Float64Array);
      this.held = grown;
    }
    this.held[this.length++] = (this.dtype === "i64" ? toInt64(value) : value) as never;
  }

  /** The elements as they stand in memory for a dtype: whole numbers of 32 bits are cut to it. */
  bytes(dtype: DType): Uint8Array {
    const numbers = this.held.subarray(0, this.length);
    if (dtype === this.dtype) return bytesOf(numbers);
    const narrow = allocate(dtype, numbers.length) as Int32Array;
    narrow.set(numbers as Int32Array);
    return bytesOf(narrow);
  }
}

/** The field by type that holds each dtype. */
function fieldOf(dtype: DType): "f32" | "f64" | "i64" | "i32" {
  return dtype === "f32" || dtype === "f64" || dtype === "i64" ? dtype : "i32";
}

/** Where the bytes of a tensor lie in another file; without a length they are as long as the shape says. */
function externalData(entries: ReadonlyMap<string, string>, byteLength: number, what: string): ExternalData {
  const location = entries.get("location") ?? "";
  const [offset, length] = [entries.get("offset") ?? "0", entries.get("length") ?? String(byteLength)].map((text) =>
    /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN,
  ) as [number, number];
  if (location === "" || Number.isNaN(offset) || length !== byteLength) {
    const where = [...entries].map((entry) => entry.join("=")).join(", ");
    throw new ToklipError("FILE_CORRUPT", `${what}: expected ${byteLength} bytes in another file, got ${where}`);
  }
  return { location, offset, length };
}

/**
 * Reads a TensorProto.
 * @throws FILE_CORRUPT when its elements do not fit its shape, FILE_UNSUPPORTED for its type; Error for broken bytes
 */
export function readTensorProto(bytes: Uint8Array): OnnxInitializer {
  const shape: number[] = [];
  const typed = { f32: new Numbers("f32"), f64: new Numbers("f64"), i64: new Numbers("i64"), i32: new Numbers("i32") };
  const external = new Map<string, string>();
  let name = "";
  let code = 0;
  let raw: Uint8Array | undefined;
  let elsewhere = false;
  readFields(bytes, {
    1: numberField("int64", (dim) => shape.push(dim)),
    2: numberField("int64", (value) => {
      code = value;
    }),
    4: numberField("float", (value) => typed.f32.push(value)),
    5: numberField("int64", (value) => typed.i32.push(value)),
    7: numberField("int64", (value) => typed.i64.push(value)),
    8: textField((value) => {
      name = value;
    }),
    9: bytesField((value) => {
      raw = value;
    }),
    10: numberField("double", (value) => typed.f64.push(value)),
    13: bytesField((entry) => external.set(...readEntry(entry))),
    14: numberField("int64", (value) => {
      elsewhere = value === 1;
    }),
  });
  const what = `tensor ${name}`;
  const dtype = dtypeOfOnnx(code, what);
  const byteLength = sizeOf(shape) * DTYPES[dtype].bytes;
  const fits = shape.length <= MOST_AXES && shape.every((dim) => dim >= 0 && Number.isSafeInteger(dim));
  if (!fits || !Number.isSafeInteger(byteLength)) {
    throw new ToklipError("FILE_CORRUPT", `${what}: (${shape.slice(0, MOST_AXES).join(", ")}) is not a shape`);
  }
  if (elsewhere) return { name, dtype, shape, data: externalData(external, byteLength, what) };
  const data = raw ?? typed[fieldOf(dtype)].bytes(dtype);
  if (data.length !== byteLength) {
    const wanted = `expected ${byteLength} bytes of ${dtype} (${shape.join(", ")})`;
    throw new ToklipError("FILE_CORRUPT", `${what}: ${wanted}, got ${data.length}`);
  }
  return { name, dtype, shape, data };
}

/** Reads a StringStringEntryProto: a key and its value. */
export function readEntry(bytes: Uint8Array): [key: string, value: string] {
  const entry: [string, string] = ["", ""];
  readFields(bytes, {
    1: textField((key) => {
      entry[0] = key;
    }),
    2: textField((value) => {
      entry[1] = value;
    }),
  });
  return entry;
}
