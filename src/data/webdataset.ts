/**
 * Shards of a WebDataset as a data set: samples stream from tar archives and pass a shuffle buffer.
 *
 * Each epoch reads every shard once, in an order that (seed, epoch) decides. With weights, each epoch draws as many shards
 * as there are, with replacement, a shard of weight 2 twice as often as one of weight 1 (open_clip's resampled shards).
 * What differs from the webdataset package: the same seed gives the same order on every machine, the position can be kept
 * at any sample, and nothing is dropped in silence. Splitting by worker is the loader's affair.
 *
 * The buffer holds places; the bytes of the samples that wait are kept beside it as far as memory allows, and those that
 * are not there, for want of memory or after resuming, are read again when their turn comes.
 */
import { Random, type RandomState, ToklipError, throwIfAborted } from "../core/index.ts";
import { badSampleOf } from "./bad-samples.ts";
import type { BadSample, DataItem, Dataset, IdsSample, ReadOptions, Sample } from "./dataset.ts";
import { mixSeed } from "./epoch-order.ts";
import { IDS_FILES, readPictureIds } from "./picture-ids.ts";
import { bytesVersion } from "./recall.ts";
import {
  describeShards,
  fingerprint,
  parseShards,
  parseShardWeights,
  type ShardPart,
  shardLabels,
  shardWeights,
} from "./shard-list.ts";
import {
  readShardSamples,
  type ShardContent,
  type ShardEvent,
  type ShardOptions,
  type ShardSample,
} from "./shard-samples.ts";
import type { ShardSource } from "./shard-source.ts";
import { ShuffleBuffer } from "./shuffle-buffer.ts";
import { type EpochState, fromPosition, type SampleSpan, toPosition } from "./webdataset-position.ts";

/** What `webdataset` reads. */
export interface WebDatasetOptions {
  /** The list of shards: `"data/{00000..00127}.tar::more/{a,b}.tar"`, or its parts with their names found. */
  readonly shards: string | readonly ShardPart[];
  /** Opens them. */
  readonly source: ShardSource;
  /** How many samples wait in the shuffle buffer. Default 1000. */
  readonly bufferSize?: number | undefined;
  /** The most bytes of waiting samples that are held in memory; others are read twice. Default 1 GiB. */
  readonly maxBufferBytes?: number | undefined;
  /** One weight for each `::` part, `"1::2"`, for each shard of it: shards are then drawn with replacement. */
  readonly weights?: string | readonly number[] | undefined;
  /** Each line of a `.txt` is a caption of its own. Default false: the whole text is one. */
  readonly linePerCaption?: boolean | undefined;
  /** Samples with larger pictures, or files of ids, are bad. Default 256 MiB. */
  readonly maxImageBytes?: number | undefined;
}

const MAX_IMAGE_BYTES = 2 ** 28;
const MAX_BUFFER_BYTES = 2 ** 30;
const BUFFER_SIZE = 1000;
/** The position of each sample copies the places of all that wait. */
const MAX_BUFFER_SIZE = 1_000_000;

/**
 * Makes a data set of shards. `ReadOptions.epochs` counts from epoch 0, also where reading begins later; with
 * `shuffle: false` each shard is read once in the listed order, whatever its weight. Its size is not known.
 *
 * Bad samples: `"no image"`, `"too large"`, `"malformed text"`; and of shards, which are left where they are damaged,
 * what came before being used: `"truncated shard"`, `"damaged shard"`, `"unreadable shard"`. Reading throws DATA_EMPTY
 * for an epoch without a sample, RESUME_MISMATCH for a position of other shards, seed or order, and what the source
 * throws that is no failure of one shard.
 * @throws DATA_INVALID for a list or weights that are malformed; DATA_EMPTY for no shards; ARGUMENT_INVALID
 */
export function webdataset(options: WebDatasetOptions): Dataset {
  return shardDataset(options, PICTURES);
}

/**
 * As `webdataset`, of shards that have the ids of each picture in its place: a `.npy` or `.ids`, see `picture-ids.ts`. A
 * bad sample for one that has neither is `"no ids"`, for one that is not read `"unreadable"`.
 * @throws as `webdataset`
 */
export function idsWebdataset(options: WebDatasetOptions): Dataset<IdsSample> {
  return shardDataset(options, IDS);
}

function shardDataset<S>(options: WebDatasetOptions, kind: SampleKind<S>): Dataset<S> {
  const set = new ShardSet(options, kind);
  return { name: set.name, read: (how) => readShards(set, how) };
}

/** What the samples of shards are. */
interface SampleKind<S> extends ShardContent {
  /** @throws what is wrong with the sample */
  readonly make: (sample: ShardSample) => S | Promise<S>;
}

