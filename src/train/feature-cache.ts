/**
 * A cache of what TokLIP's frozen parts make: ids and teacher features by picture, text features by text ids. With it a
 * picture is read, decoded and encoded once in all runs that share the cache, and a run takes the very bits that it would
 * take without it.
 *
 * Two tables in folders named after what their rows depend on (`frozenIdentities`), so that other weights or settings
 * find other, empty tables. Which features a loader's batch has already is said in the batch; see `data/recall.ts`.
 *
 * Dim letters: B batch, N image tokens, D width, h w grid.
 */
import { bytesOf, concatRows, DTYPES, type DType, type NDArray, rows, sizeOf, viewBytes } from "../core/index.ts";
import type { JsonValue } from "../data/dataset.ts";
import type { PictureRecall, RecalledPicture } from "../data/recall.ts";
import { KEY_BYTES, RowTable } from "../data/row-table.ts";
import { gridOf, type ToklipConfig } from "../models/index.ts";
import type { ImageTextBatch } from "./image-text-batch.ts";
import type { RunStorage } from "./run-storage.ts";
import type { FrozenEncoders, PictureFeatures, WantedFeatures } from "./toklip-objective.ts";

/** What a cache is opened with. */
export interface FeatureCacheOptions {
  readonly storage: RunStorage;
  /** A hash that two different things will not share; its first 16 bytes are used. */
  readonly digest: (bytes: Uint8Array) => Uint8Array;
  /** Digits and lower-case letters that no other process that has the cache open uses. */
  readonly session: string;
  readonly model: ToklipConfig;
  readonly wanted: WantedFeatures;
  /** What the rows depend on, see `frozenIdentities`. */
  readonly identities: { readonly pictures: JsonValue; readonly texts: JsonValue };
  /** Is told of what goes wrong without ending the run. */
  readonly warn: (message: string) => void;
}

/** One array of a row. */
interface Field<Name extends string> {
  readonly name: Name;
  readonly dtype: "i32" | "f32";
  readonly shape: readonly number[];
}

type Arrays<Name extends string> = { readonly [N in Name]?: NDArray };

function pictureFields({ trunk, embedDim }: ToklipConfig, wanted: WantedFeatures): Field<keyof PictureFeatures>[] {
  const { side, tokens } = gridOf(trunk);
  return [
    { name: "ids", dtype: "i32", shape: [side, side] },
    ...(wanted.teacher ? [{ name: "teacherFeatures", dtype: "f32", shape: [embedDim] } as const] : []),
    ...(wanted.teacherTokens ? [{ name: "teacherTokens", dtype: "f32", shape: [tokens, trunk.width] } as const] : []),
  ];
}

/** The cache. */
export class FeatureCache {
  private readonly digest: FeatureCacheOptions["digest"];
  private readonly pictures: CachedRows<keyof PictureFeatures>;
  private readonly texts: CachedRows<"textFeatures">;

  private constructor({ digest, model, wanted }: FeatureCacheOptions, pictures: RowTable, texts: RowTable) {
    this.digest = (bytes) => digest(bytes).subarray(0, KEY_BYTES);
    this.pictures = new CachedRows(pictures, pictureFields(model, wanted));
    this.texts = new CachedRows(texts, [{ name: "textFeatures", dtype: "f32", shape: [model.embedDim] }]);
  }

  /**
   * Opens the cache in a folder, or begins one there. Warns when the folder has tables of other weights or settings only.
   * @throws FILE_READ_FAILED
   */
  static async open(options: FeatureCacheOptions): Promise<FeatureCache> {
    const { model, wanted } = options;
    const pictures = await openTable(options, "pictures", pictureFields(model, wanted));
    return new FeatureCache(
      options,
      pictures,
      await openTable(options, "texts", [{ dtype: "f32", shape: [model.embedDim] }]),
    );
  }

  /** How many rows of each kind it has. */
  get size(): { readonly pictures: number; readonly texts: number } {
    return { pictures: this.pictures.table.size, texts: this.texts.table.size };
  }

  /** What a loader asks for the pictures of a scope. */
  recall(scope: string): PictureRecall {
    return { scope, find: (name) => this.pictures.table.get(this.keyOf(name)) };
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
    await this.pictures.table.close();
    await this.texts.table.close();
  }

  private keyOf(name: string): Uint8Array {
    return this.digest(new TextEncoder().encode(name));
  }
}

async function openTable(
  { storage, session, digest, identities, warn }: FeatureCacheOptions,
  kind: keyof FeatureCacheOptions["identities"],
  fields: readonly Omit<Field<string>, "name">[],
): Promise<RowTable> {
  const about = JSON.stringify(identities[kind], undefined, 2);
  const folder = `${kind}-${hex(digest(new TextEncoder().encode(about)).subarray(0, 8))}`;
  const present = (await storage.list("")).filter((name) => name.startsWith(`${kind}-`));
  if (present.length > 0 && !present.includes(folder)) {
    const others = `${storage.name}/${present[0]}${present.length > 1 ? ` and ${present.length - 1} more` : ""}`;
    warn(`cache: what is there of ${kind} was made by other weights or settings (${others}); a new one is begun`);
  }
  const rowBytes = fields.reduce((sum, { dtype, shape }) => sum + sizeOf(shape) * DTYPES[dtype].bytes, 0);
  return RowTable.open({ storage, folder, rowBytes, session, about, warn });
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A table whose rows are some arrays one after another. */
class CachedRows<Name extends string> {
  readonly table: RowTable;
  private readonly fields: readonly Field<Name>[];

  constructor(table: RowTable, fields: readonly Field<Name>[]) {
    this.table = table;
    this.fields = fields;
  }

  /** The arrays of B samples; those that neither `known` nor the table has are made, each once, and kept. */
  async take(
    keys: readonly Uint8Array[],
    known: readonly (Uint8Array | undefined)[],
    make: (missing: readonly number[]) => Promise<Arrays<Name>>,
  ): Promise<Arrays<Name>> {
    const held = await Promise.all(keys.map(async (key, i) => known[i] ?? this.table.get(key)));
    const first = new Map(keys.map((key, i) => [hex(key), i] as const).reverse());
    const missing = [...first.values()].filter((i) => held[i] === undefined).sort((a, b) => a - b);
    if (missing.length > 0) {
      const made = await make(missing);
      const added = missing.map((i, j) => ({ key: keys[i]!, row: this.pack(made, j) }));
      for (const [j, i] of missing.entries()) held[i] = added[j]!.row;
      await this.table.append(added);
    }
    return this.unpack(keys.map((key, i) => held[i] ?? held[first.get(hex(key))!]!));
  }

  private pack(arrays: Arrays<Name>, row: number): Uint8Array {
    const parts = this.fields.map(({ name }) => bytesOf(rows(arrays[name]!, row, row + 1).data));
    return joined(parts);
  }

  private unpack(packed: readonly Uint8Array[]): Arrays<Name> {
    let at = 0;
    const arrays: { [N in Name]?: NDArray } = {};
    for (const { name, dtype, shape } of this.fields) {
      const end = at + sizeOf(shape) * DTYPES[dtype].bytes;
      const bytes = joined(packed.map((row) => row.subarray(at, end)));
      arrays[name] = { dtype, shape: [packed.length, ...shape], data: viewBytes(dtype as DType, bytes) } as NDArray;
      at = end;
    }
    return arrays;
  }
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
