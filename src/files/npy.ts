/**
 * NumPy's .npy files: one array with a short header, versions 1 to 3.
 * Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 * Not here: big-endian, structured and object arrays (which hold pickles), and dtypes the project has no use for.
 */
import { type ByteSink, type ByteSource, bytesOf, type DType, type NDArray, ToklipError } from "../core/index.ts";
import { checkEntry, readTensor, type TensorEntry, tensorBytes } from "./checkpoint.ts";
import { quoted } from "./quoted.ts";
import { checkCounts, denseStrides } from "./tensor-layout.ts";

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
/** The magic, two bytes of version, and the longer of the two forms of the header's length. */
const PREFIX_BYTES = 12;
const MAX_HEADER_BYTES = 2 ** 16;
const ALIGNMENT = 64;

/** NumPy's names of the dtypes. It has none for bfloat16. */
const DESCRIPTIONS = new Map<DType, string>([
  ["f64", "<f8"],
  ["f32", "<f4"],
  ["f16", "<f2"],
  ["i64", "<i8"],
  ["i32", "<i4"],
  ["i16", "<i2"],
  ["u16", "<u2"],
  ["i8", "|i1"],
  ["u8", "|u1"],
  ["bool", "|b1"],
]);
const DTYPE_OF = new Map([...DESCRIPTIONS].map(([dtype, description]) => [description, dtype]));

/** One member of the header, which is a Python dictionary of three. */
const MEMBER = /\s*'(\w+)'\s*:\s*('[^']*'|True|False|\([\d\s,]*\))\s*(,|(?=\}))/y;

/**
 * Reads an array. Arrays in Fortran order come back dense row-major, as all do.
 * @throws FILE_CORRUPT; FILE_UNSUPPORTED for dtypes not listed here; OUT_OF_MEMORY
 */
export async function readNpy(source: ByteSource): Promise<NDArray> {
  return readTensor(await openNpy(source));
}

/**
 * Reads the header of an array.
 * @throws FILE_CORRUPT; FILE_UNSUPPORTED for dtypes not listed here.
 */
export async function openNpy(source: ByteSource): Promise<TensorEntry> {
  const prefix = await source.read(0, Math.min(PREFIX_BYTES, source.byteLength));
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
  const version = prefix[6];
  if (prefix.byteLength < PREFIX_BYTES || !MAGIC.every((byte, i) => prefix[i] === byte)) {
    throw new ToklipError("FILE_CORRUPT", `npy: the file does not begin as an .npy file (${source.name})`);
  }
  if (version === undefined || version < 1 || version > 3) {
    throw new ToklipError("FILE_UNSUPPORTED", `npy: version ${version}, expected 1 to 3 (${source.name})`);
  }
  const [begin, length] = version === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  if (length > MAX_HEADER_BYTES) {
    throw new ToklipError("FILE_CORRUPT", `npy: header length ${length} exceeds ${MAX_HEADER_BYTES} (${source.name})`);
  }
  const header = parseHeader(String.fromCharCode(...(await source.read(begin, length))), source.name);
  return entryOf(header, source, begin + length);
}

function parseHeader(text: string, file: string): Map<string, string> {
  if (/'descr'\s*:\s*\[/.test(text)) {
    throw new ToklipError("FILE_UNSUPPORTED", `npy: structured arrays are not supported (${file})`);
  }
  const members = new Map<string, string>();
  let at = 1;
  for (;;) {
    MEMBER.lastIndex = at;
    const match = MEMBER.exec(text);
    if (match === null) break;
    members.set(match[1]!, match[2]!);
    at = MEMBER.lastIndex;
  }
  const complete = ["descr", "fortran_order", "shape"].every((key) => members.has(key)) && members.size === 3;
  if (!text.startsWith("{") || !complete || !/^\s*\}\s*$/.test(text.slice(at))) {
    throw new ToklipError("FILE_CORRUPT", `npy: malformed header (${file})`);
  }
  return members;
}

function entryOf(header: Map<string, string>, source: ByteSource, offset: number): TensorEntry {
  const description = header.get("descr")!.slice(1, -1);
  const dtype = DTYPE_OF.get(description);
  if (dtype === undefined) {
    const expected = [...DTYPE_OF.keys()].join(" ");
    throw new ToklipError(
      "FILE_UNSUPPORTED",
      `npy: dtype ${quoted(description)}, expected one of ${expected} (${source.name})`,
    );
  }
  const shape = parseShape(header.get("shape")!, source.name);
  const dense: TensorEntry = { name: source.name, dtype, shape, source, offset };
  const bytes = tensorBytes(dense);
  if (offset + bytes !== source.byteLength) {
    throw new ToklipError(
      "FILE_CORRUPT",
      `npy: ${dtype} [${shape}] needs ${offset + bytes} bytes, the file has ${source.byteLength} (${source.name})`,
    );
  }
  checkEntry(dense);
  return header.get("fortran_order") === "True" ? { ...dense, strides: fortranStrides(shape) } : dense;
}

/** A Python tuple of integers. */
function parseShape(text: string, file: string): number[] {
  const parts = text.slice(1, -1).split(",");
  const dims = parts.map((part) => part.trim());
  if (dims.at(-1) === "") dims.pop();
  return checkCounts(
    dims.map((dim) => (/^\d+$/.test(dim) ? Number(dim) : Number.NaN)),
    `npy: shape ${text.slice(0, 100)} (${file})`,
  );
}

function fortranStrides(shape: readonly number[]): number[] {
  return denseStrides([...shape].reverse()).reverse();
}

/**
 * Writes an array, in C order.
 * @throws DTYPE_MISMATCH for bfloat16, which NumPy does not have.
 */
export async function writeNpy(sink: ByteSink, array: NDArray): Promise<void> {
  const description = DESCRIPTIONS.get(array.dtype);
  if (description === undefined) throw new ToklipError("DTYPE_MISMATCH", `npy: NumPy has no ${array.dtype}`);
  const shape = array.shape.length === 1 ? `(${array.shape[0]},)` : `(${array.shape.join(", ")})`;
  const text = `{'descr': '${description}', 'fortran_order': False, 'shape': ${shape}, }`;
  const headerBytes = Math.ceil((10 + text.length + 1) / ALIGNMENT) * ALIGNMENT - 10;
  const bytes = new Uint8Array(10 + headerBytes);
  bytes.set([...MAGIC, 1, 0, headerBytes & 0xff, headerBytes >> 8]);
  bytes.set(new TextEncoder().encode(`${text.padEnd(headerBytes - 1)}\n`), 10);
  await sink.write(bytes);
  await sink.write(bytesOf(array.data));
}
