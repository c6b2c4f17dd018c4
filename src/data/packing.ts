/**
 * Sequences for next-token prediction, several in one row: attention stays inside of each (`segments`), and no position is
 * spent on padding but at the ends of rows. Each sequence goes into the first row that has room for it, in the order in
 * which they come, so that the rows are a function of the sequences alone.
 *
 * A sequence of T ids takes T - 1 positions: position t reads id t and its target is id t + 1. Positions behind the last
 * target would be computed for nothing and are left out.
 *
 * Dim letters: B rows, L positions of a row, T ids of a sequence.
 */
import { type NDArray, ndarray, ToklipError } from "../core/index.ts";

/** What stands where there is no target, and no kind of loss. */
export const NO_TARGET = -1;

/** Ids in order, and which of them are to be predicted. */
export interface TokenSequence {
  /** i32 (T). */
  readonly ids: Int32Array;
  /** i32 (T): the number of the loss that the prediction of each id belongs to, -1 for ids that are only read. */
  readonly kinds: Int32Array;
}

/** A sequence in its place. */
export interface PlacedSequence<S extends TokenSequence = TokenSequence> {
  readonly sequence: S;
  readonly row: number;
  /** The position in the row of its first id. */
  readonly start: number;
}

/** Rows as a transformer takes them, each i32 (B, L). */
export interface PackedRows {
  /** 0 where there is no sequence. */
  readonly ids: NDArray<"i32">;
  /** The sequence of each position, counted from 1 in its row; 0 where there is none. */
  readonly segments: NDArray<"i32">;
  /** The place of each position in its sequence, from 0. */
  readonly positions: NDArray<"i32">;
  /** The id to predict at each position, -1 where there is none. */
  readonly targets: NDArray<"i32">;
  /** The number of the loss that each target belongs to, -1 where there is none. */
  readonly kinds: NDArray<"i32">;
}

/** The positions that a sequence takes: those up to its last target. */
export function packedLength({ kinds }: TokenSequence): number {
  return Math.max(
    0,
    kinds.findLastIndex((kind) => kind !== NO_TARGET),
  );
}

/** B rows that fill up with sequences. */
export class RowPacker<S extends TokenSequence> {
  /** What has been placed, in the order in which it came. */
  readonly placed: PlacedSequence<S>[] = [];
  private readonly length: number;
  private readonly used: number[];

  constructor({ rows, length }: { readonly rows: number; readonly length: number }) {
    this.length = length;
    this.used = new Array<number>(rows).fill(0);
  }

  /**
   * Places a sequence; false where no row has room for it.
   * @throws ARGUMENT_INVALID for one that no empty row could hold, or that has no target
   */
  add(sequence: S): boolean {
    const length = packedLength(sequence);
    if (length === 0 || length > this.length) {
      throw new ToklipError("ARGUMENT_INVALID", `a sequence of ${length} positions in rows of ${this.length}`);
    }
    const row = this.used.findIndex((used) => used + length <= this.length);
    if (row < 0) return false;
    this.placed.push({ sequence, row, start: this.used[row]! });
    this.used[row]! += length;
    return true;
  }
}

/** Writes placed sequences into B rows from row `first` of those that were packed. */
export function packedRows(
  placed: readonly PlacedSequence[],
  { first = 0, rows, length }: { readonly first?: number; readonly rows: number; readonly length: number },
): PackedRows {
  const array = (fill: number) => {
    const made = ndarray("i32", [rows, length]);
    made.data.fill(fill);
    return made;
  };
  const made = {
    ids: array(0),
    segments: array(0),
    positions: array(0),
    targets: array(NO_TARGET),
    kinds: array(NO_TARGET),
  };
  const segments = new Int32Array(rows);
  for (const { sequence, row, start } of placed) {
    if (row < first || row >= first + rows) continue;
    const begin = (row - first) * length + start;
    const segment = ++segments[row - first]!;
    for (let t = 0; t < packedLength(sequence); t++) {
      made.ids.data[begin + t] = sequence.ids[t]!;
      made.segments.data[begin + t] = segment;
      made.positions.data[begin + t] = t;
      if (sequence.kinds[t + 1] === NO_TARGET) continue;
      made.targets.data[begin + t] = sequence.ids[t + 1]!;
      made.kinds.data[begin + t] = sequence.kinds[t + 1]!;
    }
  }
  return made;
}
