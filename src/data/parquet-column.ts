/**
 * A column of one row group: its pages decompressed, its values by row.
 * Source: the format's description of pages and of levels (Dremel, Melnik et al. 2010, for columns of lists).
 *
 * Byte arrays and integers. Lists, and lists of lists, become the values of their row in order: how they were nested, and
 * where nulls and empty lists stood, is not kept.
 * Pages are decoded here and not by a library because of files that lie: a run of two bytes may claim 2^30 values.
 */
import { ToklipError } from "../core/index.ts";
import { decompressPage } from "./parquet-codecs.ts";
import {
  type ByteStrings,
  PageReader,
  readDeltaBytes,
  readDeltaIntegers,
  readDeltaLengthBytes,
  readHybrid,
  readPlainBytes,
  readPlainIntegers,
} from "./parquet-encodings.ts";
import { type ColumnChunk, Fields, PARQUET_TYPES } from "./parquet-footer.ts";
import { ThriftReader } from "./parquet-thrift.ts";

/** How a column's values stand to its rows. */
export interface ColumnLevels {
  /** The definition level of a value that is there. */
  readonly maxDefinition: number;
  /** How deep its lists are nested; 0 for none. */
  readonly maxRepetition: number;
}

/** What a column may take. */
export interface ColumnLimits {
  readonly rows: number;
  /** Of all decompressed pages. */
  readonly maxBytes: number;
}

/** Values of some rows in order; a null is no value. */
export interface Column {
  /** The values of a row: none, one, or those of its list. Byte strings are views: they keep their page in memory. */
  values(row: number): (Uint8Array | number)[];
  /** The memory that it takes. */
  readonly byteLength: number;
}

/** The values of one page. */
type PageValues = ByteStrings | Float64Array;

/** The most values of a column in a row group: 16 times the rows that common writers put there. */
const MAX_VALUES = 2 ** 24;

const DATA_PAGE = 0;
const INDEX_PAGE = 1;
const DICTIONARY_PAGE = 2;
const DATA_PAGE_V2 = 3;

const PLAIN = 0;
const DICTIONARY_ENCODINGS: ReadonlySet<number> = new Set([2, 8]);
const RLE = 3;

/** What is known when the values of a page are read. */
interface ValueContext {
  readonly count: number;
  readonly maxBytes: number;
}

/** How values of each type and encoding (other than the dictionary's) are read. */
const DECODERS: Readonly<Record<string, (reader: PageReader, context: ValueContext) => PageValues>> = {
  [`${PARQUET_TYPES.INT32} ${PLAIN}`]: (reader, { count }) => readPlainIntegers(reader, count, 4),
  [`${PARQUET_TYPES.INT64} ${PLAIN}`]: (reader, { count }) => readPlainIntegers(reader, count, 8),
  [`${PARQUET_TYPES.INT32} 5`]: (reader, { count }) => readDeltaIntegers(reader, count),
  [`${PARQUET_TYPES.INT64} 5`]: (reader, { count }) => readDeltaIntegers(reader, count),
  [`${PARQUET_TYPES.BYTE_ARRAY} ${PLAIN}`]: (reader, { count }) => readPlainBytes(reader, count),
  [`${PARQUET_TYPES.BYTE_ARRAY} 6`]: (reader, { count }) => readDeltaLengthBytes(reader, count),
  [`${PARQUET_TYPES.BYTE_ARRAY} 7`]: (reader, { count, maxBytes }) => readDeltaBytes(reader, count, maxBytes),
};

/**
 * Decodes a column from the bytes of its chunk.
 * @throws FILE_CORRUPT, also for more than `limits`; FILE_UNSUPPORTED for an encoding that is not read
 */
export function decodeColumn(
  bytes: Uint8Array,
  chunk: ColumnChunk,
  levels: ColumnLevels,
  limits: ColumnLimits,
  where: string,
): Column {
  return new ColumnDecoder(chunk, levels, limits, where).decode(bytes);
}

class ColumnDecoder {
  private readonly chunk: ColumnChunk;
  private readonly levels: ColumnLevels;
  private readonly limits: ColumnLimits;
  private readonly where: string;
  private readonly pages: PageValues[] = [];
  private dictionary: PageValues | undefined;
  private bytesLeft: number;
  /** For each row the number of values before it; one more for the end. */
  private readonly rowStarts: Uint32Array;
  /** Rows begun. */
  private rows = 0;
  /** Values that are there. */
  private count = 0;
  /** Values and nulls. */
  private entries = 0;

