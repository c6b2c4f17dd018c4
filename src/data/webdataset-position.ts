/**
 * Where the reading of a WebDataset stands, as JSON: the place in the shards, the random state, and of the samples that
 * wait in the shuffle buffer where they lie, three numbers each. Their bytes are read again.
 */
import { type RandomState, ToklipError } from "../core/index.ts";
import type { DataPosition } from "./dataset.ts";
import type { ShuffleState } from "./shuffle-buffer.ts";

/** Where a sample lies. */
export interface SampleSpan {
  /** The index of its shard in the list. */
  readonly shard: number;
  /** Where its first header begins, and where what follows it does. */
  readonly start: number;
  readonly end: number;
}

/** The state of an epoch. */
export interface EpochState {
  readonly epoch: number;
  /** How many shards of the epoch's order are behind, and where the next sample of the following one begins. */
  readonly shardsDone: number;
  readonly offset: number;
  /** How many samples the epoch has given. */
  readonly given: number;
  readonly shuffle: ShuffleState<SampleSpan>;
}

/** The position of a state. @param order names the list, the seed and the kind of order that it belongs to */
export function toPosition({ epoch, shardsDone, offset, given, shuffle }: EpochState, order: number): DataPosition {
  const waiting: number[] = [];
  for (const { shard, start, end } of shuffle.items) waiting.push(shard, start, end - start);
  return { epoch, order, shardsDone, offset, given, random: shuffle.random.words, waiting };
}

/**
 * The state of a position, which may come from anywhere.
 * @param shards the number of shards in the list
 * @param name the data set's
 * @throws RESUME_MISMATCH for what is no position, or the position of another list or order
 */
export function fromPosition(position: DataPosition, order: number, shards: number, name: string): EpochState {
  if (position.order !== order) {
    throw new ToklipError("RESUME_MISMATCH", `${name}: the position belongs to other shards, weights, or another seed`);
  }
  const [epoch, shardsDone, offset, given] = ["epoch", "shardsDone", "offset", "given"].map((k) => position[k]);
  const isPosition = isCount(epoch) && isCount(shardsDone) && isCount(offset) && isCount(given) && shardsDone <= shards;
  const random = randomState(position.random);
  const items = spansOf(position.waiting, shards);
  if (!isPosition || random === undefined || items === undefined) {
    throw new ToklipError("RESUME_MISMATCH", `${name}: the position is damaged`);
  }
  return { epoch, shardsDone, offset, given, shuffle: { random, items } };
}

function randomState(value: unknown): RandomState | undefined {
  if (!Array.isArray(value) || value.length !== 4 || !value.every((word) => isCount(word) && word < 2 ** 32)) return;
  return { words: value as [number, number, number, number], spare: null };
}

function spansOf(value: unknown, shards: number): SampleSpan[] | undefined {
  if (!Array.isArray(value) || value.length % 3 !== 0 || !value.every(isCount)) return undefined;
  const spans: SampleSpan[] = [];
  for (let i = 0; i < value.length; i += 3) {
    const [shard, start, length] = value.slice(i, i + 3) as [number, number, number];
    if (shard >= shards || length === 0 || !isCount(start + length)) return undefined;
    spans.push({ shard, start, end: start + length });
  }
  return spans;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
