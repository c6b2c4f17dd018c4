import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DataPosition } from "../../src/data/dataset.ts";
import { type BlockLayout, epochOrder, mixSeed } from "../../src/data/epoch-order.ts";
import { indexedDataset, type SampleList } from "../../src/data/indexed-dataset.ts";
import { nearestName } from "../../src/data/nearest-name.ts";
import { codeOf } from "../files/value-or-error.ts";
import { keyOf, stored, take } from "./memory-data-files.ts";

function numbers(size: number, layout?: BlockLayout, isBad = (_: number) => false): SampleList {
  return {
    name: "numbers",
    size,
    ...(layout && { layout }),
    entry: async (i) =>
      isBad(i)
        ? { bad: { key: `${i}`, reason: "odd", message: `${i} is odd` } }
        : { sample: { key: `${i}`, captions: [], image: async () => Uint8Array.of(i) } },
  };
}

const layouts = fc.record({
  blocks: fc.array(fc.record({ rows: fc.integer({ min: 1, max: 9 }), bytes: fc.integer({ min: 0, max: 50 }) }), {
    minLength: 1,
    maxLength: 12,
  }),
  windowBlocks: fc.integer({ min: 1, max: 5 }),
  windowBytes: fc.integer({ min: 0, max: 120 }),
});
const rowsOf = (layout: BlockLayout) => layout.blocks.reduce((sum, { rows }) => sum + rows, 0);
const ascending = (size: number) => Array.from({ length: size }, (_, i) => i);

describe("an epoch's order", () => {
  test("has each index once, whatever the blocks", () => {
    fc.assert(
      fc.property(layouts, fc.nat(), fc.nat(9), (layout, seed, epoch) => {
        const order = [...epochOrder(layout, { seed, epoch, shuffle: true })];
        expect(order.toSorted((a, b) => a - b)).toEqual(ascending(rowsOf(layout)));
      }),
    );
  });

  test("entered anywhere goes on as it would have", () => {
    fc.assert(
      fc.property(layouts, fc.nat(), fc.nat(80), fc.boolean(), (layout, seed, from, shuffle) => {
        const whole = [...epochOrder(layout, { seed, epoch: 3, shuffle })];
        expect([...epochOrder(layout, { seed, epoch: 3, shuffle, from })]).toEqual(whole.slice(from));
      }),
    );
  });

  test("is the stored one without shuffling", () => {
    fc.assert(
      fc.property(layouts, (layout) => {
        expect([...epochOrder(layout, { seed: 1, epoch: 2, shuffle: false })]).toEqual(ascending(rowsOf(layout)));
      }),
    );
  });

  test("goes through one window of blocks after the other, each within its limits", () => {
    fc.assert(
      fc.property(layouts, fc.nat(), (layout, seed) => {
        const blockOf = layout.blocks.flatMap(({ rows }, block) => Array.from({ length: rows }, () => block));
        const seen = [...epochOrder(layout, { seed, epoch: 0, shuffle: true })].map((i) => blockOf[i]!);
        // Between the first and the last row of a block, at most the other blocks of its window come.
        for (const block of new Set(seen)) {
          const between = new Set(seen.slice(seen.indexOf(block), seen.lastIndexOf(block) + 1));
          expect(between.size).toBeLessThanOrEqual(layout.windowBlocks);
          const bytes = [...between].reduce((sum, b) => sum + layout.blocks[b]!.bytes, 0);
          if (between.size > 1) expect(bytes).toBeLessThanOrEqual(layout.windowBytes);
        }
      }),
    );
  });

  test("is another in each epoch and under each seed", () => {
    const layout = { blocks: [{ rows: 100, bytes: 0 }], windowBlocks: 1, windowBytes: 0 };
    const orders = [0, 1, 2].flatMap((seed) =>
      [0, 1, 2].map((epoch) => [...epochOrder(layout, { seed, epoch, shuffle: true })].join()),
    );
    expect(new Set(orders).size).toBe(9);
  });

  test("seeds that are mixed of other numbers differ", () => {
    const seeds = ascending(60).flatMap((a) => ascending(60).map((b) => mixSeed(a, b)));
    expect(new Set(seeds).size).toBe(3600);
  });
});