  constructor(chunk: ColumnChunk, levels: ColumnLevels, limits: ColumnLimits, where: string) {
    this.chunk = chunk;
    this.levels = levels;
    this.limits = limits;
    this.where = where;
    this.bytesLeft = limits.maxBytes;
    if (chunk.valueCount > MAX_VALUES || limits.rows > MAX_VALUES) {
      throw new ToklipError(
        "FILE_UNSUPPORTED",
        `${where}: a row group of more than ${MAX_VALUES} values; write the file with smaller row groups`,
      );
    }
    this.rowStarts = new Uint32Array(limits.rows + 1);
  }

  decode(bytes: Uint8Array): Column {
    for (let at = 0; this.entries < this.chunk.valueCount; ) {
      const header = new ThriftReader(bytes, at, `${this.where}: page header`);
      const fields = new Fields(header.struct(), `${this.where}: page header`);
      const body = header.take(fields.count(3));
      at = header.at;
      this.page(fields, body);
    }
    if (this.rows !== this.limits.rows) throw this.fault(`${this.rows} rows, not ${this.limits.rows}`);
    this.rowStarts[this.rows] = this.count;
    return new DecodedColumn(this.pages, this.rowStarts, this.limits.maxBytes - this.bytesLeft);
  }

  private page(header: Fields, body: Uint8Array): void {
    const byteLength = header.count(2);
    this.bytesLeft -= byteLength;
    if (this.bytesLeft < 0) throw this.fault(`pages of more than ${this.limits.maxBytes} bytes`);
    const type = header.count(1);
    if (type === DATA_PAGE) this.dataPage(this.require(header, 5), this.decompress(body, byteLength));
    else if (type === DATA_PAGE_V2) this.dataPageV2(this.require(header, 8), body, byteLength);
    else if (type === DICTIONARY_PAGE) {
      const count = this.checkCount(this.require(header, 7).count(1));
      this.dictionary = this.readValues(this.decompress(body, byteLength), PLAIN, count);
    } else if (type !== INDEX_PAGE) throw this.fault(`a page of type ${type}`);
  }

  /** Levels, each behind their length, and values, all compressed together. */
  private dataPage(header: Fields, reader: PageReader): void {
    const entries = this.checkCount(header.count(1));
    const levels = (max: number, encoding: number) => {
      if (max === 0) return undefined;
      if (header.count(encoding) !== RLE) throw this.unsupported(`levels of encoding ${header.count(encoding)}`);
      const length = reader.view.getUint32(reader.skip(4), true);
      return readHybrid(reader.part(length), bitsOf(max), entries);
    };
    const repetition = levels(this.levels.maxRepetition, 4);
    const definition = levels(this.levels.maxDefinition, 3);
    this.add(entries, repetition, definition, reader, header.count(2));
  }

  /** Levels, their lengths in the header, as they are; then values, compressed or not. */
  private dataPageV2(header: Fields, body: Uint8Array, byteLength: number): void {
    const entries = this.checkCount(header.count(1));
    const reader = new PageReader(body, this.where);
    const levels = (max: number, length: number) => {
      const part = reader.part(length);
      return max === 0 ? undefined : readHybrid(part, bitsOf(max), entries);
    };
    const repetition = levels(this.levels.maxRepetition, header.count(6));
    const definition = levels(this.levels.maxDefinition, header.count(5));
    const rest = body.subarray(reader.at);
    const isCompressed = header.flag(7, true);
    const values = isCompressed ? this.decompress(rest, byteLength - reader.at) : new PageReader(rest, this.where);
    this.add(entries, repetition, definition, values, header.count(4));
  }

  /** Takes the entries of a page: counts rows and values by their levels, and reads the values. */
  private add(
    entries: number,
    repetition: Uint32Array | undefined,
    definition: Uint32Array | undefined,
    reader: PageReader,
    encoding: number,
  ): void {
    const before = this.count;
    const { maxDefinition } = this.levels;
    for (let i = 0; i < entries; i++) {
      if (repetition === undefined || repetition[i] === 0) {
        if (this.rows === this.limits.rows) throw this.fault(`more than ${this.limits.rows} rows`);
        this.rowStarts[this.rows++] = this.count;
      } else if (this.rows === 0) throw this.fault("a list that goes on before it begins");
      if (definition === undefined || definition[i] === maxDefinition) this.count++;
    }
    this.entries += entries;
    this.pages.push(this.readValues(reader, encoding, this.count - before));
  }

