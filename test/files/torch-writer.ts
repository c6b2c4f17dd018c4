/** Writes PyTorch zip checkpoints. */
import { callOf, encode, globalOf, joinBytes, pickle, Raw, Tuple } from "./pickle-writer.ts";
import { type ZipPart, zip } from "./zip-writer.ts";

export interface FakeTensor {
  readonly key: string;
  readonly count: unknown;
  readonly offset?: unknown;
  readonly shape: unknown[];
  readonly strides: unknown[];
  /** Default `FloatStorage`. */
  readonly storage?: string;
}

/** The opcodes of a storage's persistent id. */
export function storageOf(key: string, type: string, count: unknown): Raw {
  return new Raw(encode(new Tuple("storage", globalOf("torch", type), key, "cpu", count)), "Q");
}

/** The opcodes of a tensor, as torch.save writes them. */
export function tensorOf({ key, count, offset = 0, shape, strides, storage = "FloatStorage" }: FakeTensor): Raw {
  const args = [storageOf(key, storage, count), offset, new Tuple(...shape), new Tuple(...strides), false];
  return callOf(globalOf("torch._utils", "_rebuild_tensor_v2"), [
    ...args,
    callOf(globalOf("collections", "OrderedDict"), []),
  ]);
}

/** The entries of a checkpoint of this value and these storages. */
export function torchParts(root: unknown, storages: Record<string, Uint8Array>): ZipPart[] {
  return [
    { name: "archive/data.pkl", bytes: pickle(root), padding: 3 },
    { name: "archive/byteorder", bytes: joinBytes("little") },
    ...Object.entries(storages).map(([key, bytes]) => ({ name: `archive/data/${key}`, bytes, padding: 61 })),
    { name: "archive/version", bytes: joinBytes("3\n") },
  ];
}

export function torchFile(root: unknown, storages: Record<string, Uint8Array>): Uint8Array {
  return zip(torchParts(root, storages));
}

export function f32Bytes(...values: number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}
