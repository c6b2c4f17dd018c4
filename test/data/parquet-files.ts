/** Parquet files for tests, written by hyparquet-writer. */
import { gzipSync } from "node:zlib";
import type { CompressionCodec, Encoding, SchemaElement } from "hyparquet";
import { ByteWriter, parquetWrite } from "hyparquet-writer";

/** A row of a data set of pictures. */
export interface PictureRow {
  readonly image: { readonly bytes: Uint8Array | null; readonly path: string | null } | null;
  readonly caption: string | null;
  readonly label: number;
}

/** The column that Hugging Face's `datasets` makes of pictures. */
const IMAGE_SCHEMA: SchemaElement[] = [
  { name: "image", num_children: 2, repetition_type: "OPTIONAL" },
  { name: "bytes", type: "BYTE_ARRAY", repetition_type: "OPTIONAL" },
  { name: "path", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
];

const LABEL_NOTE = JSON.stringify({
  info: { features: { label: { names: ["cat", "dog", "axolotl"], _type: "ClassLabel" } } },
});

/** How a file is written. */
export interface WriteOptions {
  readonly codec?: CompressionCodec;
  readonly rowGroupSize?: number;
  readonly pageSize?: number;
}

/** A file as Hugging Face has them. */
export function hubFile(rows: readonly PictureRow[], options: WriteOptions = {}): Uint8Array {
  return write(
    [
      { name: "image", data: rows.map(({ image }) => image) },
      { name: "caption", data: rows.map(({ caption }) => caption) },
      { name: "label", data: BigInt64Array.from(rows, ({ label }) => BigInt(label)) },
    ],
    [
      { name: "root", num_children: 3 },
      ...IMAGE_SCHEMA,
      { name: "caption", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
      { name: "label", type: "INT64", repetition_type: "REQUIRED" },
    ],
    options,
  );
}

/** A file with a column of paths and one of lists of captions. */
export function listFile(
  paths: readonly string[],
  captions: readonly (readonly (string | null)[] | null)[],
): Uint8Array {
  return write(
    [
      { name: "path", data: [...paths] },
      { name: "captions", data: [...captions] },
    ],
    [
      { name: "root", num_children: 2 },
      { name: "path", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "REQUIRED" },
      { name: "captions", num_children: 1, repetition_type: "OPTIONAL", converted_type: "LIST" },
      { name: "list", num_children: 1, repetition_type: "REPEATED" },
      { name: "element", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
    ],
    { rowGroupSize: 3 },
  );
}

/** A file of lists of lists of ids, and of lists of captions. */
export function idsFile(rows: readonly { readonly ids: number[][]; readonly captions: string[] }[]): Uint8Array {
  return write(
    [
      { name: "ids", data: rows.map(({ ids }) => ids) },
      { name: "captions", data: rows.map(({ captions }) => captions) },
    ],
    [
      { name: "root", num_children: 2 },
      { name: "ids", num_children: 1, repetition_type: "OPTIONAL", converted_type: "LIST" },
      { name: "list", num_children: 1, repetition_type: "REPEATED" },
      { name: "element", num_children: 1, repetition_type: "OPTIONAL", converted_type: "LIST" },
      { name: "list", num_children: 1, repetition_type: "REPEATED" },
      { name: "element", type: "INT32", repetition_type: "OPTIONAL" },
      { name: "captions", num_children: 1, repetition_type: "OPTIONAL", converted_type: "LIST" },
      { name: "list", num_children: 1, repetition_type: "REPEATED" },
      { name: "element", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
    ],
    { rowGroupSize: 2 },
  );
}

/** A file of texts in a given encoding, and of numbers in another. */
export function encodedFile(
  texts: readonly string[],
  encoding: Encoding,
  numbers: readonly number[],
  numberEncoding: Encoding,
) {
  return write(
    [
      { name: "path", data: [...texts], encoding },
      { name: "label", data: Int32Array.from(numbers), encoding: numberEncoding },
    ],
    [
      { name: "root", num_children: 2 },
      { name: "path", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "REQUIRED" },
      { name: "label", type: "INT32", repetition_type: "REQUIRED" },
    ],
    {},
  );
}

function write(
  columnData: { name: string; data: unknown; encoding?: Encoding }[],
  schema: SchemaElement[],
  { codec = "SNAPPY", rowGroupSize = 1000, pageSize = 2 ** 20 }: WriteOptions,
): Uint8Array {
  const writer = new ByteWriter();
  parquetWrite({
    writer,
    columnData: columnData as Parameters<typeof parquetWrite>[0]["columnData"],
    schema,
    codec,
    rowGroupSize,
    pageSize,
    compressors: { GZIP: (bytes) => gzipSync(bytes), ZSTD: zstdStored, LZ4_RAW: lz4Stored },
    kvMetadata: [{ key: "huggingface", value: LABEL_NOTE }],
  });
  return new Uint8Array(writer.getBuffer());
}

/** A Zstandard frame of raw blocks (RFC 8878). */
function zstdStored(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0])];
  const size = Buffer.alloc(4);
  size.writeUInt32LE(bytes.length);
  parts.push(size);
  for (let at = 0; at === 0 || at < bytes.length; at += 2 ** 17) {
    const block = bytes.subarray(at, at + 2 ** 17);
    const head = Buffer.alloc(4);
    head.writeUInt32LE(block.length * 8 + (at + 2 ** 17 >= bytes.length ? 1 : 0));
    parts.push(head.subarray(0, 3), block);
  }
  return Buffer.concat(parts);
}

/** An LZ4 block of literals alone. */
function lz4Stored(bytes: Uint8Array): Uint8Array {
  if (bytes.length < 15) return Buffer.concat([Buffer.of(bytes.length << 4), bytes]);
  const rest = bytes.length - 15;
  return Buffer.concat([Buffer.of(0xf0), Buffer.alloc(Math.floor(rest / 255), 255), Buffer.of(rest % 255), bytes]);
}
