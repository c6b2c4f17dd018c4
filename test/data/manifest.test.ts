import { describe, expect, test } from "vitest";
import { openManifest } from "../../src/data/manifest.ts";
import type { TableOptions } from "../../src/data/table.ts";
import { codeOf, valueOrError } from "../files/value-or-error.ts";
import { keyOf, MemoryDataFiles, stored, take } from "./memory-data-files.ts";

const inOrder = { seed: 0, shuffle: false, epochs: 1 };

async function itemsOf(name: string, content: string, options: TableOptions = {}) {
  const files = new MemoryDataFiles({ [`data/${name}`]: content, "data/a.png": "A", "pics/a.png": "other A" });
  return take(await openManifest(files, `data/${name}`, options), inOrder);
}

async function messageOf(name: string, content: string, options: TableOptions = {}) {
  return String(await valueOrError(() => itemsOf(name, content, options)));
}

describe("a table of pictures", () => {
  test("as open_clip writes it has tabs, filepath and title, whatever its name ends in", async () => {
    for (const name of ["train.csv", "train.tsv"]) {
      const [item] = await itemsOf(name, 'filepath\ttitle\na.png\t"a ""small"" cat, asleep"\n');
      expect(item!.sample).toMatchObject({ key: `data/${name}/1`, captions: ['a "small" cat, asleep'] });
      expect(Buffer.from(await item!.sample!.image()).toString()).toBe("A");
    }
  });

  test("may name its columns otherwise, and its pictures' folder", async () => {
    const [item] = await itemsOf("x.csv", "words,where,kind\na cat,a.png,feline\n", {
      imageColumn: "where",
      captionColumn: "words",
      conceptColumn: "kind",
      imageRoot: "pics",
    });
    expect(item!.sample).toMatchObject({ captions: ["a cat"], concept: "feline" });
    expect(Buffer.from(await item!.sample!.image()).toString()).toBe("other A");
  });

  test("may name pictures by address, asked for when they are wanted", async () => {
    const [item] = await itemsOf("x.csv", "url,caption\nhttps://host/a.png,hi\n");
    expect(Buffer.from(await item!.sample!.image()).toString()).toBe("fetched https://host/a.png");
  });

  test("of JSON lines has one caption or many, and any other keys", async () => {
    const lines = [
      '{"image": "a.png", "caption": "one", "size": [3, 4]}',
      '{"captions": ["one", " two ", "", "one"], "file": "a.png", "concept": 7}',
      "",
      '{"path": "a.png", "text": null}',
    ];
    const items = await itemsOf("x.jsonl", lines.join("\r\n"));
    expect(items.map(({ sample }) => sample?.captions)).toEqual([["one"], ["one", "two"], []]);
    expect(items[1]!.sample!.concept).toBe("7");
  });

  test("keeps rows of one picture apart, or joins them", async () => {
    const table = "filepath,title\na.png,one\nb.png,two\na.png,three\n";
    expect(await itemsOf("x.csv", table)).toHaveLength(3);
    const joined = await itemsOf("x.csv", table, { groupByImage: true });
    expect(joined.map(({ sample }) => sample?.captions)).toEqual([["one", "three"], ["two"]]);
  });

  test("has its malformed rows counted, not dropped, and the others read", async () => {
    const table = 'filepath,title\na.png,good\na.png\n,no picture\na.png,"x"y\na.png,last\n';
    const items = await itemsOf("x.csv", table);
    expect(items.map((item) => item.bad?.reason ?? "good")).toEqual([
      "good",
      "malformed row",
      "no image",
      "malformed row",
      "good",
    ]);
    expect(items[1]!.bad!.message).toBe("data/x.csv/2: 1 fields under 2 column names");
    const lines = await itemsOf("x.jsonl", '{"image": "a.png"}\n{"image": \n[]\n{"image": {}}\n{"image": "a.png"}\n');
    expect(lines.map((item) => item.bad?.reason ?? "good")).toEqual([
      "good",
      "malformed row",
      "malformed row",
      "malformed row",
      "good",
    ]);
    const grouped = await itemsOf("x.csv", table, { groupByImage: true });
    expect(grouped.map((item) => item.bad?.reason ?? "good")).toEqual([
      "good",
      "malformed row",
      "no image",
      "malformed row",
    ]);
    expect(grouped[0]!.sample!.captions).toEqual(["good", "last"]);
  });

  test("that is not UTF-8 in a row has that row bad", async () => {
    const files = new MemoryDataFiles();
    files.set("data/x.csv", Buffer.concat([Buffer.from("filepath,title\na.png,"), Buffer.of(0xff, 10)]));
    const items = await take(await openManifest(files, "data/x.csv"), { ...inOrder }, 1);
    expect(items[0]!.bad!.reason).toBe("malformed row");
  });

  test("without the column that was named says which it has, and which was meant", async () => {
    const message = await messageOf("x.csv", "filepath,title\n", { captionColumn: "titel" });
    expect(message).toMatch(
      'x.csv: no column "titel" (captionColumn): it has "filepath", "title"; did you mean "title"? [DATA_INVALID]',
    );
    expect(await messageOf("x.jsonl", '{"image": "a"}', { imageColumn: "imag" })).toMatch(/did you mean "image"\?/);
  });

  test.each([
    ["no column of pictures", "x.csv", "title,size\n", "DATA_INVALID"],
    ["no key of pictures", "x.jsonl", '{"title": "x"}', "DATA_INVALID"],
    ["no header row", "x.csv", "", "DATA_INVALID"],
    ["no rows", "x.csv", "filepath,title\n", "DATA_EMPTY"],
    ["no lines", "x.jsonl", "", "DATA_EMPTY"],
    ["another extension", "x.xlsx", "", "FILE_UNSUPPORTED"],
  ])("with %s is an error", async (_, name, content, code) => {
    expect(await codeOf(() => itemsOf(name, content))).toBe(code);
  });

  test("that is not there is an error", async () => {
    expect(await codeOf(() => openManifest(new MemoryDataFiles(), "x.csv"))).toBe("FILE_NOT_FOUND");
  });

  test("that changes while it is in use is an error", async () => {
    const files = new MemoryDataFiles({ "data/x.csv": "filepath,title\na.png,one\n" });
    const dataset = await openManifest(files, "data/x.csv");
    files.set("data/x.csv", "filepath,title\na.png,one\nb.png,two\n");
    expect(await codeOf(() => take(dataset, inOrder))).toBe("DATA_INVALID");
  });

  test.each(["x.csv", "x.jsonl"])("%s goes on where it was left, in a new process", async (name) => {
    const rows = Array.from({ length: 23 }, (_, i) => (name === "x.csv" ? `p${i}.png,${i}` : `{"file": "p${i}.png"}`));
    const files = new MemoryDataFiles({
      [`d/${name}`]: ["filepath,title", ...rows].slice(name === "x.csv" ? 0 : 1).join("\n"),
    });
    const options = { seed: 5, epochs: 2 };
    const whole = (await take(await openManifest(files, `d/${name}`), options)).map(keyOf);
    expect(new Set(whole).size).toBe(23);
    expect(whole.slice(0, 23)).not.toEqual(whole.slice(23));
    for (const cut of [1, 7, 23, 30]) {
      const head = await take(await openManifest(files, `d/${name}`), options, cut);
      const from = stored(head.at(-1)!.position);
      const tail = await take(await openManifest(files, `d/${name}`), { ...options, from });
      expect([...head, ...tail].map(keyOf)).toEqual(whole);
    }
  });
});
