/**
 * Features in the order of their data set, on disk: a pass writes them once, evaluations read them as often as they like.
 * Memory holds a block, and of each row its label.
 */
import { bytesOf, type LongCallOptions, throwIfAborted, viewBytes } from "../core/index.ts";
import type { FeatureBlock, FeatureRows } from "./feature-rows.ts";

/** Bytes that are written in order and read at any place. */
export interface ScratchFile {
  /** Appends bytes. @throws FILE_WRITE_FAILED */
  append(bytes: Uint8Array): Promise<void>;
  /** Reads what was appended. @throws FILE_READ_FAILED */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Closes and removes it. */
  close(): Promise<void>;
}

/** A row to write. */
export interface OrderedRow {
  readonly key: string;
  /** The class; -1 where it has none. */
  readonly label: number;
  /** f32 (D). */
  readonly features: Float32Array;
}

/** Rows that are written, and handed out, together. */
const BLOCK_ROWS = 512;

/** Where a block lies: its features, then its keys as JSON. */
interface StoredBlock {
  readonly offset: number;
  readonly keyBytes: number;
  readonly labels: Int32Array;
}

/** Rows that are being written. */
export class OrderedRows {
  private readonly file: ScratchFile;
  private readonly width: number;
  private readonly blocks: StoredBlock[] = [];
  private waiting: OrderedRow[] = [];
  private end = 0;
  private count = 0;

  constructor(file: ScratchFile, width: number) {
    this.file = file;
    this.width = width;
  }

  /** Rows up to now. */
  get size(): number {
    return this.count;
  }

  /** Adds a row. @throws FILE_WRITE_FAILED */
  async push(row: OrderedRow): Promise<void> {
    this.waiting.push(row);
    this.count++;
    if (this.waiting.length === BLOCK_ROWS) await this.flush();
  }

  /**
   * Ends the writing.
   * @param classes names of the classes
   * @param labelOf from the labels that were written to places in `classes`
   */
  async finish(
    classes: readonly string[],
    labelOf: (label: number) => number = (label) => label,
  ): Promise<FeatureRows> {
    if (this.waiting.length > 0) await this.flush();
    for (const { labels } of this.blocks) {
      for (const [i, label] of labels.entries()) labels[i] = label < 0 ? -1 : labelOf(label);
    }
    return { size: this.count, width: this.width, classes, blocks: (options) => this.read(options) };
  }

  private async flush(): Promise<void> {
    const rows = this.waiting;
    const features = new Float32Array(rows.length * this.width);
    for (const [i, row] of rows.entries()) features.set(row.features, i * this.width);
    const keys = new TextEncoder().encode(JSON.stringify(rows.map(({ key }) => key)));
    await this.file.append(bytesOf(features));
    await this.file.append(keys);
    const labels = Int32Array.from(rows, ({ label }) => label);
    this.blocks.push({ offset: this.end, keyBytes: keys.byteLength, labels });
    this.end += features.byteLength + keys.byteLength;
    this.waiting = [];
  }

  private async *read({ signal, onProgress }: LongCallOptions = {}): AsyncGenerator<FeatureBlock, void, undefined> {
    let done = 0;
    for (const { offset, keyBytes, labels } of this.blocks) {
      throwIfAborted(signal, "features");
      const featureBytes = 4 * this.width * labels.length;
      const bytes = await this.file.read(offset, featureBytes + keyBytes);
      const keys = JSON.parse(new TextDecoder().decode(bytes.subarray(featureBytes))) as string[];
      yield { features: viewBytes("f32", bytes.subarray(0, featureBytes)), keys, labels };
      done += labels.length;
      onProgress?.({ stage: "read", done, total: this.count, unit: "images" });
    }
  }
}
