import { readFile, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TextTokenizer } from "../../src/text/text-tokenizer.ts";
import { tar } from "../files/tar-writer.ts";
import { enterFolder, toklip } from "./harness.ts";

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
});
afterEach(() => leave());

const CAPTIONS = ["a red cat", "a black cat", "Cats!", "a car in the snow"];
const read = async (file: string): Promise<unknown> => JSON.parse(await readFile(file, "utf8"));

describe("toklip train tokenizer", () => {
  it("learns a vocabulary from lines", async () => {
    await writeFile("captions.txt", `${CAPTIONS.join("\n")}\n`);
    const { status, stdout, stderr } = await toklip(["train", "tokenizer", "captions.txt"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatchInlineSnapshot(`
      "tokenizer.json: 262 tokens, of 9 different words in 4 captions
      "
    `);
    const tokenizer = TextTokenizer.fromJson(await read("tokenizer.json"), { vocabSize: 512 });
    const [cat, eos] = tokenizer.encode(["cat"], { contextLength: 2 }).data;
    expect(cat).toBeGreaterThan(257);
    expect(eos).toBe(1);
  });

  it("learns the same from tables, with pictures or without, and from shards", async () => {
    await writeFile("captions.txt", CAPTIONS.join("\n"));
    await writeFile("captions.jsonl", CAPTIONS.map((text) => JSON.stringify({ text })).join("\n"));
    await writeFile("lists.jsonl", JSON.stringify({ image: "x.png", captions: CAPTIONS }));
    await writeFile("captions.csv", `id,caption\n${CAPTIONS.map((text, i) => `${i},${text}`).join("\n")}\n`);
    await writeFile("own.tsv", `id\twords\n${CAPTIONS.map((text, i) => `${i}\t${text}`).join("\n")}\n`);
    const parts = CAPTIONS.flatMap((text, i) => [
      { name: `${i}.png`, bytes: Uint8Array.of(1) },
      { name: `${i}.txt`, bytes: new TextEncoder().encode(text) },
    ]);
    await writeFile("shard.tar", tar(parts));
    const train = ["train", "tokenizer", "--quiet", "--out"];
    await toklip([...train, "expected.json", "captions.txt"]);
    for (const file of ["captions.jsonl", "lists.jsonl", "captions.csv", "own.tsv", "shard.tar"]) {
      const column = file === "own.tsv" ? ["--caption-column", "words"] : [];
      expect((await toklip([...train, `${file}.json`, file, ...column])).stderr).toBe("");
      expect(await read(`${file}.json`)).toEqual(await read("expected.json"));
    }
  });

  it("adds files up, and tells the result as JSON", async () => {
    await writeFile("a.txt", "one two\n");
    await writeFile("b.txt", "two three\n");
    const { stdout } = await toklip(["train", "tokenizer", "a.txt", "b.txt", "--json", "--vocab-size", "260"]);
    expect(JSON.parse(stdout)).toEqual({ out: "tokenizer.json", vocabSize: 260, texts: 2, words: 3 });
  });

  it("counts rows that cannot be used", async () => {
    await writeFile("captions.jsonl", `{"text":"a cat"}\nnonsense\n{"text":{}}\n{"text":"a cat"}\n`);
    const { status, stderr } = await toklip(["train", "tokenizer", "captions.jsonl"]);
    expect(status).toBe(0);
    expect(stderr).toContain("captions.jsonl/2");
    expect(stderr).toContain("2 samples or rows could not be used");
  });

  it("refuses captions that say nothing, and what is no number of tokens", async () => {
    await writeFile("empty.txt", "\n\n");
    const { status, stderr } = await toklip(["train", "tokenizer", "empty.txt"]);
    expect(status).toBe(1);
    expect(stderr).toMatchInlineSnapshot(`
      "toklip: text tokenizer: no text holds a word [DATA_EMPTY]; give a data set that has samples
      "
    `);
    expect((await toklip(["train", "tokenizer", "empty.txt", "--vocab-size", "257"])).stderr).toContain("from 258");
    expect((await toklip(["train", "tokenizer", "empty.txt", "--vocab-size", "many"])).status).toBe(2);
    expect((await toklip(["train", "tokenizer"])).status).toBe(2);
    expect((await toklip(["train", "tokenizer", "absent.txt"])).stderr).toContain("absent.txt");
  });

  it("refuses to replace a file, before it reads", async () => {
    await writeFile("captions.txt", "a cat");
    await writeFile("tokenizer.json", "{}");
    expect((await toklip(["train", "tokenizer", "captions.txt"])).stderr).toContain("exists already");
    expect((await toklip(["train", "tokenizer", "captions.txt", "--overwrite"])).status).toBe(0);
  });
});
