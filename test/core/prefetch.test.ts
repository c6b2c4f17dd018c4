import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mapOrdered, readAhead } from "../../src/core/prefetch.ts";
import { batches } from "../../src/pipelines/batches.ts";

const tick = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function gather<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe("mapOrdered", () => {
  it("keeps the order whatever the delays, and never runs or holds more than it may", async () => {
    const delays = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 25 });
    const bound = fc.integer({ min: 1, max: 6 });
    await fc.assert(
      fc.asyncProperty(delays, bound, bound, async (items, concurrency, extra) => {
        let running = 0;
        let begun = 0;
        let taken = 0;
        const ahead = concurrency + extra;
        const fn = async (delay: number): Promise<number> => {
          expect(++running).toBeLessThanOrEqual(concurrency);
          begun++;
          await tick(delay);
          running--;
          return delay * 2;
        };
        const results: number[] = [];
        for await (const value of mapOrdered(items, fn, { concurrency, ahead })) {
          results.push(value);
          taken++;
          await tick();
          expect(begun - taken).toBeLessThan(ahead);
        }
        expect(results).toEqual(items.map((delay) => delay * 2));
      }),
      { numRuns: 25 },
    );
  });

  it("works on following items while the consumer is busy", async () => {
    const done: number[] = [];
    const fn = async (i: number): Promise<number> => {
      done.push(i);
      return i;
    };
    const results = mapOrdered([0, 1, 2, 3, 4, 5], fn, { concurrency: 1, ahead: 4 });
    await results.next();
    await tick(5);
    expect(done).toEqual([0, 1, 2, 3]);
    await results.return();
  });

  it("throws a rejection at its place, after the results before it", async () => {
    const fn = async (i: number): Promise<number> => {
      if (i === 2) throw new Error("two");
      await tick(3);
      return i;
    };
    const seen: number[] = [];
    const run = async (): Promise<void> => {
      for await (const i of mapOrdered([0, 1, 2, 3], fn, { concurrency: 4 })) seen.push(i);
    };
    await expect(run()).rejects.toThrow("two");
    expect(seen).toEqual([0, 1]);
  });

  it("begins nothing new after the consumer stopped, and leaves nothing running", async () => {
    let begun = 0;
    let running = 0;
    const fn = async (i: number): Promise<number> => {
      begun++;
      running++;
      await tick(2);
      running--;
      return i;
    };
    for await (const i of mapOrdered(
      Array.from({ length: 50 }, (_, n) => n),
      fn,
      { concurrency: 2, ahead: 20 },
    )) {
      if (i === 1) break;
    }
    expect(running).toBe(0);
    expect(begun).toBeLessThanOrEqual(4);
    await tick(10);
    expect(begun).toBeLessThanOrEqual(4);
  });

  it("refuses a concurrency that is not a positive integer", async () => {
    const run = gather(mapOrdered([1], async (i) => i, { concurrency: 0 }));
    await expect(run).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
  });
});

describe("batches", () => {
  it("gives all items in order, in full groups but for the last", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer(), { maxLength: 40 }),
        fc.integer({ min: 1, max: 9 }),
        async (items, size) => {
          const groups = await gather(batches(items, size));
          expect(groups.flat()).toEqual(items);
          expect(groups.slice(0, -1).every((group) => group.length === size)).toBe(true);
          expect(groups.every((group) => group.length > 0 && group.length <= size)).toBe(true);
        },
      ),
    );
  });

  it("refuses a size below one", async () => {
    await expect(gather(batches([1], 0))).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
  });
});

describe("readAhead", () => {
  /** Counts up, each number taking a tick, and notes how far it came and that it was ended. */
  function counter(length: number) {
    const state = { made: 0, ended: false };
    async function* numbers() {
      try {
        for (let i = 0; i < length; i++) {
          await tick();
          state.made++;
          yield i;
        }
      } finally {
        state.ended = true;
      }
    }
    return { state, numbers: numbers() };
  }

  it("gives all items in order, however far it reads ahead", async () => {
    for (const count of [0, 1, 3, 20]) {
      expect(await gather(readAhead(counter(7).numbers, count))).toEqual([0, 1, 2, 3, 4, 5, 6]);
    }
  });

  it("works on as many items as it may while the consumer is busy", async () => {
    const { state, numbers } = counter(50);
    const ahead = readAhead(numbers, 3);
    await ahead.next();
    await tick(40);
    expect(state.made).toBe(4);
    await ahead.return();
    expect(state.ended).toBe(true);
  });

  it("throws an error at its place, and ends", async () => {
    async function* failing() {
      yield 1;
      throw new Error("no more");
    }
    const ahead = readAhead(failing(), 4);
    expect(await ahead.next()).toEqual({ done: false, value: 1 });
    await tick(5);
    await expect(ahead.next()).rejects.toThrow("no more");
    expect((await ahead.next()).done).toBe(true);
  });
});
