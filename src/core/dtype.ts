/** Element types, the typed arrays that hold them, and conversion between them. */
import { ToklipError } from "./errors.ts";

interface DTypeRow {
  readonly bytes: number;
  readonly array: new (buffer: ArrayBufferLike, byteOffset: number, length: number) => TypedArray;
  readonly float: boolean;
}

/** One row a dtype. `f16` and `bf16` are held as their bit patterns, `bool` as 0 and 1. */
export const DTYPES = {
  f64: { bytes: 8, array: Float64Array, float: true },
  f32: { bytes: 4, array: Float32Array, float: true },
  f16: { bytes: 2, array: Uint16Array, float: true },
  bf16: { bytes: 2, array: Uint16Array, float: true },
  i64: { bytes: 8, array: BigInt64Array, float: false },
  i32: { bytes: 4, array: Int32Array, float: false },
  i16: { bytes: 2, array: Int16Array, float: false },
  u16: { bytes: 2, array: Uint16Array, float: false },
  i8: { bytes: 1, array: Int8Array, float: false },
  u8: { bytes: 1, array: Uint8Array, float: false },
  bool: { bytes: 1, array: Uint8Array, float: false },
} as const satisfies Record<string, DTypeRow>;

/** The name of an element type. */
export type DType = keyof typeof DTYPES;
/** The typed array that holds a dtype. */
export type DataOf<D extends DType> = InstanceType<(typeof DTYPES)[D]["array"]>;
/** Any typed array that holds elements. */
export type TypedArray =
  | Float64Array
  | Float32Array
  | Uint16Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint8Array;

/** A zeroed typed array of `length` elements. */
export function allocate<D extends DType>(dtype: D, length: number): DataOf<D> {
  const row: DTypeRow = DTYPES[dtype];
  return new row.array(new ArrayBuffer(length * row.bytes), 0, length) as DataOf<D>;
}

/**
 * The elements in little-endian `bytes`, copied only where their offset is not aligned to the element size.
 * @throws FILE_CORRUPT when the length is not a whole number of elements.
 */
export function viewBytes<D extends DType>(dtype: D, bytes: Uint8Array): DataOf<D> {
  const row: DTypeRow = DTYPES[dtype];
  if (bytes.byteLength % row.bytes !== 0) {
    throw new ToklipError("FILE_CORRUPT", `${dtype}: ${bytes.byteLength} bytes are not a whole number of elements`);
  }
  const aligned = bytes.byteOffset % row.bytes === 0 ? bytes : new Uint8Array(bytes); // slice() of a Buffer copies nothing
  return new row.array(aligned.buffer, aligned.byteOffset, aligned.byteLength / row.bytes) as DataOf<D>;
}

/** The bytes behind a typed array (a view, not a copy). */
export function bytesOf(data: TypedArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);

/** The value of a 16-bit IEEE half float. */
export function f16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The nearest half float, ties to even, overflow to infinity. */
export function numberToF16(value: number): number {
  scratchFloat[0] = value;
  const bits = scratchBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds past 65504
  if (magnitude < 0x38800000) {
    // Subnormal half: adding 0.5 lines the fraction up at bit 0, and the hardware rounds to even.
    scratchBits[0] = magnitude;
    scratchFloat[0] = scratchFloat[0]! + 0.5;
    return sign | (scratchBits[0]! - 0x3f000000);
  }
  const odd = (magnitude >>> 13) & 1;
  return sign | ((magnitude - 0x38000000 + 0xfff + odd) >>> 13);
}

/** The value of a bfloat16. */
export function bf16ToNumber(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratchFloat[0]!;
}

/** The nearest bfloat16, ties to even. */
export function numberToBf16(value: number): number {
  scratchFloat[0] = value;
  const bits = scratchBits[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

let halfTable: Float32Array | undefined;

/** All of `data` as f32; the same array when it is f32 already. */
export function toF32(dtype: DType, data: TypedArray): DataOf<"f32"> {
  if (dtype === "f32") return data as DataOf<"f32">;
  const out = new Float32Array(data.length);
  if (dtype === "f16") {
    halfTable ??= Float32Array.from({ length: 65536 }, (_, bits) => f16ToNumber(bits));
    for (let i = 0; i < out.length; i++) out[i] = halfTable[data[i] as number]!;
  } else if (dtype === "bf16") {
    const bits = new Uint32Array(out.buffer);
    for (let i = 0; i < out.length; i++) bits[i] = (data[i] as number) << 16;
  } else {
    for (let i = 0; i < out.length; i++) out[i] = Number(data[i]);
  }
  return out;
}

/** f32 values as another dtype: nearest for floats, truncated for integers. */
export function fromF32<D extends DType>(dtype: D, data: Float32Array): DataOf<D> {
  if (dtype === "f32") return data as DataOf<D>;
  const out = allocate(dtype, data.length) as TypedArray;
  const convert: (value: number) => number | bigint =
    dtype === "f16"
      ? numberToF16
      : dtype === "bf16"
        ? numberToBf16
        : dtype === "i64"
          ? (value) => BigInt(Math.trunc(value))
          : (value) => value;
  for (let i = 0; i < data.length; i++) out[i] = convert(data[i]!) as never;
  return out as DataOf<D>;
}
