/** Weights that an ONNX model keeps in files beside it: reading them into memory. */
import { type ByteSource, ToklipError } from "../core/index.ts";
import type { ExternalData, OnnxInitializer, OnnxModel } from "./model.ts";

/** @throws FILE_CORRUPT unless a location names a file in the model's own folder or below it. */
function checkLocation(location: string): void {
  const parts = location.split(/[/\\]/);
  if (parts.includes("..") || parts.includes("") || /[:\u0000]/.test(location)) {
    throw new ToklipError("FILE_CORRUPT", `weights at ${location}: expected a path within the model's folder`);
  }
}

type Stored = OnnxInitializer & { readonly data: ExternalData };

/** The bytes of all initializers of one file. Parts that several of them name are read once. */
async function readParts(source: ByteSource, stored: readonly Stored[]): Promise<ReadonlyMap<Stored, Uint8Array>> {
  const keyOf = ({ data: { offset, length } }: Stored) => `${offset}+${length}`;
  const distinct = new Map(stored.map((item) => [keyOf(item), item.data]));
  const total = [...distinct.values()].reduce((sum, { length }) => sum + length, 0);
  if (total > source.byteLength) {
    const found = `${source.name} holds ${source.byteLength}`;
    throw new ToklipError("FILE_CORRUPT", `weights of ${total} bytes are expected, ${found}`);
  }
  const parts = new Map<string, Uint8Array>();
  for (const [key, { offset, length }] of distinct) parts.set(key, await source.read(offset, length));
  return new Map(stored.map((item) => [item, parts.get(keyOf(item))!]));
}

/**
 * A model with all of its weights in memory. One whose weights are there already is given back as it is.
 * @param open opens a file by its path relative to the model's folder; it is closed afterwards
 * @throws FILE_CORRUPT when a file lies outside the model's folder or is too short; what `open` throws.
 */
export async function loadExternalData(
  model: OnnxModel,
  open: (location: string) => Promise<ByteSource>,
): Promise<OnnxModel> {
  const byLocation = new Map<string, Stored[]>();
  for (const item of model.initializers) {
    if (item.data instanceof Uint8Array) continue;
    const { location } = item.data;
    const stored = byLocation.get(location) ?? [];
    stored.push(item as Stored);
    byLocation.set(location, stored);
  }
  if (byLocation.size === 0) return model;
  const loaded = new Map<OnnxInitializer, Uint8Array>();
  for (const [location, stored] of byLocation) {
    checkLocation(location);
    const source = await open(location);
    try {
      for (const [item, bytes] of await readParts(source, stored)) loaded.set(item, bytes);
    } finally {
      await source.close?.();
    }
  }
  return {
    ...model,
    initializers: model.initializers.map((item) => ({ ...item, data: loaded.get(item) ?? item.data })),
  };
}
