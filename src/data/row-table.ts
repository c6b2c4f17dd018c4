/**
 * Rows of a fixed size by key, on disk: what a cache is kept in. Made so that nothing that happens to its files can give
 * a wrong row, and that any number of processes may use one folder at a time without a lock:
 *
 *     rows-<session>.data     key (16 bytes), row, CRC-32C of both; again and again
 *     rows-<session>.index    key, CRC-32C of the key; one for each of these rows, written after it
 *
 * A session (a process that has the table open) adds to files of its own and reads everybody's. Files only grow, and only
 * while their session lasts, so a killed one leaves whole rows and perhaps a piece of one at the end, which is not looked
 * at. A row counts when its checksum fits; a damaged one is as good as absent.
 *
 * Memory holds the place of each row, about 80 bytes; the rows stay on disk.
 */
import { type ByteSource, messageOf, ToklipError } from "../core/index.ts";
import { crc32c } from "../files/crc32c.ts";
import { type GrowingFile, type RowStorage, writeWhole } from "./row-storage.ts";

/** The length of a key: of a hash that two different things will not share. */
export const KEY_BYTES = 16;
const CRC_BYTES = 4;
const ENTRY_BYTES = KEY_BYTES + CRC_BYTES;
/** How many entries are read at once. */
const PIECE_ENTRIES = 1 << 15;
/** What a `Map` can hold, and rows a file. */
const MOST_ROWS = 2 ** 24 - 1;
/** Files of other sessions are looked at again after so many keys that were not found. */
const MISSES_TO_REFRESH = 64;
const ABOUT = "about.json";
const INDEX_NAME = /^(rows-[0-9a-z]+)\.index$/;

/** A row with its key. */
export interface KeyedRow {
  readonly key: Uint8Array;
  readonly row: Uint8Array;
}

/** Where a table is, and what its rows are. */
export interface RowTableOptions {
  readonly storage: RowStorage;
  /** The table's folder in the storage. */
  readonly folder: string;
  readonly rowBytes: number;
  /** Names the files of this session: digits and lower-case letters that no other session uses. */
  readonly session: string;
  /** Written to `about.json` when the table begins, for people. */
  readonly about: string;
  /** Is told once why rows are not kept any more. */
  readonly warn: (message: string) => void;
}

interface TableFile {
  readonly number: number;
  readonly name: string;
  /** Entries of the index that were looked at. */
  known: number;
  data: ByteSource | undefined;
  opening: Promise<ByteSource> | undefined;
}

/** The table. */
export class RowTable {
  private readonly options: RowTableOptions;
  private readonly files: TableFile[] = [];
  /** From the first bits of a key to file and row. Keys that share them replace one another: a row is compared in full. */
  private readonly places = new Map<number, number>();
  private misses = 0;
  private refreshing: Promise<void> | undefined;
  private own: { readonly file: TableFile; readonly data: GrowingFile; readonly index: GrowingFile } | undefined;
  /** Whether rows are still added. */
  private grows = true;
  private closed = false;

  private constructor(options: RowTableOptions) {
    this.options = options;
  }

  /** Opens a table, or begins one: nothing is written before the first row. @throws FILE_READ_FAILED */
  static async open(options: RowTableOptions): Promise<RowTable> {
    const table = new RowTable(options);
    await table.refresh();
    return table;
  }

  /** The number of rows that it knows of. */
  get size(): number {
    return this.places.size;
  }

