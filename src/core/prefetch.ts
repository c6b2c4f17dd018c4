/**
 * Bounded, ordered, asynchronous reading ahead: how decoding and preprocessing of the next pictures overlap with the
 * model's work on the present ones, while memory stays that of a fixed number of pictures.
 */
import { ToklipError } from "./errors.ts";

/** How far a map runs ahead. */
export interface MapOrderedOptions {
  /** Calls of `fn` that may run at one time. */
  readonly concurrency: number;
  /** Items that may be begun but not yet yielded, finished or not. At least, and by default, `concurrency`. */
  readonly ahead?: number;
}

/**
 * Yields `fn(item)` for each item, in the items' order. While the consumer is busy with a result, up to `ahead - 1`
 * following ones are prepared. It fills the whole window before it yields, so it suits sources that are fast beside `fn`.
 * The first rejection of `fn` is thrown at its place in the order. When the consumer stops early, nothing new begins and
 * the generator ends after what is running has settled.
 * @throws ARGUMENT_INVALID when `concurrency` is not a positive integer.
 */
export async function* mapOrdered<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  fn: (item: T) => Promise<R>,
  { concurrency, ahead = concurrency }: MapOrderedOptions,
): AsyncGenerator<R, void, undefined> {
  if (!Number.isInteger(concurrency) || concurrency < 1) {
    throw new ToklipError("ARGUMENT_INVALID", `mapOrdered: concurrency must be a positive integer, got ${concurrency}`);
  }
  const begin = limiter(concurrency);
  const begun: Promise<R>[] = [];
  let stopped = false;
  const run = (item: T): Promise<R> => {
    if (stopped) throw new ToklipError("ABORTED", "mapOrdered: the consumer stopped");
    return fn(item);
  };
  try {
    for await (const item of items) {
      const result = begin(() => run(item));
      result.catch(() => {}); // it is thrown when its turn comes; until then it is not "unhandled"
      begun.push(result);
      if (begun.length >= Math.max(ahead, concurrency)) yield await begun.shift()!;
    }
    while (begun.length > 0) yield await begun.shift()!;
  } finally {
    stopped = true;
    await Promise.allSettled(begun);
  }
}

/**
 * Yields the items of a generator, which works on the next `count` of them while the consumer is busy with one. When the
 * consumer stops early, the generator is told so after the items that it was asked for.
 */
export async function* readAhead<T>(items: AsyncGenerator<T>, count: number): AsyncGenerator<T, void, undefined> {
  const asked: Promise<IteratorResult<T>>[] = [];
  const ask = () => {
    const next = items.next();
    next.catch(() => {}); // it is thrown when its turn comes; until then it is not "unhandled"
    asked.push(next);
  };
  try {
    for (let i = 0; i < count; i++) ask();
    for (;;) {
      ask();
      const { done, value } = await asked.shift()!;
      if (done) return;
      yield value;
    }
  } finally {
    await items.return(undefined);
  }
}

/** Makes a function that runs tasks as they come, at most `limit` at one time, the others waiting in line. */
export function limiter(limit: number): <R>(task: () => Promise<R>) => Promise<R> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (task) => {
    if (running < limit) running++;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = waiting.shift();
      if (next)
        next(); // hands its place on, so `running` stays
      else running--;
    }
  };
}