const PICTURES: SampleKind<Sample> = {
  extensions: new Set(["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"]),
  missing: "no image",
  problem: "no file beside its others is a picture",
  make: ({ content, ...known }) => ({
    ...known,
    async image(signal) {
      throwIfAborted(signal, known.key);
      return content;
    },
    version: async () => bytesVersion(content),
  }),
};

const IDS: SampleKind<IdsSample> = {
  extensions: IDS_FILES,
  missing: "no ids",
  problem: "no file beside its others holds ids (.npy or .ids)",
  make: async ({ content, ...known }) => ({ ...known, ids: await readPictureIds(content, known.key) }),
};

/** The list of shards, and how they are read. */
class ShardSet<S> {
  readonly kind: SampleKind<S>;
  readonly name: string;
  readonly shards: readonly string[];
  readonly labels: readonly string[];
  readonly bufferSize: number;
  readonly maxBufferBytes: number;
  private readonly weights: readonly number[] | undefined;
  private readonly options: WebDatasetOptions;

  constructor(options: WebDatasetOptions, kind: SampleKind<S>) {
    const { shards, weights, bufferSize = BUFFER_SIZE, maxBufferBytes = MAX_BUFFER_BYTES } = options;
    const parts = typeof shards === "string" ? parseShards(shards) : shards;
    const perPart = typeof weights === "string" ? parseShardWeights(weights) : weights;
    this.kind = kind;
    this.name = `webdataset ${describeShards(parts)}`;
    this.shards = parts.flatMap((part) => part.shards);
    if (this.shards.length === 0) throw new ToklipError("DATA_EMPTY", `${this.name}: there are no shards`);
    if (!(Number.isSafeInteger(bufferSize) && bufferSize >= 1 && bufferSize <= MAX_BUFFER_SIZE)) {
      throw new ToklipError("ARGUMENT_INVALID", `buffer size ${bufferSize}: expected 1 to ${MAX_BUFFER_SIZE}`);
    }
    this.labels = shardLabels(this.shards);
    this.weights = perPart && shardWeights(parts, perPart);
    this.bufferSize = bufferSize;
    this.maxBufferBytes = maxBufferBytes;
    this.options = options;
  }

  /** Reads the samples of a shard, or the one that lies in a span of it. */
  read(shard: number, start: number, end: number | undefined, signal: AbortSignal | undefined) {
    const { source, linePerCaption = false, maxImageBytes = MAX_IMAGE_BYTES } = this.options;
    const bytes = source.open(this.shards[shard]!, { start, signal, ...(end !== undefined && { end }) });
    const how: ShardOptions = {
      name: this.labels[shard]!,
      start,
      part: end !== undefined,
      content: this.kind,
      maxContentBytes: maxImageBytes,
      linePerCaption,
    };
    return readShardSamples(bytes, how);
  }

  /** The indices of an epoch's shards, and the random state that the epoch goes on with. */
  order({ seed, shuffle = true }: ReadOptions, epoch: number): { shards: Uint32Array; random: RandomState } {
    const random = new Random(mixSeed(seed, epoch));
    const { length } = this.shards;
    if (!shuffle) return { shards: Uint32Array.from({ length }, (_, i) => i), random: random.state };
    const shards = this.weights === undefined ? random.permutation(length) : weightedDraws(this.weights, random);
    return { shards, random: random.state };
  }

  /** A number that differs for orders that differ; where the shards lie does not count. */
  orderId({ seed, shuffle = true }: ReadOptions): number {
    return fingerprint(JSON.stringify([seed, shuffle, this.weights ?? null, this.labels]));
  }
}

/** As many draws with replacement as there are weights. */
function weightedDraws(weights: readonly number[], random: Random): Uint32Array {
  const ends = new Float64Array(weights.length);
  let sum = 0;
  for (const [i, weight] of weights.entries()) ends[i] = sum += weight;
  return Uint32Array.from(weights, () => firstAbove(ends, random.uniform() * sum));
}

/** The first index whose value is above `bound`, values ascending. */
function firstAbove(values: Float64Array, bound: number): number {
  let low = 0;
  for (let high = values.length - 1; low < high; ) {
    const middle = (low + high) >> 1;
    if (values[middle]! > bound) high = middle;
    else low = middle + 1;
  }
  return low;
}

async function* readShards<S>(set: ShardSet<S>, options: ReadOptions): AsyncGenerator<DataItem<S>, void, undefined> {
  const { from, epochs = Number.POSITIVE_INFINITY } = options;
  let state = from && fromPosition(from, set.orderId(options), set.shards.length, set.name);
  for (let epoch = state?.epoch ?? 0; epoch < epochs; epoch++) {
    yield* new EpochReader(set, options, epoch, state).items();
    state = undefined;
  }
}

