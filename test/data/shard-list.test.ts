import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { expandBraces } from "../../src/data/brace-expansion.ts";
import { describeShards, parseShards, parseShardWeights, shardWeights } from "../../src/data/shard-list.ts";
import { codeOf, valueOrError } from "../files/value-or-error.ts";

describe("braces", () => {
  test.each<[string, string[]]>([
    ["plain.tar", ["plain.tar"]],
    ["{00..03}.tar", ["00.tar", "01.tar", "02.tar", "03.tar"]],
    ["x{8..11}", ["x8", "x9", "x10", "x11"]],
    ["{098..101}", ["098", "099", "100", "101"]],
    ["{1..010}", ["001", "002", "003", "004", "005", "006", "007", "008", "009", "010"]],
    ["{3..1}", ["3", "2", "1"]],
    ["{0..9..4}", ["0", "4", "8"]],
    ["{9..0..4}", ["9", "5", "1"]],
    ["{0..2..0}", ["0", "1", "2"]],
    ["{a..c}", ["a", "b", "c"]],
    ["{a,b,}/c", ["a/c", "b/c", "/c"]],
    ["{a,b}{0..1}", ["a0", "a1", "b0", "b1"]],
    ["x{a,{1..2}b,c{d,e}}", ["xa", "x1b", "x2b", "xcd", "xce"]],
    ["{}", ["{}"]],
    ["{a}{b{1,2}}", ["{a}{b1}", "{a}{b2}"]],
    ["{-1..1}", ["{-1..1}"]],
  ])("%s", (pattern, names) => {
    expect(expandBraces(pattern)).toEqual(names);
  });

  test("a million names are possible, more are refused before they are made", async () => {
    expect(expandBraces("{0..999999}").length).toBe(1_000_000);
    for (const pattern of [
      "{0..1000000}",
      "{0..999}{0..999}{0..1}",
      "{0..999999999999999}",
      "{{0..999999},x}",
      "{0..1e3}}",
    ]) {
      expect(await codeOf(() => expandBraces(pattern)), pattern).toBe("DATA_INVALID");
    }
    expect(await codeOf(() => expandBraces(`{0..999999}${"x".repeat(1000)}`))).toBe("DATA_INVALID");
    expect(await codeOf(() => parseShards("{0..600000}::{0..600000}"))).toBe("DATA_INVALID");
  });

  test.each(["{", "}", "a{b", "a}b{", "{{a}", "{".repeat(100_000), "{".repeat(17) + "}".repeat(17)])(
    "%.20s is refused",
    async (pattern) => {
      expect(await codeOf(() => expandBraces(pattern))).toBe("DATA_INVALID");
    },
  );

  test("any text ends in names or a ToklipError", async () => {
    const text = fc
      .array(fc.constantFrom("{", "}", ",", "..", "0", "9", "a", "::", "é"), { maxLength: 40 })
      .map((p) => p.join(""));
    await fc.assert(
      fc.asyncProperty(text, async (list) => {
        await valueOrError(() => parseShards(list));
      }),
      { numRuns: 500 },
    );
  });
});

describe("lists and weights", () => {
  test("lists are joined by ::, each with its names", () => {
    expect(parseShards("a/{0..1}.tar:: http://h:80/b.tar?x=1")).toEqual([
      { text: "a/{0..1}.tar", shards: ["a/0.tar", "a/1.tar"] },
      { text: "http://h:80/b.tar?x=1", shards: ["http://h:80/b.tar?x=1"] },
    ]);
  });

  test("messages name the lists without queries", () => {
    expect(describeShards(parseShards("a/{0..1}.tar::http://h/b.tar?secret=1"))).toBe("a/{0..1}.tar::http://h/b.tar");
  });

  test.each(["", "a::", "::a", "a:: ::b"])("%j has an empty part and is refused", async (list) => {
    expect(await codeOf(() => parseShards(list))).toBe("DATA_INVALID");
  });

  test("each shard has the weight of its part", () => {
    expect(shardWeights(parseShards("{a,b}::c"), parseShardWeights("1::2.5"))).toEqual([1, 1, 2.5]);
  });

  test.each(["", "1::", "1:2", "-1", "1e3", "NaN", "0x1"])("the weights %j are refused", async (weights) => {
    expect(await codeOf(() => parseShardWeights(weights))).toBe("DATA_INVALID");
  });
});
