/**
 * At what rank a picture's captions, and a caption's picture, are found among all: what recall at k counts.
 *
 * A picture is found by any of its captions: the best of them counts. A caption is to find its own picture. Other candidates
 * of exactly the same score, such as the same words below another picture, are neither before nor behind it: `recallAt`
 * gives the share of hits that is expected when ties are broken at random, which needs no random numbers and does not
 * depend on the order of the data.
 *
 * The reference (see `referenceRecallAt`) sorts, so that ties fall as the sort leaves them.
 */
import type { LongCallOptions } from "../core/index.ts";
import type { FeatureRows } from "./feature-rows.ts";
import { type InnerProducts, type PairBlock, pairProducts } from "./pair-products.ts";

/** Which caption belongs to which picture. Each distinct text is one row, so that equal texts have equal scores. */
export interface CaptionIndex {
  /** The row of each caption's picture. */
  readonly pictures: Int32Array;
  /** The row of each caption's text. */
  readonly texts: Int32Array;
  /** The kind of each caption, an index into `groupNames`; -1 where it has none. */
  readonly groups: Int32Array;
  readonly groupNames: readonly string[];
}

/** For each query, how many candidates stand where its best right one stands. */
export interface Ranks {
  /** Wrong candidates of a higher score. */
  readonly better: Uint32Array;
  /** Wrong candidates of exactly its score. */
  readonly tied: Uint32Array;
  /** Right candidates of that score; 0 for what is no query, a picture without captions. */
  readonly right: Uint32Array;
}

/** Everything that recall is computed from. */
export interface RetrievalRanks {
  /** Each picture among the captions of one kind; the first is all captions, then those of each group. */
  readonly imageToText: readonly Ranks[];
  /** Each caption among all pictures. */
  readonly textToImage: Ranks;
  /** The row of the text that fits each picture best, the first on ties. */
  readonly firstText: Int32Array;
  /** The row of the picture that fits each caption best, the first on ties. */
  readonly firstPicture: Int32Array;
}

const BLOCK_ROWS = [1024, 4096] as const;

/**
 * Ranks all captions for all pictures and the reverse.
 * @throws SHAPE_MISMATCH, DATA_INVALID for features that are no numbers, ABORTED
 */
export async function rankCaptions(
  pictures: FeatureRows,
  texts: FeatureRows,
  captions: CaptionIndex,
  options: LongCallOptions & { readonly products: InnerProducts },
): Promise<RetrievalRanks> {
  const ranking = new Ranking(pictures.size, texts.size, captions);
  const pairs = { products: options.products, signal: options.signal, blockRows: BLOCK_ROWS };
  // The right pairs' scores are needed before anything can be counted; they lie in few blocks, made a second time below.
  const wanted = ranking.rightBlocks();
  for await (const pair of pairProducts(pictures, texts, { ...pairs, wanted })) ranking.takeRight(pair);
  ranking.findBest();
  for await (const pair of pairProducts(pictures, texts, { ...pairs, onProgress: options.onProgress })) {
    ranking.count(pair);
  }
  return ranking;
}

function emptyRanks(size: number): Ranks {
  return { better: new Uint32Array(size), tied: new Uint32Array(size), right: new Uint32Array(size) };
}

class Ranking implements RetrievalRanks {
  readonly imageToText: readonly Ranks[];
  readonly textToImage: Ranks;
  readonly firstText: Int32Array;
  readonly firstPicture: Int32Array;
  private readonly captions: CaptionIndex;
  /** Captions in the order of their texts; those of text t are at `textStart[t]` up to `textStart[t + 1]`. */
  private readonly byText: Int32Array;
  private readonly textStart: Int32Array;
  /** The score of each caption with its picture. */
  private readonly right: Float32Array;
  /** For each gallery, the best score of each picture's own captions. */
  private readonly best: readonly Float32Array[];
  private readonly firstTextScore: Float32Array;
  private readonly firstPictureScore: Float32Array;

  constructor(pictures: number, texts: number, captions: CaptionIndex) {
    const count = captions.pictures.length;
    const galleries = [undefined, ...captions.groupNames];
    this.captions = captions;
    this.imageToText = galleries.map(() => emptyRanks(pictures));
    this.textToImage = emptyRanks(count);
    this.firstText = new Int32Array(pictures).fill(-1);
    this.firstPicture = new Int32Array(count).fill(-1);
    this.right = new Float32Array(count);
    this.best = galleries.map(() => new Float32Array(pictures).fill(Number.NEGATIVE_INFINITY));
    this.firstTextScore = new Float32Array(pictures).fill(Number.NEGATIVE_INFINITY);
    this.firstPictureScore = new Float32Array(count).fill(Number.NEGATIVE_INFINITY);
    this.byText = Int32Array.from(captions.texts.keys()).sort((i, j) => captions.texts[i]! - captions.texts[j]!);
    this.textStart = new Int32Array(texts + 1);
    for (const text of captions.texts) this.textStart[text + 1]!++;
    for (let t = 0; t < texts; t++) this.textStart[t + 1]! += this.textStart[t]!;
  }

  /** Tells the blocks that hold a caption with its own picture. */
  rightBlocks(): (a: { readonly start: number }, b: { readonly start: number }) => boolean {
    const [sizeA, sizeB] = BLOCK_ROWS;
    const name = (picture: number, text: number) => `${Math.floor(picture / sizeA)} ${Math.floor(text / sizeB)}`;
    const { pictures, texts } = this.captions;
    const names = new Set(Array.from(pictures, (picture, c) => name(picture, texts[c]!)));
    return (a, b) => names.has(name(a.start, b.start));
  }

