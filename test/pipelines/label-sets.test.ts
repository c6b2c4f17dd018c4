import { describe, expect, it } from "vitest";
import { isLabelSet, LABEL_SETS, resolveLabels } from "../../src/pipelines/label-sets.ts";
import { canonicalize } from "../../src/text/canonicalize.ts";

describe("label sets", () => {
  it("hold what they are called", () => {
    expect(LABEL_SETS.animals).toEqual(expect.arrayContaining(["fox", "eagle", "octopus", "butterfly"]));
    expect(LABEL_SETS.food).toEqual(expect.arrayContaining(["red apple", "pizza", "hot beverage"]));
    expect(LABEL_SETS.objects).toEqual(expect.arrayContaining(["hammer", "guitar", "bed", "top hat"]));
    expect(LABEL_SETS.emoji).toEqual(expect.arrayContaining(["rocket", "grinning face", "cactus", "red heart"]));
  });
  it("have the sizes that their data have", () => {
    const sizes = Object.entries(LABEL_SETS).map(([name, labels]) => [name, labels.length]);
    expect(Object.fromEntries(sizes)).toEqual({ animals: 131, food: 131, objects: 266, emoji: 1643 });
  });
  it.each(Object.entries(LABEL_SETS))("%s holds texts that each say something of their own", (_, labels) => {
    const cleaned = labels.map(canonicalize);
    expect(cleaned).not.toContain("");
    expect(new Set(cleaned).size).toBe(labels.length);
  });
  it("leave flags and skin tones out", () => {
    expect(LABEL_SETS.emoji.filter((label) => /^flag: |skin tone|regional indicator/.test(label))).toEqual([]);
  });
  it("are parts of the whole", () => {
    const whole = new Set(LABEL_SETS.emoji);
    for (const labels of Object.values(LABEL_SETS)) expect(labels.every((label) => whole.has(label))).toBe(true);
  });
});

describe("labels", () => {
  it("are a set's, or the ones given", () => {
    expect(resolveLabels("food")).toBe(LABEL_SETS.food);
    expect(resolveLabels(["food", "x"])).toEqual(["food", "x"]);
  });
  it.each(["plants", "toString", "__proto__", "", "@food"])("of the set %j there are none", (name) => {
    expect(isLabelSet(name)).toBe(false);
    expect(() => resolveLabels(name)).toThrow(expect.objectContaining({ code: "ARGUMENT_INVALID" }));
  });
});
