import { describe, expect, it } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import type { PassedRows } from "../../src/evaluation/index.ts";
import { codeOf } from "../files/value-or-error.ts";
import { featureOf, MemoryPass, type MemorySample, memoryData, WIDTH } from "./memory-data.ts";

const CLASSES = ["cat", "dog", "ant"];
const samples = (count: number): MemorySample[] =>
  Array.from({ length: count }, (_, i) => ({ key: `p${i}`, concept: CLASSES[i % 3]! }));

/** All rows: key, class, features. */
async function rowsOf(rows: PassedRows) {
  const all: [key: string, name: string | undefined, features: number[]][] = [];
  for await (const { features, keys, labels } of rows.blocks()) {
    for (const [i, key] of keys.entries()) {
      all.push([key, rows.classes[labels[i]!], [...features.subarray(i * WIDTH, (i + 1) * WIDTH)]]);
    }
  }
  return all;
}

const expected = (some: readonly MemorySample[]) => some.map(({ key, concept }) => [key, concept, featureOf(key)]);

describe("a pass", () => {
  it("gives every picture's features in the order of the data, as often as asked", async () => {
    const data = samples(1200); // more than two blocks
    const rows = await new MemoryPass().run(memoryData(data));
    expect([rows.size, rows.width, rows.classes]).toEqual([1200, WIDTH, ["ant", "cat", "dog"]]);
    expect(await rowsOf(rows)).toEqual(expected(data));
    expect(await rowsOf(rows)).toEqual(expected(data));
    expect(rows.data).toEqual({ name: "memory", used: 1200, skipped: [] });
    expect(rows.encoded).toBe(1200);
  });

  it("runs the model on batches of one size always, the last filled up", async () => {
    const pass = new MemoryPass();
    await pass.run(memoryData(samples(37)));
    expect(pass.batches).toEqual(new Array(10).fill(4));
  });

  it("counts what cannot be used by reason, and goes on without it", async () => {
    const data = samples(40);
    data[0] = { key: "p0", concept: "cat", fault: "no image" };
    data[7] = { ...data[7]!, fault: "undecodable" };
    data[39] = { ...data[39]!, fault: "undecodable" };
    const rows = await new MemoryPass().run(memoryData(data));
    expect(rows.data.used).toBe(37);
    expect(rows.data.skipped).toEqual([
      { reason: "no image", count: 1, example: "p0: names no picture" },
      { reason: "undecodable", count: 2, example: "p7: is no picture" },
    ]);
    expect(await rowsOf(rows)).toEqual(expected(data.filter(({ fault }) => fault === undefined)));
  });

  it("stops when too many cannot be used, and when none can", async () => {
    const bad = samples(5).map((sample) => ({ ...sample, fault: "undecodable" as const }));
    expect(await codeOf(() => new MemoryPass().run(memoryData(bad)))).toBe("DATA_EMPTY");
    expect(
      await codeOf(() => new MemoryPass().run(memoryData([...samples(5), ...bad]), { badLimit: { count: 3 } })),
    ).toBe("DATA_TOO_BAD");
  });

  it("takes the classes that are asked for, in their order, and says what it passes over", async () => {
    const data: MemorySample[] = [...samples(6), { key: "none" }, { key: "captioned", caption: "ant" }];
    const rows = await new MemoryPass().run(memoryData(data), { classes: ["dog", "ant"] });
    expect(rows.classes).toEqual(["dog", "ant"]);
    expect((await rowsOf(rows)).map(([key, name]) => [key, name])).toEqual([
      ["p1", "dog"],
      ["p2", "ant"],
      ["p4", "dog"],
      ["p5", "ant"],
      ["captioned", "ant"],
    ]);
    expect(rows.data.skipped).toEqual([
      { reason: "of another class", count: 2, example: "p0: is of class cat" },
      { reason: "no class", count: 1, example: "none: has no class" },
    ]);
  });

  it("keeps samples without a class where no classes are asked for", async () => {
    const rows = await new MemoryPass().run(memoryData([{ key: "a" }, { key: "b", concept: "x" }]));
    expect((await rowsOf(rows)).map(([key, name]) => [key, name])).toEqual([
      ["a", undefined],
      ["b", "x"],
    ]);
    const none = await new MemoryPass().run(memoryData(samples(3)), { labelOf: () => undefined });
    expect([none.classes, (await rowsOf(none)).map(([, name]) => name)]).toEqual([
      [],
      [undefined, undefined, undefined],
    ]);
  });

  it("reads names of classes with underscores as spaces", async () => {
    const rows = await new MemoryPass().run(memoryData([{ key: "a", concept: "hot dog" }]), { classes: ["hot_dog"] });
    expect((await rowsOf(rows))[0]![1]).toBe("hot_dog");
  });
});