  private readValues(reader: PageReader, encoding: number, count: number): PageValues {
    if (count === 0) return new Float64Array(0);
    if (DICTIONARY_ENCODINGS.has(encoding) && this.dictionary !== undefined) {
      const width = reader.view.getUint8(reader.skip(1));
      return this.lookUp(this.dictionary, readHybrid(reader, width, count));
    }
    const decode = DECODERS[`${this.chunk.type} ${encoding}`];
    if (decode === undefined) throw this.unsupported(`values of type ${this.chunk.type} in encoding ${encoding}`);
    const values = decode(reader, { count, maxBytes: this.bytesLeft });
    if (!(values instanceof Float64Array) && values.bytes !== reader.bytes) this.bytesLeft -= values.bytes.length;
    return values;
  }

  private lookUp(dictionary: PageValues, indices: Uint32Array): PageValues {
    const size = dictionary instanceof Float64Array ? dictionary.length : dictionary.offsets.length;
    for (const index of indices) {
      if (index >= size) throw this.fault(`entry ${index} of a dictionary of ${size}`);
    }
    if (dictionary instanceof Float64Array) return Float64Array.from(indices, (index) => dictionary[index]!);
    const { bytes, offsets, lengths } = dictionary;
    return { bytes, offsets: indices.map((i) => offsets[i]!), lengths: indices.map((i) => lengths[i]!) };
  }

  private decompress(body: Uint8Array, byteLength: number): PageReader {
    if (byteLength < 0) throw this.fault("levels longer than their page");
    return new PageReader(decompressPage(body, this.chunk.codec, byteLength, this.where), this.where);
  }

  private checkCount(count: number): number {
    if (count > this.chunk.valueCount) throw this.fault(`a page of ${count} values in ${this.chunk.valueCount}`);
    return count;
  }

  private require(header: Fields, field: number): Fields {
    const fields = header.struct(field);
    if (fields === undefined) throw this.fault("a page without its header");
    return fields;
  }

  private fault(problem: string): ToklipError {
    return new ToklipError("FILE_CORRUPT", `${this.where}: ${problem}`);
  }

  private unsupported(what: string): ToklipError {
    return new ToklipError("FILE_UNSUPPORTED", `${this.where}: ${what} are not read`);
  }
}

class DecodedColumn implements Column {
  readonly byteLength: number;
  private readonly pages: readonly PageValues[];
  private readonly rowStarts: Uint32Array;
  /** For each page the number of values before it. */
  private readonly pageStarts: readonly number[];

  constructor(pages: readonly PageValues[], rowStarts: Uint32Array, pageBytes: number) {
    this.pages = pages;
    this.rowStarts = rowStarts;
    let total = 0;
    this.pageStarts = pages.map((page) => {
      const start = total;
      total += page instanceof Float64Array ? page.length : page.offsets.length;
      return start;
    });
    this.byteLength = pageBytes + 8 * total + rowStarts.byteLength;
  }

  values(row: number): (Uint8Array | number)[] {
    const found: (Uint8Array | number)[] = [];
    for (let i = this.rowStarts[row]!; i < this.rowStarts[row + 1]!; i++) found.push(this.value(i));
    return found;
  }

  private value(index: number): Uint8Array | number {
    const at = lastAtMost(this.pageStarts, index);
    const page = this.pages[at]!;
    const i = index - this.pageStarts[at]!;
    if (page instanceof Float64Array) return page[i]!;
    return page.bytes.subarray(page.offsets[i]!, page.offsets[i]! + page.lengths[i]!);
  }
}

/** The index of the last of some growing numbers that is at most `value`; 0 where all are larger. */
export function lastAtMost(starts: ArrayLike<number>, value: number): number {
  let low = 0;
  for (let high = starts.length; high - low > 1; ) {
    const middle = (low + high) >> 1;
    if (starts[middle]! <= value) low = middle;
    else high = middle;
  }
  return low;
}

/** The bits that numbers up to `max` take. */
function bitsOf(max: number): number {
  return 32 - Math.clz32(max);
}
