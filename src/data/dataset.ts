/**
 * What a data set is: samples in an order that a seed decides, read from any position. A position is plain JSON, so that a
 * checkpoint can keep it; reading on from it gives exactly the samples that would have come.
 */
import type { LongCallOptions } from "../core/index.ts";

/** What any data set knows of a sample, whatever it holds of the picture itself. */
export interface DescribedSample {
  /** Names the sample within its data set, for messages and caches: `"shard-0001.tar/000123"`, `"cats/a.png"`. */
  readonly key: string;
  /** Texts that describe it; empty where there are none. */
  readonly captions: readonly string[];
  /** Samples that share a concept are no negatives of one another. */
  readonly concept?: string;
}

/** A picture and what is known about it, as a source holds it: nothing is decoded yet. */
export interface Sample extends DescribedSample {
  /** The bytes of the picture's file, read when they are asked for. @throws FILE_NOT_FOUND, FILE_READ_FAILED, ... */
  image(signal?: AbortSignal): Promise<Uint8Array>;
  /**
   * Tells the picture from another that has, or once had, the same key, without decoding it and, where that can be,
   * without reading it: for caches.
   */
  version?(): Promise<string>;
}

/** A picture that a tokenizer has read already, and what is known about it. */
export interface IdsSample extends DescribedSample {
  /** i32 (V*N): the ids of V variants of the picture (crops, flips), one variant after another, each row by row. */
  readonly ids: Int32Array;
}

/** A sample that could not be used, and why: it is counted, not dropped in silence. */
export interface BadSample {
  readonly key: string;
  /** A short word for the count: `"no image"`, `"no caption"`, `"undecodable"`, `"truncated shard"`. */
  readonly reason: string;
  /** What exactly was wrong, for the log. */
  readonly message: string;
}

/** One step of a data set: a sample or why there is none, and the position right after it. */
export interface DataItem<S = Sample> {
  readonly sample?: S;
  readonly bad?: BadSample;
  readonly position: DataPosition;
}

/** Where reading stands. `epoch` counts passes over the data from 0; the rest is the data set's own affair. */
export interface DataPosition {
  readonly epoch: number;
  readonly [key: string]: JsonValue;
}

/** What JSON can hold. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** How a data set is read. */
export interface ReadOptions extends LongCallOptions {
  /** Decides every order. Each epoch has another order under the same seed. */
  readonly seed: number;
  /** Read on from here; from the beginning where absent. */
  readonly from?: DataPosition | undefined;
  /** False reads in the stored order, for evaluation. Default true. */
  readonly shuffle?: boolean;
  /** How many epochs to read; without end where absent. */
  readonly epochs?: number;
}

/** A collection of samples. */
export interface Dataset<S = Sample> {
  /** The number of samples, where it is known without reading everything. */
  readonly size?: number;
  /** What it is, for messages and for the run folder: `"webdataset data/{00..07}.tar"`. */
  readonly name: string;
  /** Reads samples in order. @throws DATA_EMPTY when a whole epoch gives no sample. */
  read(options: ReadOptions): AsyncIterable<DataItem<S>>;
}