class EpochReader<S> {
  private readonly set: ShardSet<S>;
  private readonly options: ReadOptions;
  private readonly epoch: number;
  private readonly shards: Uint32Array;
  private readonly buffer: ShuffleBuffer<SampleSpan>;
  private readonly orderId: number;
  private shardsDone: number;
  private offset: number;
  private given: number;
  /** The waiting samples whose bytes are in memory. */
  private readonly held = new Map<SampleSpan, ShardSample>();
  private heldBytes = 0;
  private lastBad: BadSample | undefined;

  constructor(set: ShardSet<S>, options: ReadOptions, epoch: number, state: EpochState | undefined) {
    const { shards, random } = set.order(options, epoch);
    this.set = set;
    this.options = options;
    this.epoch = epoch;
    this.shards = shards;
    this.buffer = new ShuffleBuffer(
      options.shuffle === false ? 1 : set.bufferSize,
      state?.shuffle ?? { random, items: [] },
    );
    this.orderId = set.orderId(options);
    this.shardsDone = state?.shardsDone ?? 0;
    this.offset = state?.offset ?? 0;
    this.given = state?.given ?? 0;
  }

  async *items(): AsyncGenerator<DataItem<S>, void, undefined> {
    for await (const { sample, bad, span } of this.stream()) {
      if (bad !== undefined) yield this.item({ bad });
      if (sample !== undefined) this.hold(span, sample);
      while (this.buffer.isFull) yield await this.draw();
    }
    while (!this.buffer.isEmpty) yield await this.draw();
    if (this.given > 0) return;
    const why = this.lastBad === undefined ? "" : `, the last was bad: ${this.lastBad.message}`;
    throw new ToklipError("DATA_EMPTY", `${this.set.name}: epoch ${this.epoch} gave no sample${why}`);
  }

  /** What the epoch's shards hold, in order; the place in them has already moved on. */
  private async *stream(): AsyncGenerator<ShardEvent & { readonly span: SampleSpan }> {
    const { onProgress, signal } = this.options;
    while (this.shardsDone < this.shards.length) {
      const [done, shard] = [this.shardsDone, this.shards[this.shardsDone]!];
      const item = this.set.labels[shard]!;
      onProgress?.({ stage: "read", item, done, total: this.shards.length, unit: "files" });
      for await (const event of this.set.read(shard, this.offset, undefined, signal)) {
        throwIfAborted(signal, this.set.name);
        if (event.end === undefined) this.moveTo(done + 1, 0);
        else this.moveTo(done, event.end);
        yield { ...event, span: { shard, start: event.start, end: event.end ?? event.start } };
      }
      this.moveTo(done + 1, 0);
    }
  }

  private moveTo(shardsDone: number, offset: number): void {
    this.shardsDone = shardsDone;
    this.offset = offset;
  }

  private hold(span: SampleSpan, sample: ShardSample): void {
    this.buffer.push(span);
    if (this.heldBytes + memoryOf(sample) > this.set.maxBufferBytes) return;
    this.held.set(span, sample);
    this.heldBytes += memoryOf(sample);
  }

  private async draw(): Promise<DataItem<S>> {
    throwIfAborted(this.options.signal, this.set.name);
    const span = this.buffer.draw();
    const held = this.held.get(span);
    if (held === undefined) return this.item(await this.made(await this.readAgain(span)));
    this.held.delete(span);
    this.heldBytes -= memoryOf(held);
    return this.item(await this.made(held));
  }

  private async made(found: ShardSample | BadSample): Promise<{ sample: S } | { bad: BadSample }> {
    if ("reason" in found) return { bad: found };
    try {
      return { sample: await this.set.kind.make(found) };
    } catch (thrown) {
      return { bad: badSampleOf(found.key, thrown) };
    }
  }

  private async readAgain({ shard, start, end }: SampleSpan): Promise<ShardSample | BadSample> {
    for await (const { sample, bad } of this.set.read(shard, start, end, this.options.signal)) {
      const found = sample ?? bad;
      if (found !== undefined) return found;
    }
    const key = this.set.labels[shard]!;
    return { key, reason: "damaged shard", message: `${key}: the sample at offset ${start} is there no more` };
  }

  private item(content: { sample: S } | { bad: BadSample }): DataItem<S> {
    if ("bad" in content) this.lastBad = content.bad;
    else this.given++;
    const { epoch, shardsDone, offset, given, orderId } = this;
    const state: EpochState = { epoch, shardsDone, offset, given, shuffle: this.buffer.state };
    return {
      ...content,
      // Few positions are looked at: the numbers of a thousand places are written down when one is.
      get position() {
        return toPosition(state, orderId);
      },
    };
  }
}

function memoryOf({ content, captions }: ShardSample): number {
  return captions.reduce((sum, caption) => sum + 2 * caption.length, content.byteLength);
}
