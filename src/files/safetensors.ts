/**
 * Reading of .safetensors files: eight bytes of header length, a JSON header, the tensors' bytes end to end.
 * Format: https://github.com/huggingface/safetensors#format. Stricter than the format asks: duplicate keys, holes,
 * overlaps and bytes after the last tensor are refused, so that a file has one reading only.
 * Not here: the 8-bit floats, U32, U64 and complex dtypes, which no model of this project uses.
 */
import { type ByteSource, DTYPES, type DType, ToklipError } from "../core/index.ts";
import { type Checkpoint, type TensorEntry, tensorBytes } from "./checkpoint.ts";
import { inertRecord } from "./inert-record.ts";
import { quoted } from "./quoted.ts";
import { type Json, type JsonObject, parseJson } from "./strict-json.ts";
import { checkCounts, elementCount } from "./tensor-layout.ts";
import { decodeUtf8 } from "./utf8.ts";

/** The largest header the format allows, in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;
/** The header's key for the file's own strings. */
export const METADATA_KEY = "__metadata__";
/** The bytes before the header: its length. */
export const LENGTH_BYTES = 8;

/** A header is an object of objects of arrays. */
const HEADER_DEPTH = 3;

/** The format's names of the dtypes. */
export const SAFETENSORS_DTYPES = {
  f64: "F64",
  f32: "F32",
  f16: "F16",
  bf16: "BF16",
  i64: "I64",
  i32: "I32",
  i16: "I16",
  u16: "U16",
  i8: "I8",
  u8: "U8",
  bool: "BOOL",
} as const satisfies Record<DType, string>;

const DTYPE_OF = new Map<Json | undefined, DType>(
  Object.entries(SAFETENSORS_DTYPES).map(([dtype, name]) => [name, dtype as DType]),
);

/**
 * Opens a .safetensors file: reads and checks its header, no tensor. `close()` closes the source; when opening fails
 * the source stays open and stays the caller's.
 * @throws FILE_CORRUPT; FILE_UNSUPPORTED for a dtype not listed here.
 */
export async function openSafetensors(source: ByteSource): Promise<Checkpoint> {
  const headerBytes = await readHeaderLength(source);
  const header = parseHeader(await source.read(LENGTH_BYTES, headerBytes), source.name);
  const dataOffset = LENGTH_BYTES + headerBytes;
  const tensors = new Map<string, TensorEntry>();
  for (const [name, info] of header) {
    if (name !== METADATA_KEY) tensors.set(name, parseEntry(name, info, source, dataOffset));
  }
  checkContiguous([...tensors.values()], source, dataOffset);
  return {
    format: "safetensors",
    name: source.name,
    tensors,
    metadata: parseMetadata(header.get(METADATA_KEY), source.name),
    close: async () => source.close?.(),
  };
}

async function readHeaderLength(source: ByteSource): Promise<number> {
  if (source.byteLength < LENGTH_BYTES) {
    throw new ToklipError(
      "FILE_CORRUPT",
      `safetensors: ${source.byteLength} bytes are too few for a header (${source.name})`,
    );
  }
  const bytes = await source.read(0, LENGTH_BYTES);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getBigUint64(0, true));
  const room = source.byteLength - LENGTH_BYTES;
  if (length > room || length > MAX_HEADER_BYTES) {
    const bound = length > room ? `the file's ${source.byteLength}` : `the allowed ${MAX_HEADER_BYTES}`;
    throw new ToklipError(
      "FILE_CORRUPT",
      `safetensors: header length ${length} exceeds ${bound} bytes (${source.name}, offset 0)`,
    );
  }
  return length;
}

function parseHeader(bytes: Uint8Array, file: string): JsonObject {
  const header = parseJson(
    decodeUtf8(bytes, `safetensors header (${file})`),
    `safetensors header (${file})`,
    HEADER_DEPTH,
  );
  if (bytes[0] !== 0x7b || !(header instanceof Map)) {
    throw new ToklipError("FILE_CORRUPT", `safetensors: the header is not a JSON object (${file}, offset 8)`);
  }
  return header;
}

function parseEntry(name: string, info: Json, source: ByteSource, dataOffset: number): TensorEntry {
  const what = `safetensors: tensor ${quoted(name)}`;
  const where = `(${source.name})`;
  if (!(info instanceof Map)) throw new ToklipError("FILE_CORRUPT", `${what} is not described by an object ${where}`);
  const dtype = DTYPE_OF.get(info.get("dtype"));
  if (dtype === undefined) {
    throw new ToklipError(
      "FILE_UNSUPPORTED",
      `${what} has dtype ${quoted(String(info.get("dtype")))}, expected one of ${[...DTYPE_OF.keys()]} ${where}`,
    );
  }
  const shape = checkCounts(info.get("shape"), `${what}: shape ${where}`);
  const [begin, end, ...rest] = checkCounts(info.get("data_offsets"), `${what}: data_offsets ${where}`);
  const bytes = elementCount(shape, `${what}: shape`) * DTYPES[dtype].bytes;
  if (begin === undefined || end === undefined || rest.length > 0 || end - begin !== bytes) {
    throw new ToklipError(
      "FILE_CORRUPT",
      `${what}: data_offsets ${begin} to ${end} do not hold the ${bytes} bytes of ${dtype} [${shape}] ${where}`,
    );
  }
  return { name, dtype, shape, source, offset: dataOffset + begin };
}

/** Tensors in the order of their bytes must follow one another exactly, from the header to the end of the file. */
function checkContiguous(entries: readonly TensorEntry[], source: ByteSource, dataOffset: number): void {
  const spans = entries.map((entry) => ({ entry, bytes: tensorBytes(entry) }));
  // An empty tensor lies before the one that begins at the same place.
  spans.sort((a, b) => a.entry.offset - b.entry.offset || a.bytes - b.bytes);
  let at = dataOffset;
  for (const { entry, bytes } of spans) {
    if (entry.offset !== at) {
      throw new ToklipError(
        "FILE_CORRUPT",
        `safetensors: tensor ${quoted(entry.name)} begins at offset ${entry.offset}, expected ${at}: ` +
          `${entry.offset > at ? "a hole" : "an overlap"} (${source.name})`,
      );
    }
    at += bytes;
  }
  if (at !== source.byteLength) {
    throw new ToklipError(
      "FILE_CORRUPT",
      `safetensors: tensors end at offset ${at}, but the file has ${source.byteLength} bytes (${source.name})`,
    );
  }
}

function parseMetadata(value: Json | undefined, file: string): Record<string, unknown> {
  if (value === undefined) return inertRecord([]);
  if (!(value instanceof Map) || ![...value.values()].every((text) => typeof text === "string")) {
    throw new ToklipError("FILE_CORRUPT", `safetensors: ${METADATA_KEY} is not an object of strings (${file})`);
  }
  return inertRecord(value);
}