  /** The row of a key; undefined where there is none that is whole. Never throws for what is on the disk. */
  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    if (this.closed) return undefined;
    const short = shortKey(key);
    if (!this.places.has(short) && ++this.misses % MISSES_TO_REFRESH === 0) await this.refresh().catch(ignoreFiles);
    const place = this.places.get(short);
    if (place === undefined) return undefined;
    const file = this.files[Math.floor(place / (MOST_ROWS + 1))]!;
    const bytes = await this.read(file, place % (MOST_ROWS + 1)).catch(ignoreFiles);
    if (bytes !== undefined && isWhole(bytes) && equal(bytes.subarray(0, KEY_BYTES), key)) {
      return bytes.subarray(KEY_BYTES, -CRC_BYTES);
    }
    if (this.places.get(short) === place) this.places.delete(short); // so that a good one can take its place
    return undefined;
  }

  /**
   * Adds rows, those that are not there yet. When they cannot be written, or there are over 16 million, a warning is told
   * and no more are kept from then on.
   * @throws INTERNAL for a row of another size
   */
  async append(rows: readonly KeyedRow[]): Promise<void> {
    for (const { key, row } of rows) this.checkSize(key, row);
    const fresh = [...new Map(rows.map((row) => [shortKey(row.key), row])).entries()];
    const missing = fresh.filter(([short]) => !this.places.has(short)).map(([, row]) => row);
    if (!this.grows || missing.length === 0) return;
    try {
      if (this.size + missing.length > MOST_ROWS) throw new ToklipError("FILE_WRITE_FAILED", "it has 16 million rows");
      await this.write(missing);
    } catch (thrown) {
      if (!(thrown instanceof ToklipError)) throw thrown;
      this.grows = false;
      this.options.warn(`the cache grows no more, the run goes on: ${messageOf(thrown)}`);
    }
  }

  /** Closes its files. */
  async close(): Promise<void> {
    this.closed = true;
    await this.refreshing?.catch(ignoreFiles);
    for (const { data, opening } of this.files) await ((await opening?.catch(ignoreFiles)) ?? data)?.close?.();
    await this.own?.data.close();
    await this.own?.index.close();
  }

  private checkSize(key: Uint8Array, row: Uint8Array): void {
    const { rowBytes } = this.options;
    if (row.byteLength === rowBytes && key.byteLength === KEY_BYTES) return;
    throw new ToklipError("INTERNAL", `cache: a row of ${row.byteLength} bytes, expected ${rowBytes}`);
  }

  private async write(rows: readonly KeyedRow[]): Promise<void> {
    this.own ??= await this.begin();
    const { file, data, index } = this.own;
    const { recordBytes } = this;
    const records = new Uint8Array(rows.length * recordBytes);
    const entries = new Uint8Array(rows.length * ENTRY_BYTES);
    for (const [i, { key, row }] of rows.entries()) {
      seal(records.subarray(i * recordBytes, (i + 1) * recordBytes), key, row);
      seal(entries.subarray(i * ENTRY_BYTES, (i + 1) * ENTRY_BYTES), key);
    }
    await data.write(records);
    await index.write(entries);
    for (const { key } of rows) this.place(key, file);
  }

  private async begin() {
    const { storage, folder, session, about } = this.options;
    // Which makes the folder.
    if (!(await storage.list(folder)).includes(ABOUT)) await writeWhole(storage, `${folder}/${ABOUT}`, about);
    const file = this.file(`rows-${session}`);
    const data = await storage.append(`${folder}/${file.name}.data`, 0);
    return { file, data, index: await storage.append(`${folder}/${file.name}.index`, 0) };
  }

  private file(name: string): TableFile {
    const known = this.files.find((file) => file.name === name);
    if (known !== undefined) return known;
    const file = { number: this.files.length, name, known: 0, data: undefined, opening: undefined };
    this.files.push(file);
    return file;
  }

  private place(key: Uint8Array, file: TableFile): void {
    const row = file.known++;
    if (this.places.size < MOST_ROWS) {
      this.places.set(shortKey(key), file.number * (MOST_ROWS + 1) + row);
    }
  }

  private async read(file: TableFile, row: number): Promise<Uint8Array> {
    const { recordBytes } = this;
    const data = await this.dataOf(file, (row + 1) * recordBytes);
    return data.read(row * recordBytes, recordBytes);
  }

  /** The bytes of a file; one that has grown is opened anew, once for all who wait for it. */
  private async dataOf(file: TableFile, end: number): Promise<ByteSource> {
    if (file.data !== undefined && file.data.byteLength >= end) return file.data;
    file.opening ??= this.openData(file).finally(() => {
      file.opening = undefined;
    });
    return file.opening;
  }

  private async openData(file: TableFile): Promise<ByteSource> {
    const before = file.data;
    file.data = await this.options.storage.open(`${this.options.folder}/${file.name}.data`);
    await before?.close?.(); // which waits for what is being read
    return file.data;
  }

  private get recordBytes(): number {
    return this.options.rowBytes + ENTRY_BYTES;
  }

  /** Takes in what other sessions have added. */
  private refresh(): Promise<void> {
    this.refreshing ??= this.readIndexes().finally(() => {
      this.refreshing = undefined;
    });
    return this.refreshing;
  }

  private async readIndexes(): Promise<void> {
    const { storage, folder } = this.options;
    for (const entry of await storage.list(folder)) {
      const name = INDEX_NAME.exec(entry)?.[1];
      if (name === undefined || name === this.own?.file.name) continue;
      await this.readIndex(this.file(name)).catch(ignoreFiles);
    }
  }

  private async readIndex(file: TableFile): Promise<void> {
    const index = await this.options.storage.open(`${this.options.folder}/${file.name}.index`);
    try {
      const listed = Math.min(Math.floor(index.byteLength / ENTRY_BYTES), MOST_ROWS);
      if (listed <= file.known) return;
      const data = await this.dataOf(file, listed * this.recordBytes);
      const count = Math.min(listed, Math.floor(data.byteLength / this.recordBytes));
      while (file.known < count) {
        const held = Math.min(PIECE_ENTRIES, count - file.known);
        const bytes = await index.read(file.known * ENTRY_BYTES, held * ENTRY_BYTES);
        for (let at = 0; at < bytes.byteLength; at += ENTRY_BYTES) {
          const entry = bytes.subarray(at, at + ENTRY_BYTES);
          if (isWhole(entry)) this.place(entry.subarray(0, KEY_BYTES), file);
          else file.known++;
        }
      }
    } finally {
      await index.close?.();
    }
  }
}

/** What is wrong with a cache's file is as if the file were not there. */
function ignoreFiles(thrown: unknown): undefined {
  if (thrown instanceof ToklipError) return undefined;
  throw thrown;
}

/** The first 52 bits of a key. */
function shortKey(key: Uint8Array): number {
  const view = new DataView(key.buffer, key.byteOffset);
  return view.getUint32(0) * 2 ** 20 + (view.getUint32(4) >>> 12);
}

/** Puts the parts into a record one after another, then their checksum. */
function seal(record: Uint8Array, ...parts: readonly Uint8Array[]): void {
  let at = 0;
  for (const part of parts) {
    record.set(part, at);
    at += part.byteLength;
  }
  viewOf(record).setUint32(at, crc32c(record.subarray(0, at)));
}

function isWhole(record: Uint8Array): boolean {
  const end = record.byteLength - CRC_BYTES;
  return viewOf(record).getUint32(end) === crc32c(record.subarray(0, end));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}
