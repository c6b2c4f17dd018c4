/**
 * A cache of what TokLIP's frozen parts make: ids and teacher features by picture, text features by text ids. With it a
 * picture is read, decoded and encoded once in all runs that share the cache, and a run takes the very bits that it would
 * take without it.
 *
 * A table for each result, in a folder named after what its rows depend on (`frozenIdentities`), so that other weights or
 * settings find other, empty tables, and a run that wants fewer results uses the rows of one that wants more. Which
 * features a loader's batch has already is said in the batch; see `data/recall.ts`.
 *
 * Dim letters: B batch, N image tokens, D width, h w grid.
 */
import { bytesOf, concatRows, DTYPES, type DType, type NDArray, rows, sizeOf, viewBytes } from "../core/index.ts";
import type { PictureRecall, RecalledPicture } from "../data/recall.ts";
import { KEY_BYTES, RowTable } from "../data/row-table.ts";
import { gridOf, type ToklipConfig } from "../models/index.ts";
import type { FrozenIdentities, FrozenResult } from "./frozen-identity.ts";
import type { ImageTextBatch } from "./image-text-batch.ts";
import type { RunStorage } from "./run-storage.ts";
import type { FrozenEncoders, PictureFeatures } from "./toklip-objective.ts";

/** The length of the hash in the name of a table's folder. */
const HASH_BYTES = 8;

/** What a cache is opened with. */
export interface FeatureCacheOptions {
  readonly storage: RunStorage;
  /** A hash that two different things will not share; its first 16 bytes are used. */
  readonly digest: (bytes: Uint8Array) => Uint8Array;
  /** Digits and lower-case letters that no other process that has the cache open uses. */
  readonly session: string;
  readonly model: ToklipConfig;
  /** What the rows of each result depend on, see `frozenIdentities`: the results that are kept. */
  readonly identities: FrozenIdentities;
  /** Is told of what goes wrong without ending the run. */
  readonly warn: (message: string) => void;
}

/** One array of a row, and the table that has it. */
interface Field {
  readonly name: FrozenResult;
  readonly dtype: "i32" | "f32";
  readonly shape: readonly number[];
  readonly rowBytes: number;
  readonly table: RowTable;
}

type Arrays = { readonly [R in FrozenResult]?: NDArray };

/** Each result: what its tables' folders are called, and the array of one sample. */
const RESULTS: Readonly<
  Record<
    FrozenResult,
    { readonly folder: string; readonly array: (model: ToklipConfig) => Pick<Field, "dtype" | "shape"> }
  >
> = {
  ids: {
    folder: "ids",
    array: ({ trunk }) => ({ dtype: "i32", shape: [gridOf(trunk).side, gridOf(trunk).side] }),
  },
  teacherFeatures: { folder: "teacher", array: ({ embedDim }) => ({ dtype: "f32", shape: [embedDim] }) },
  teacherTokens: {
    folder: "teacher-tokens",
    array: ({ trunk }) => ({ dtype: "f32", shape: [gridOf(trunk).tokens, trunk.width] }),
  },
  textFeatures: { folder: "texts", array: ({ embedDim }) => ({ dtype: "f32", shape: [embedDim] }) },
};

/** The cache. */
export class FeatureCache {
  private readonly digest: FeatureCacheOptions["digest"];
  private readonly fields: readonly Field[];
  private readonly pictures: CachedRows;
  private readonly texts: CachedRows;

  private constructor({ digest }: FeatureCacheOptions, fields: readonly Field[]) {
    this.digest = (bytes) => digest(bytes).subarray(0, KEY_BYTES);
    this.fields = fields;
    this.pictures = new CachedRows(fields.filter(({ name }) => name !== "textFeatures"));
    this.texts = new CachedRows(fields.filter(({ name }) => name === "textFeatures"));
  }

  /**
   * Opens the cache in a folder, or begins one there. Warns when the folder has tables of other weights or settings only.
   * @throws FILE_READ_FAILED
   */
  static async open(options: FeatureCacheOptions): Promise<FeatureCache> {
    const fields: Field[] = [];
    for (const name of Object.keys(options.identities) as FrozenResult[]) fields.push(await openField(options, name));
    return new FeatureCache(options, fields);
  }

  /** How many rows it has of each result. */
  get size(): { readonly [R in FrozenResult]?: number } {
    return Object.fromEntries(this.fields.map(({ name, table }) => [name, table.size]));
  }

  /** What a loader asks for the pictures of a scope. */
  recall(scope: string): PictureRecall {
    return { scope, find: (name) => this.pictures.get(this.keyOf(name)) };
  }

