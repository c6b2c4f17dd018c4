// A table of rows on disk: what was put in comes out or is absent, whatever happened to its files.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { RowTable } from "../../src/data/row-table.ts";
import { fillUp, MemoryStorage } from "../train/memory-storage.ts";

const ROW = 12;

const keyOf = (name: number) => Uint8Array.from({ length: 16 }, (_, i) => (name * 37 + i * 11) & 255);
const rowOf = (name: number) => Uint8Array.from({ length: ROW }, (_, i) => (name * 5 + i) & 255);
const rowsOf = (names: readonly number[]) => names.map((name) => ({ key: keyOf(name), row: rowOf(name) }));

async function open(storage: MemoryStorage, session: string, warn: (message: string) => void = () => {}) {
  return RowTable.open({ storage, folder: "t", rowBytes: ROW, session, about: "{}", warn });
}

/** A storage that a session has left rows 0 to `count - 1` in, in two calls. */
async function filled(count: number, session = "a"): Promise<MemoryStorage> {
  const storage = new MemoryStorage();
  const table = await open(storage, session);
  await table.append(rowsOf(Array.from({ length: count - 1 }, (_, i) => i)));
  await table.append(rowsOf([count - 1]));
  await table.close();
  return storage;
}

/** Which of the rows a new session finds. Each that it finds must be right. */
async function found(storage: MemoryStorage, count: number, session = "z"): Promise<number[]> {
  const table = await open(storage, session);
  const names: number[] = [];
  for (let name = 0; name < count; name++) {
    const row = await table.get(keyOf(name));
    if (row === undefined) continue;
    expect(row).toEqual(rowOf(name));
    names.push(name);
  }
  await table.close();
  return names;
}

describe("a table of rows", () => {
  test("gives back what was put in, in its own session and in others", async () => {
    const storage = new MemoryStorage();
    const [one, two] = [await open(storage, "1"), await open(storage, "2")];
    expect(await one.get(keyOf(0))).toBeUndefined();
    await one.append(rowsOf([0, 1, 1]));
    await two.append(rowsOf([2]));
    await one.append(rowsOf([0, 3]));
    expect(one.size).toBe(3);
    expect(await Promise.all([0, 1, 2, 3].map((name) => one.get(keyOf(name))))).toEqual([
      rowOf(0),
      rowOf(1),
      undefined,
      rowOf(3),
    ]);
    await Promise.all([one.close(), two.close()]);
    expect(await found(storage, 5)).toEqual([0, 1, 2, 3]);
    expect(await one.get(keyOf(0))).toBeUndefined();
  });

  test("writes nothing before its first row", async () => {
    const storage = new MemoryStorage();
    await (await open(storage, "a")).close();
    expect(storage.operations).toBe(0);
  });

  test("finds what another session adds meanwhile, after some misses", async () => {
    const storage = new MemoryStorage();
    const [one, two] = [await open(storage, "1"), await open(storage, "2")];
    await one.append(rowsOf([0]));
    await two.append(rowsOf([1])); // two has looked before
    for (let turn = 0; turn < 2; turn++) {
      await one.append(rowsOf([10 + turn]));
      for (let i = 0; i < 64; i++) await two.get(keyOf(200));
      expect(await two.get(keyOf(10 + turn))).toEqual(rowOf(10 + turn));
    }
    expect(await two.get(keyOf(0))).toEqual(rowOf(0));
  });

  test.each(["data", "index"])(
    "that a killed session left with any piece of its %s file has the rows before it",
    async (kind) => {
      const whole = await filled(4);
      const bytes = whole.files.get(`t/rows-a.${kind}`)!;
      const record = bytes.length / 4;
      for (let length = 0; length <= bytes.length; length++) {
        const storage = new MemoryStorage();
        for (const [name, content] of whole.files) storage.files.set(name, content);
        storage.files.set(`t/rows-a.${kind}`, bytes.slice(0, length));
        const rows = Array.from({ length: Math.floor(length / record) }, (_, i) => i);
        expect(await found(storage, 4)).toEqual(rows);
      }
    },
  );

  test("never gives a wrong row out of damaged files, and takes lost rows again", async () => {
    const whole = await filled(6);
    const damage = fc.record({
      file: fc.constantFrom("data", "index", "about"),
      at: fc.nat(400),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }),
      how: fc.constantFrom("replace", "insert", "cut", "append", "remove"),
    });
    const list = fc.array(damage, { minLength: 1, maxLength: 4 });
    const run = async (damages: typeof list extends fc.Arbitrary<infer T> ? T : never) => {
      const storage = new MemoryStorage();
      for (const [name, content] of whole.files) storage.files.set(name, content.slice());
      for (const { file, at, bytes, how } of damages) {
        const name = file === "about" ? "t/about.json" : `t/rows-a.${file}`;
        const old = storage.files.get(name);
        if (old === undefined) continue;
        const place = at % (old.length + 1);
        const changed = {
          replace: [...old.subarray(0, place), ...bytes, ...old.subarray(place + bytes.length)],
          insert: [...old.subarray(0, place), ...bytes, ...old.subarray(place)],
          cut: [...old.subarray(0, place)],
          append: [...old, ...bytes],
          remove: undefined,
        }[how];
        if (changed === undefined) storage.files.delete(name);
        else storage.files.set(name, Uint8Array.from(changed));
      }
      await found(storage, 6);
      const table = await open(storage, "b");
      for (let name = 0; name < 6; name++) await table.get(keyOf(name));
      await table.append(rowsOf([0, 1, 2, 3, 4, 5]));
      for (let name = 0; name < 6; name++) expect(await table.get(keyOf(name))).toEqual(rowOf(name));
      await table.close();
    };
    await fc.assert(fc.asyncProperty(list, run), { numRuns: 400 });
  });

  test("is made of files of any content without an error", async () => {
    const run = async (data: Uint8Array, index: Uint8Array) => {
      const storage = new MemoryStorage();
      storage.files.set("t/rows-x.data", data).set("t/rows-x.index", index).set("t/rows-y.index", index);
      expect(await found(storage, 3)).toEqual([]);
    };
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 300 }), run));
  });

  test("tells rows apart whose keys begin alike", async () => {
    const storage = new MemoryStorage();
    const table = await open(storage, "a");
    const [one, two] = [keyOf(1), keyOf(1)];
    two[15]! ^= 1;
    await table.append([{ key: one, row: rowOf(1) }]);
    expect(await table.get(two)).toBeUndefined();
    await table.append([{ key: two, row: rowOf(2) }]);
    expect(await table.get(two)).toEqual(rowOf(2));
    expect(await table.get(one)).toBeUndefined();
  });

  test("on a full disk says so once, keeps what it has and grows no more", async () => {
    for (const room of [0, 1, 40, 63, 64, 65, 70, 84]) {
      const storage = await filled(3);
      const warnings: string[] = [];
      fillUp(storage, room);
      const table = await open(storage, "b", (message) => warnings.push(message));
      await table.append(rowsOf([7, 8]));
      await table.append(rowsOf([9]));
      expect(warnings).toEqual([expect.stringMatching(/^the cache grows no more, the run goes on: /)]);
      expect(await table.get(keyOf(7))).toBeUndefined();
      expect(await table.get(keyOf(1))).toEqual(rowOf(1));
      await table.close();
      expect(await found(storage, 10)).toEqual([0, 1, 2]);
    }
  });

  test("throws for rows of another size", async () => {
    const table = await open(new MemoryStorage(), "a");
    const failure = table.append([{ key: keyOf(1), row: new Uint8Array(3) }]);
    await expect(failure).rejects.toThrow(ToklipError);
  });
});
