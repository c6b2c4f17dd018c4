/**
 * The order of an epoch: a permutation that (seed, epoch) decides, entered at any place.
 *
 * Where samples are cheap to reach one by one, it is a permutation of them all. Where they lie in blocks that must be read
 * whole (the row groups of Parquet), it is a block shuffle: the blocks are permuted, some of them at a time make a window,
 * and the rows of a window are permuted. A reader that holds one window then reads each block once an epoch.
 */
import { Random } from "../core/index.ts";

/** Samples that lie together. */
export interface Block {
  readonly rows: number;
  /** The memory that it takes while it is held. */
  readonly bytes: number;
}

/** How samples lie in blocks, and how many of these are shuffled at a time. */
export interface BlockLayout {
  /** In stored order; their rows add up to the number of samples. */
  readonly blocks: readonly Block[];
  /** The most blocks of a window, at least 1. */
  readonly windowBlocks: number;
  /** The most bytes of a window of more than one block. */
  readonly windowBytes: number;
}

/** Which order. */
export interface OrderOptions {
  readonly seed: number;
  readonly epoch: number;
  readonly shuffle: boolean;
  /** How many samples of the epoch are passed over. Default 0. */
  readonly from?: number;
}

/** Yields the indices of one epoch from a place in it on. Each index comes once an epoch. */
export function* epochOrder(layout: BlockLayout, options: OrderOptions): Generator<number, void, undefined> {
  const { seed, epoch, shuffle, from = 0 } = options;
  const starts = blockStarts(layout.blocks);
  const order = shuffle ? new Random(mixSeed(seed, epoch)).permutation(layout.blocks.length) : layout.blocks.keys();
  let passed = 0;
  let window = 0;
  for (const members of windows(layout, order)) {
    window++;
    const rows = members.reduce((sum, block) => sum + layout.blocks[block]!.rows, 0);
    if (passed + rows > from) {
      const rowOrder = shuffle ? new Random(mixSeed(seed, epoch, window)).permutation(rows) : undefined;
      const locate = rowFinder(layout.blocks, members, starts);
      for (let i = Math.max(0, from - passed); i < rows; i++) yield locate(rowOrder === undefined ? i : rowOrder[i]!);
    }
    passed += rows;
  }
}

/** A seed made of several numbers: other numbers, or another order of them, give another. */
export function mixSeed(...parts: readonly number[]): number {
  return parts.reduce((state, part) => new Random((Math.imul(state, 31) + part + 1) >>> 0).uint32(), 0);
}

/** The index of each block's first row. */
export function blockStarts(blocks: readonly Block[]): Float64Array {
  const starts = new Float64Array(blocks.length);
  for (let i = 1; i < blocks.length; i++) starts[i] = starts[i - 1]! + blocks[i - 1]!.rows;
  return starts;
}

/** Blocks in order, so many at a time as a window may hold. */
function* windows({ blocks, windowBlocks, windowBytes }: BlockLayout, order: Iterable<number>): Generator<number[]> {
  let members: number[] = [];
  let bytes = 0;
  for (const block of order) {
    const more = blocks[block]!.bytes;
    if (members.length > 0 && (members.length >= windowBlocks || bytes + more > windowBytes)) {
      yield members;
      members = [];
      bytes = 0;
    }
    members.push(block);
    bytes += more;
  }
  if (members.length > 0) yield members;
}

/** From a row of a window to its index. */
function rowFinder(blocks: readonly Block[], members: readonly number[], starts: Float64Array) {
  return (row: number): number => {
    let left = row;
    for (const block of members) {
      if (left < blocks[block]!.rows) return starts[block]! + left;
      left -= blocks[block]!.rows;
    }
    return left; // not reached: rows are counted from the same blocks
  };
}
