/** How a codebook is used: how many of its codes are drawn at all, how evenly, and which most. */

/** Counts of codes. */
export class CodebookUse {
  private readonly counts: Float64Array;
  private drawn = 0;

  /** @param size codes of the codebook */
  constructor(size: number) {
    this.counts = new Float64Array(size);
  }

  /** Counts ids, each in [0, size). */
  add(ids: ArrayLike<number>): void {
    for (let i = 0; i < ids.length; i++) this.counts[ids[i]!]!++;
    this.drawn += ids.length;
  }

  /** Ids that were counted. */
  get total(): number {
    return this.drawn;
  }

  /** Codes that were drawn at least once. */
  get used(): number {
    return this.counts.reduce((sum, count) => sum + (count > 0 ? 1 : 0), 0);
  }

  /** The entropy of the codes' shares in bits, at most log2 of the size; null where none was drawn. */
  get entropy(): number | null {
    if (this.drawn === 0) return null;
    let entropy = 0;
    for (const count of this.counts) if (count > 0) entropy -= (count / this.drawn) * Math.log2(count / this.drawn);
    return entropy + 0; // not -0
  }

  /** The codes that were drawn most, the most frequent first; of equal ones the lower. */
  top(most: number): { readonly code: number; readonly count: number }[] {
    const all = Array.from(this.counts, (count, code) => ({ code, count })).filter(({ count }) => count > 0);
    return all.sort((a, b) => b.count - a.count || a.code - b.code).slice(0, most);
  }
}