  /** Keeps the scores of captions with their own pictures. */
  takeRight({ a, b, scores, stride }: PairBlock): void {
    const { pictures, texts } = this.captions;
    for (const caption of this.captionsOf(b)) {
      const row = pictures[caption]! - a.start;
      if (row >= 0 && row < a.count) this.right[caption] = scores[row * stride + texts[caption]! - b.start]!;
    }
  }

  /** Finds each picture's best caption, in all and in each group. */
  findBest(): void {
    const { pictures } = this.captions;
    this.textToImage.right.fill(1);
    for (const [caption, picture] of pictures.entries()) {
      for (const gallery of this.galleriesOf(caption)) {
        const [score, best, { right }] = [this.right[caption]!, this.best[gallery]!, this.imageToText[gallery]!];
        if (score > best[picture]!) [best[picture], right[picture]] = [score, 0];
        if (score === best[picture]!) right[picture]!++;
      }
    }
  }

  /** Counts what stands before, and beside, the right ones. */
  count({ a, b, scores, stride }: PairBlock): void {
    const { pictures, texts, groups } = this.captions;
    const captions = this.captionsOf(b);
    for (let row = 0; row < a.count; row++) {
      const picture = a.start + row;
      const offset = row * stride - b.start;
      for (const caption of captions) {
        const text = texts[caption]!;
        const score = scores[offset + text]!;
        this.noteFirst(picture, caption, text, score);
        if (pictures[caption] === picture) continue; // right, and so never before the best of the right ones
        compare(this.textToImage, caption, score, this.right[caption]!);
        compare(this.imageToText[0]!, picture, score, this.best[0]![picture]!);
        const gallery = groups[caption]! + 1;
        if (gallery > 0) compare(this.imageToText[gallery]!, picture, score, this.best[gallery]![picture]!);
      }
    }
  }

  private noteFirst(picture: number, caption: number, text: number, score: number): void {
    if (score > this.firstTextScore[picture]!) {
      this.firstTextScore[picture] = score;
      this.firstText[picture] = text;
    }
    if (score > this.firstPictureScore[caption]!) {
      this.firstPictureScore[caption] = score;
      this.firstPicture[caption] = picture;
    }
  }

  private captionsOf({ start, count }: { readonly start: number; readonly count: number }): Int32Array {
    return this.byText.subarray(this.textStart[start], this.textStart[start + count]);
  }

  private galleriesOf(caption: number): readonly number[] {
    const group = this.captions.groups[caption]!;
    return group < 0 ? [0] : [0, group + 1];
  }
}

function compare(ranks: Ranks, query: number, score: number, right: number): void {
  if (score > right) ranks.better[query]!++;
  else if (score === right) ranks.tied[query]!++;
}

/** Which of the ranks are asked about; all queries where absent. */
export type QueryFilter = (query: number) => boolean;

/** The numbers of the queries: what has a right candidate, and passes the filter. */
function queriesOf({ right }: Ranks, filter: QueryFilter = () => true): number[] {
  return Array.from(right.keys()).filter((query) => right[query]! > 0 && filter(query));
}

/** A mean and what it is over. */
export interface Share {
  /** Null where nothing was seen. */
  readonly value: number | null;
  readonly count: number;
}

/**
 * The share of queries that have a right candidate among the first k.
 * @param candidates how many there are; with fewer than k, recall at k says nothing and is null
 */
export function recallAt(ranks: Ranks, k: number, candidates: number, filter?: QueryFilter): Share {
  const queries = queriesOf(ranks, filter);
  if (queries.length === 0 || candidates < k) return { value: null, count: queries.length };
  const hits = queries.reduce((sum, query) => sum + hitAt(ranks, query, k), 0);
  return { value: hits / queries.length, count: queries.length };
}

/** How likely one of the right candidates is among the first k: 1 - C(tied, places) / C(tied + right, places). */
function hitAt({ better, tied, right }: Ranks, query: number, k: number): number {
  const places = k - better[query]!;
  if (places <= 0) return 0;
  if (places > tied[query]!) return 1;
  let missed = 1;
  for (let i = 0; i < places; i++) missed *= (tied[query]! - i) / (tied[query]! + right[query]! - i);
  return 1 - missed;
}

/** The median of the expected rank of the first right candidate, from 1. */
export function medianRank(ranks: Ranks, filter?: QueryFilter): Share {
  const { better, tied, right } = ranks;
  const queries = queriesOf(ranks, filter);
  // Of `tied` wrong ones in random order with `right` right ones, tied / (right + 1) come before the first right one.
  const sorted = Float64Array.from(queries, (q) => better[q]! + 1 + tied[q]! / (right[q]! + 1)).sort();
  const middle = sorted.length >> 1;
  const lower = sorted[sorted.length % 2 === 0 ? middle - 1 : middle];
  return { value: lower === undefined ? null : (lower + sorted[middle]!) / 2, count: queries.length };
}

/**
 * Text-to-image recall at k as the reference counts it: it counts numbers below k in a list that holds, beside the rank
 * of each caption that was a hit, this caption's own number. So a hit among the first k captions counts twice, and the
 * share is too large by up to k / captions.
 */
export function referenceRecallAt(ranks: Ranks, k: number, candidates: number): Share {
  const { value, count } = recallAt(ranks, k, candidates);
  if (value === null) return { value, count };
  const first = queriesOf(ranks).slice(0, k);
  return { value: value + first.reduce((sum, query) => sum + hitAt(ranks, query, k), 0) / count, count };
}
