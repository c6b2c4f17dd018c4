/**
 * Writing of .safetensors files, tensor by tensor as their bytes come: memory is bounded by one piece of one tensor.
 * The header is padded with spaces so that the tensors begin at a multiple of 64 bytes, and tensors with wider elements
 * come first, so that each begins at a multiple of its element size and can be used where it lies.
 */
import { type ByteSink, DTYPES, type DType, ToklipError } from "../core/index.ts";
import { tensorBytes } from "./checkpoint.ts";
import { inertRecord } from "./inert-record.ts";
import { quoted } from "./quoted.ts";
import { LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_KEY, SAFETENSORS_DTYPES } from "./safetensors.ts";
import { checkCounts } from "./tensor-layout.ts";

/** A tensor to be written. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Gives the little-endian, dense row-major bytes of the tensor called `name`, at once or in pieces. */
export type TensorData = (name: string) => Promise<Uint8Array> | AsyncIterable<Uint8Array>;

const ALIGNMENT = 64;

/**
 * Writes a .safetensors file.
 * @param tensors their order is kept among tensors of the same element size.
 * @throws ARGUMENT_INVALID for a name that comes twice, an invalid shape, a header beyond 100 MB, or `data` that gives
 *   another number of bytes than the tensor has.
 */
export async function writeSafetensors(
  sink: ByteSink,
  tensors: Iterable<TensorSpec>,
  data: TensorData,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const ordered = [...tensors].sort((a, b) => DTYPES[b.dtype].bytes - DTYPES[a.dtype].bytes);
  await sink.write(encodeHeader(ordered, metadata));
  for (const tensor of ordered) await writeTensor(sink, tensor, data);
}

function encodeHeader(tensors: readonly TensorSpec[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set(METADATA_KEY, inertRecord(Object.entries(metadata)));
  let at = 0;
  for (const tensor of tensors) {
    if (tensor.name === METADATA_KEY || header.has(tensor.name)) {
      throw new ToklipError("ARGUMENT_INVALID", `safetensors: the name ${quoted(tensor.name)} is taken`);
    }
    const end = at + specBytes(tensor);
    const dtype = SAFETENSORS_DTYPES[tensor.dtype];
    header.set(tensor.name, { dtype, shape: tensor.shape, data_offsets: [at, end] });
    at = end;
  }
  return padHeader(new TextEncoder().encode(JSON.stringify(inertRecord(header))));
}

/**
 * The size of a tensor in bytes.
 * @throws ARGUMENT_INVALID for a shape that is not whole numbers.
 */
export function specBytes(tensor: TensorSpec): number {
  try {
    checkCounts(tensor.shape, "shape");
    return tensorBytes(tensor);
  } catch (cause) {
    throw new ToklipError(
      "ARGUMENT_INVALID",
      `safetensors: tensor ${quoted(tensor.name)} cannot have shape [${tensor.shape}]`,
      {
        cause,
      },
    );
  }
}

function padHeader(json: Uint8Array): Uint8Array {
  const total = Math.ceil((LENGTH_BYTES + json.byteLength) / ALIGNMENT) * ALIGNMENT;
  if (total - LENGTH_BYTES > MAX_HEADER_BYTES) {
    throw new ToklipError("ARGUMENT_INVALID", `safetensors: a header of ${json.byteLength} bytes is beyond 100 MB`);
  }
  const bytes = new Uint8Array(total).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(total - LENGTH_BYTES), true);
  bytes.set(json, LENGTH_BYTES);
  return bytes;
}

async function writeTensor(sink: ByteSink, tensor: TensorSpec, data: TensorData): Promise<void> {
  const expected = specBytes(tensor);
  const given = data(tensor.name);
  let written = 0;
  for await (const piece of Symbol.asyncIterator in given ? given : [given]) {
    written += piece.byteLength;
    if (written > expected) break;
    await sink.write(piece);
  }
  if (written !== expected) {
    throw new ToklipError(
      "ARGUMENT_INVALID",
      `safetensors: tensor ${quoted(tensor.name)} needs ${expected} bytes, ${written > expected ? "more" : `only ${written}`} came`,
    );
  }
}