describe("a data set of numbered samples", () => {
  test("continues exactly after any number of samples, over the ends of epochs", async () => {
    await fc.assert(
      fc.asyncProperty(layouts, fc.nat(), fc.nat(60), fc.boolean(), async (layout, seed, cut, shuffle) => {
        const dataset = indexedDataset(numbers(rowsOf(layout), layout));
        const whole = await take(dataset, { seed, shuffle, epochs: 3 });
        const head = await take(dataset, { seed, shuffle, epochs: 3 }, cut);
        const from = head.length === 0 ? undefined : stored(head.at(-1)!.position);
        const tail = await take(dataset, { seed, shuffle, epochs: 3, from });
        expect([...head, ...tail].map(keyOf)).toEqual(whole.map(keyOf));
        expect([...head, ...tail].map(({ position }) => position)).toEqual(whole.map(({ position }) => position));
      }),
      { numRuns: 50 },
    );
  });

  test("counts epochs from the first, not from where it goes on", async () => {
    const dataset = indexedDataset(numbers(4));
    expect(await take(dataset, { seed: 0, epochs: 2 })).toHaveLength(8);
    expect(await take(dataset, { seed: 0, epochs: 2, from: { epoch: 1, index: 1, size: 4 } })).toHaveLength(3);
    expect(await take(dataset, { seed: 0, epochs: 2, from: { epoch: 2, index: 0, size: 4 } })).toHaveLength(0);
  });

  test("goes on without end where no epochs are given", async () => {
    expect(await take(indexedDataset(numbers(3)), { seed: 0 }, 100)).toHaveLength(100);
  });

  test("gives bad samples their place and their reason", async () => {
    const items = await take(indexedDataset(numbers(4, undefined, (i) => i % 2 === 1)), {
      seed: 0,
      shuffle: false,
      epochs: 1,
    });
    expect(items.map(keyOf)).toEqual(["0", "bad 1", "2", "bad 3"]);
    expect(items[1]!.bad).toEqual({ key: "1", reason: "odd", message: "1 is odd" });
  });

  test("without samples, or without a good one, is an error and no endless wait", async () => {
    expect(await codeOf(() => take(indexedDataset(numbers(0)), { seed: 0 }))).toBe("DATA_EMPTY");
    const bad = indexedDataset(numbers(5, undefined, () => true));
    expect(await codeOf(() => take(bad, { seed: 0 }))).toBe("DATA_EMPTY");
    expect(await take(bad, { seed: 0 }, 5)).toHaveLength(5);
  });

  test.each<[string, DataPosition]>([
    ["of larger data", { epoch: 0, index: 2, size: 9 }],
    ["of smaller data", { epoch: 0, index: 2, size: 3 }],
    ["without a size", { epoch: 0, index: 2 }],
    ["behind the last sample", { epoch: 0, index: 4, size: 4 }],
    ["before the first sample", { epoch: 0, index: -1, size: 4 }],
    ["between samples", { epoch: 0, index: 1.5, size: 4 }],
    ["in no epoch", { epoch: -1, index: 0, size: 4 }],
    ["of another kind of data", { epoch: 0, shard: 3 }],
  ])("refuses a position %s", async (_, from) => {
    expect(await codeOf(() => take(indexedDataset(numbers(4)), { seed: 0, from }))).toBe("RESUME_MISMATCH");
  });

  test("stops when it is told to", async () => {
    const stop = new AbortController();
    const items = indexedDataset(numbers(4)).read({ seed: 0, signal: stop.signal })[Symbol.asyncIterator]();
    await items.next();
    stop.abort();
    expect(await codeOf(() => items.next())).toBe("ABORTED");
  });
});

describe("the nearest name", () => {
  test.each([
    ["filpath", "filepath"],
    ["Title", "title"],
    ["captoin", "caption"],
    ["xyz", undefined],
  ])("to %s is %s", (name, nearest) => {
    expect(nearestName(name, ["filepath", "title", "caption"])).toBe(nearest);
  });
});