  /** The encoders, asked only for what the cache does not have. Batches without `recalled` pass by the cache. */
  over(encoders: FrozenEncoders): FrozenEncoders {
    return {
      pictures: async (batch, wanted) => {
        if (batch.recalled === undefined) return encoders.pictures(batch, wanted);
        const keys = batch.recalled.map(({ name }) => this.keyOf(name));
        const make = (missing: readonly number[]) => encoders.pictures(partOf(batch, missing), wanted);
        return (await this.pictures.take(keys, knownOf(batch.recalled), make)) as unknown as PictureFeatures;
      },
      texts: async (textIds) => {
        const count = textIds.shape[0]!;
        const keys = Array.from({ length: count }, (_, i) => this.digest(bytesOf(rows(textIds, i, i + 1).data)));
        const make = async (missing: readonly number[]) => ({
          textFeatures: await encoders.texts(pick(textIds, missing)),
        });
        return (await this.texts.take(keys, [], make)).textFeatures as NDArray<"f32">;
      },
      dispose: () => encoders.dispose(),
    };
  }

  /** Closes its files. Lookups under way, and later ones, find nothing. */
  async close(): Promise<void> {
    for (const { table } of this.fields) await table.close();
  }

  private keyOf(name: string): Uint8Array {
    return this.digest(new TextEncoder().encode(name));
  }
}

async function openField(options: FeatureCacheOptions, name: FrozenResult): Promise<Field> {
  const { storage, session, digest, identities, model, warn } = options;
  const { folder: kind, array } = RESULTS[name];
  const about = JSON.stringify(identities[name], undefined, 2);
  const folder = `${kind}-${hex(digest(new TextEncoder().encode(about)).subarray(0, HASH_BYTES))}`;
  const present = (await storage.list("")).filter((entry) => kindOf(entry) === kind);
  if (present.length > 0 && !present.includes(folder)) {
    const others = `${storage.name}/${present[0]}${present.length > 1 ? ` and ${present.length - 1} more` : ""}`;
    warn(`cache: what is there of ${kind} was made by other weights or settings (${others}); a new one is begun`);
  }
  const { dtype, shape } = array(model);
  const rowBytes = sizeOf(shape) * DTYPES[dtype].bytes;
  const table = await RowTable.open({ storage, folder, rowBytes, session, about, warn });
  return { name, dtype, shape, rowBytes, table };
}

/** The kind of a table's folder: its name without the hash. */
function kindOf(folder: string): string {
  return folder.slice(0, -2 * HASH_BYTES - 1);
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Rows of some arrays, one after another, each in a table of its own. */
class CachedRows {
  private readonly fields: readonly Field[];

  constructor(fields: readonly Field[]) {
    this.fields = fields;
  }

  /** The row of a key; undefined unless all of it is there. */
  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    const parts = await Promise.all(this.fields.map(({ table }) => table.get(key)));
    const held = parts.filter((part) => part !== undefined);
    return held.length === parts.length ? joined(held) : undefined;
  }

  /** The arrays of B samples; those that neither `known` nor the tables have are made, each once, and kept. */
  async take(
    keys: readonly Uint8Array[],
    known: readonly (Uint8Array | undefined)[],
    make: (missing: readonly number[]) => Promise<Arrays>,
  ): Promise<Arrays> {
    const held = await Promise.all(keys.map(async (key, i) => known[i] ?? this.get(key)));
    const first = new Map(keys.map((key, i) => [hex(key), i] as const).reverse());
    const missing = [...first.values()].filter((i) => held[i] === undefined).sort((a, b) => a - b);
    if (missing.length > 0) {
      const made = await make(missing);
      for (const [j, i] of missing.entries()) held[i] = joined(this.fields.map(({ name }) => rowOf(made[name]!, j)));
      for (const { name, table } of this.fields) {
        await table.append(missing.map((i, j) => ({ key: keys[i]!, row: rowOf(made[name]!, j) })));
      }
    }
    return this.unpack(keys.map((key, i) => held[i] ?? held[first.get(hex(key))!]!));
  }

  private unpack(packed: readonly Uint8Array[]): Arrays {
    let at = 0;
    const arrays: { [R in FrozenResult]?: NDArray } = {};
    for (const { name, dtype, shape, rowBytes } of this.fields) {
      const [begin, end] = [at, at + rowBytes];
      const bytes = joined(packed.map((row) => row.subarray(begin, end)));
      arrays[name] = { dtype, shape: [packed.length, ...shape], data: viewBytes(dtype as DType, bytes) } as NDArray;
      at = end;
    }
    return arrays;
  }
}

/** The bytes of one row of an array. */
function rowOf(array: NDArray, row: number): Uint8Array {
  return bytesOf(rows(array, row, row + 1).data);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}

function knownOf(recalled: readonly RecalledPicture[]): (Uint8Array | undefined)[] {
  return recalled.map(({ known }) => known);
}

/** The pictures of a batch at some places. */
function partOf(batch: ImageTextBatch, places: readonly number[]): ImageTextBatch {
  return places.length === batch.keys.length ? batch : { ...batch, pixels: pick(batch.pixels, places) };
}

function pick<D extends DType>(array: NDArray<D>, places: readonly number[]): NDArray<D> {
  return concatRows(places.map((i) => rows(array, i, i + 1)));
}
