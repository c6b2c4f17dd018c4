/**
 * A shuffle of a stream: what comes waits among others, and which of them goes on is drawn. It holds small things, such
 * as places, so that its state can be kept in a checkpoint.
 */
import { Random, type RandomState } from "../core/index.ts";

/** All that decides what a shuffle buffer gives next. */
export interface ShuffleState<T> {
  readonly random: RandomState;
  readonly items: readonly T[];
}

/** Things in waiting. A capacity of 1 keeps the order. */
export class ShuffleBuffer<T> {
  private readonly capacity: number;
  private readonly random: Random;
  private readonly items: T[];

  /** @param capacity how many things wait before one goes on, at least 1 */
  constructor(capacity: number, { random, items }: ShuffleState<T>) {
    this.capacity = capacity;
    this.random = new Random(random);
    this.items = [...items];
  }

  get isEmpty(): boolean {
    return this.items.length === 0;
  }

  get isFull(): boolean {
    return this.items.length >= this.capacity;
  }

  /** A copy: what comes later does not change it. */
  get state(): ShuffleState<T> {
    return { random: this.random.state, items: this.items.slice() };
  }

  /** Takes in an item. */
  push(item: T): void {
    this.items.push(item);
  }

  /** Draws one that waits; there must be one. */
  draw(): T {
    const i = this.random.integer(this.items.length);
    const last = this.items.pop()!;
    if (i === this.items.length) return last;
    const drawn = this.items[i]!;
    this.items[i] = last;
    return drawn;
  }
}