describe("features that are kept", () => {
  it("are neither decoded nor made again, whatever part of the data is asked for", async () => {
    const first = new MemoryPass();
    await first.run(memoryData(samples(30)), { classes: ["dog"] });
    expect(first.decoded).toHaveLength(10);
    const second = new MemoryPass(first.storage);
    const rows = await second.run(memoryData(samples(30)), { session: "b" });
    expect([second.decoded.length, rows.encoded]).toEqual([20, 20]);
    expect(await rowsOf(rows)).toEqual(expected(samples(30)));
    const third = new MemoryPass(first.storage);
    expect((await third.run(memoryData(samples(30)), { session: "c" })).encoded).toBe(0);
    expect([third.decoded, third.batches]).toEqual([[], []]);
  });

  it("are those of the same model and the same pictures only", async () => {
    const first = new MemoryPass();
    await first.run(memoryData(samples(5)));
    const other = { identity: "other", session: "b" };
    expect((await new MemoryPass(first.storage).run(memoryData(samples(5)), other)).encoded).toBe(5);
    expect((await new MemoryPass(first.storage).run(memoryData(samples(5), "2"), { session: "c" })).encoded).toBe(5);
    const elsewhere = { scope: "elsewhere", session: "d" };
    expect((await new MemoryPass(first.storage).run(memoryData(samples(5)), elsewhere)).encoded).toBe(5);
  });

  it("of a pass that was stopped are used by the next, which gives what a whole one gives", async () => {
    const first = new MemoryPass();
    const stop = new AbortController();
    const stopped = first.run(memoryData(samples(200)), {
      signal: stop.signal,
      encode: async (pixels) => {
        if (first.batches.length === 20) stop.abort();
        return first.encode(pixels);
      },
    });
    expect(await codeOf(() => stopped)).toBe("ABORTED");
    const next = new MemoryPass(first.storage);
    const rows = await next.run(memoryData(samples(200)), { session: "b" });
    expect(rows.encoded).toBeGreaterThanOrEqual(200 - 21 * 4);
    expect(rows.encoded).toBeLessThanOrEqual(200 - 20 * 4);
    expect(await rowsOf(rows)).toEqual(expected(samples(200)));
  });

  it("may be lost to a full disk: the pass goes on and says so once", async () => {
    const pass = new MemoryPass();
    pass.storage.beforeChange = () => {
      throw new ToklipError("FILE_WRITE_FAILED", "no room");
    };
    const rows = await pass.run(memoryData(samples(20)));
    expect(await rowsOf(rows)).toEqual(expected(samples(20)));
    expect(pass.warnings).toHaveLength(1);
  });
});

describe("views", () => {
  it("are of the samples that are asked for, without those that cannot be decoded", async () => {
    const data: MemorySample[] = [...samples(5), { key: "bad", fault: "undecodable" }];
    const pass = new MemoryPass();
    const views = await pass.views(memoryData(data), new Set(["p3", "bad", "absent"]));
    expect([...views.keys()]).toEqual(["p3"]);
    expect([views.get("p3")!.width, views.get("p3")!.mode]).toEqual([2, "RGB"]);
    expect(pass.decoded).toEqual(["p3"]);
  });
});
