/** Pairs of tokens, the most frequent first; among equals the one with the smaller ids: a binary heap. */

/** Two tokens that stand side by side, and how often they did when it was put in. */
export interface QueuedPair {
  readonly left: number;
  readonly right: number;
  readonly count: number;
}

/** Gives the most frequent pair. A pair may be in it more than once; who takes it knows which count holds. */
export class MergeQueue {
  private readonly heap: QueuedPair[] = [];

  /** Puts a pair in. */
  push(pair: QueuedPair): void {
    const { heap } = this;
    let at = heap.push(pair) - 1;
    for (let parent = (at - 1) >> 1; at > 0 && isBefore(pair, heap[parent]!); parent = (at - 1) >> 1) {
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = pair;
  }

  /** Takes the first pair out; undefined when there is none. */
  pop(): QueuedPair | undefined {
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop();
    if (last !== undefined && heap.length > 0) this.sink(last);
    return first;
  }

  /** Puts a pair at the top and lets it sink to its place. */
  private sink(pair: QueuedPair): void {
    const { heap } = this;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, pair)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = pair;
  }
}

function isBefore(a: QueuedPair, b: QueuedPair): boolean {
  if (a.count !== b.count) return a.count > b.count;
  return a.left !== b.left ? a.left < b.left : a.right < b.right;
}
