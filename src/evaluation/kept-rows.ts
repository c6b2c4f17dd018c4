/**
 * Features that outlive a run: in a table on disk for each thing that they depend on, so that another model or another crop
 * finds another, empty table. See `data/row-table.ts` for what a killed run leaves.
 */
import {
  bytesOf,
  concatRows,
  type LongCallOptions,
  type NDArray,
  ndarray,
  rows,
  throwIfAborted,
  viewBytes,
} from "../core/index.ts";
import { type CaptionTokenizer, type JsonValue, KEY_BYTES, RowTable, type RowTableOptions } from "../data/index.ts";

/** Where features are kept, and what they depend on. */
export interface KeptRowsOptions extends Pick<RowTableOptions, "storage" | "session" | "warn"> {
  /** A hash that two different things will not share; its first 16 bytes are used. */
  readonly digest: (bytes: Uint8Array) => Uint8Array;
  /** Begins the name of the table's folder: `"pictures"`. */
  readonly kind: string;
  /** Whatever changes a feature: model, weights, engine, crop. */
  readonly identity: JsonValue;
  /** Floats a row. */
  readonly width: number;
}

/** The rows of one identity, by name. */
export class KeptRows {
  private readonly table: RowTable;
  private readonly digest: KeptRowsOptions["digest"];

  private constructor(table: RowTable, digest: KeptRowsOptions["digest"]) {
    this.table = table;
    this.digest = digest;
  }

  /** Opens the table of an identity, or begins it. @throws FILE_READ_FAILED */
  static async open({ digest, kind, identity, width, ...options }: KeptRowsOptions): Promise<KeptRows> {
    const about = JSON.stringify(identity, undefined, 2);
    const hash = digest(new TextEncoder().encode(about)).subarray(0, 8);
    const folder = `${kind}-${Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    return new KeptRows(await RowTable.open({ ...options, folder, rowBytes: 4 * width, about }), digest);
  }

  /** The bytes of a row; undefined where there is none that is whole. */
  find(name: string | Uint8Array): Promise<Uint8Array | undefined> {
    return this.table.get(this.keyOf(name));
  }

  /** Adds rows. What cannot be written is told once, and the run goes on. */
  async add(added: readonly { readonly name: string | Uint8Array; readonly features: Float32Array }[]): Promise<void> {
    await this.table.append(added.map(({ name, features }) => ({ key: this.keyOf(name), row: bytesOf(features) })));
  }

  /** Closes its files. */
  close(): Promise<void> {
    return this.table.close();
  }

  private keyOf(name: string | Uint8Array): Uint8Array {
    return this.digest(typeof name === "string" ? new TextEncoder().encode(name) : name).subarray(0, KEY_BYTES);
  }
}

/** What texts are encoded with. */
export interface TextEncoding {
  /** Loads the vocabulary when it is first needed. */
  readonly tokenizer: () => Promise<CaptionTokenizer>;
  readonly contextLength: number;
  /** Text ids i32 (B, T) -> features f32 (B, D). */
  readonly encode: (textIds: NDArray<"i32">, options: LongCallOptions) => Promise<NDArray<"f32">>;
  readonly kept: KeptRows;
}

/** Texts that go through the model together, the last ones filled up: see `feature-pass.ts`. */
const TEXT_BATCH = 8;

/** Makes features of texts, f32 (B, D) not normalised, those that are kept already not again. */
export function keptTextEncoder({ tokenizer, contextLength, encode, kept }: TextEncoding) {
  return async (texts: string | readonly string[], options: LongCallOptions = {}): Promise<NDArray<"f32">> => {
    const textIds = (await tokenizer()).encode([texts].flat(), { contextLength });
    const names = Array.from({ length: textIds.shape[0]! }, (_, i) => bytesOf(rows(textIds, i, i + 1).data));
    const found = await Promise.all(names.map((name) => kept.find(name)));
    const features = found.map((row) => row && viewBytes("f32", row));
    const missing = features.flatMap((row, i) => (row === undefined ? [i] : []));
    for (let at = 0; at < missing.length; at += TEXT_BATCH) {
      throwIfAborted(options.signal, "texts");
      const places = missing.slice(at, at + TEXT_BATCH);
      const filled = Array.from({ length: TEXT_BATCH }, (_, i) => places[Math.min(i, places.length - 1)]!);
      const made = await encode(concatRows(filled.map((i) => rows(textIds, i, i + 1))), options);
      for (const [j, i] of places.entries()) features[i] = rows(made, j, j + 1).data;
      await kept.add(places.map((i) => ({ name: names[i]!, features: features[i]! })));
    }
    return concatRows(features.map((row) => ndarray("f32", [1, row!.length], row!)));
  };
}
