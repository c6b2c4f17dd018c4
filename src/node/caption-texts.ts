/** The captions of data sets and of plain lists, where only the texts matter: pictures are neither decoded nor needed. */
import type { BadSample } from "../data/index.ts";
import { isTextTable, tableCaptions } from "../data/manifest.ts";
import { nodeDataFiles } from "./data-files.ts";
import { readLines } from "./text-lines.ts";
import { openDataSource } from "./train-data.ts";

/** How captions are read. */
export interface CaptionTextOptions {
  /** The column of a table that holds them. Default: by the usual names. */
  readonly captionColumn?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told of what could not be used. */
  readonly onBad?: ((bad: BadSample) => void) | undefined;
}

/**
 * Yields captions: the lines of a .txt file, the rows of a .csv, .tsv or .jsonl, with or without pictures, and the samples
 * of any other data set, such as shards {00..07}.tar.
 * @throws FILE_NOT_FOUND, FILE_READ_FAILED, FILE_CORRUPT, DATA_INVALID, DATA_EMPTY, ABORTED
 */
export async function* readCaptionTexts(path: string, options: CaptionTextOptions = {}): AsyncGenerator<string> {
  const read = isTextTable(path) ? tableTexts : /\.txt$/i.test(path) ? lineTexts : sampleTexts;
  yield* read(path, options);
}

async function* lineTexts(path: string, { signal }: CaptionTextOptions): AsyncGenerator<string> {
  for await (const { text } of readLines(path, { signal })) yield text;
}

async function* tableTexts(path: string, { onBad, ...options }: CaptionTextOptions): AsyncGenerator<string> {
  for await (const row of tableCaptions(nodeDataFiles, path, options)) {
    if ("bad" in row) onBad?.(row.bad);
    else yield* row.captions;
  }
}

async function* sampleTexts(path: string, { signal, onBad }: CaptionTextOptions): AsyncGenerator<string> {
  const dataset = await openDataSource(path, signal);
  for await (const { sample, bad } of dataset.read({ seed: 0, shuffle: false, epochs: 1, signal })) {
    if (bad !== undefined) onBad?.(bad);
    if (sample !== undefined) yield* sample.captions;
  }
}
