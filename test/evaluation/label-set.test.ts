import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { classNumbers, parseLabels } from "../../src/evaluation/label-set.ts";
import { valueOrError } from "../files/value-or-error.ts";

const classes = (text: string) => parseLabels(text, "labels.txt").classes;
const refusal = (text: string) => {
  try {
    parseLabels(text, "labels.txt");
  } catch (thrown) {
    return (thrown as ToklipError).message;
  }
  return "none";
};

describe("a label file", () => {
  it("has a class a line, which is its own name", () => {
    expect(classes("tabby cat\nblack, white and red\r\nfox\n")).toEqual([
      { name: "tabby cat", names: ["tabby cat"] },
      { name: "black, white and red", names: ["black, white and red"] },
      { name: "fox", names: ["fox"] },
    ]);
  });

  it("has names after a tab, separated by commas, each once", () => {
    expect(classes("n01\ttench, Tinca tinca,tench\nn02\tcrane")).toEqual([
      { name: "n01", names: ["tench", "Tinca tinca"] },
      { name: "n02", names: ["crane"] },
    ]);
  });

  it("may be JSON: a list of names, or names by class", () => {
    expect(classes('["cat", ["fox", "red fox"]]')).toEqual([
      { name: "cat", names: ["cat"] },
      { name: "fox", names: ["fox", "red fox"] },
    ]);
    expect(classes('{"n01": "tench", "n02": ["crane", "bird"]}')).toEqual([
      { name: "n01", names: ["tench"] },
      { name: "n02", names: ["crane", "bird"] },
    ]);
  });

  it("names the line that is empty, and both of a class that comes twice", () => {
    expect(refusal("cat\n\ndog\n")).toContain("labels.txt, line 2: is empty");
    expect(refusal("cat\ndog\ncat\n")).toContain('labels.txt, line 3: "cat" stands at labels.txt, line 1 already');
    expect(refusal("hot dog\nhot_dog\n")).toContain("line 2");
    expect(refusal("n01\ttench\nn01\tcrane")).toContain("line 2");
    expect(refusal("n01\t\n")).toContain("line 1: a name is empty");
    expect(refusal('["cat", "cat"]')).toContain("entry 2");
    expect(refusal('{"a": []}')).toContain('"a": expected a name or a list of names');
    expect(refusal("")).toContain("holds no label");
    expect(refusal("[]")).toContain("holds no label");
    expect(refusal('["cat"')).toContain("[FILE_CORRUPT]");
  });

  it("may give two classes one name, as ImageNet's do", () => {
    expect(classes("n836\tsunglasses\nn837\tsunglasses")).toHaveLength(2);
  });

  it("is found by the names of folders, whose underscores are spaces", () => {
    const numberOf = classNumbers(parseLabels("hot_dog\nred fox", "labels"));
    expect(["hot dog", "hot_dog", " red fox", "cat"].map(numberOf)).toEqual([0, 0, 1, undefined]);
  });

  it("gives classes or an error that says what is wrong, whatever it holds", async () => {
    const texts = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'ab\t\n,[]{}":\\') }), fc.json());
    await fc.assert(
      fc.asyncProperty(texts, async (text) => {
        const result = await valueOrError(() => parseLabels(text, "labels"));
        if (result instanceof ToklipError) return;
        const { classes } = result;
        expect(classes.length).toBeGreaterThan(0);
        for (const { name, names } of classes) expect([name, ...names].every((word) => word.trim() !== "")).toBe(true);
      }),
    );
  });
});
