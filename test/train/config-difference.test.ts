import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonValue } from "../../src/data/dataset.ts";
import { configDifferences, configFingerprint } from "../../src/train/config-difference.ts";

const CONFIG: JsonValue = {
  model: { name: "a", depths: [1, 2] },
  optimizer: { lr: 1e-4, betas: [0.9, 0.95] },
  logging: { every: 10, folder: { keep: 3 } },
  seed: null,
};

const without = (key: string): JsonValue =>
  Object.fromEntries(Object.entries(CONFIG as Record<string, JsonValue>).filter(([name]) => name !== key));

describe("two configurations", () => {
  it("differ by the paths of their keys, with both values", () => {
    const other = {
      model: { name: "a", depths: [1, 3] },
      optimizer: { lr: 1e-4, betas: [0.9, 0.95], eps: 1e-6 },
      logging: 7,
      constructor: 1,
    };
    expect(configDifferences(CONFIG, other)).toEqual([
      { path: "model.depths", before: [1, 2], after: [1, 3] },
      { path: "optimizer.eps", before: undefined, after: 1e-6 },
      { path: "logging", before: { every: 10, folder: { keep: 3 } }, after: 7 },
      { path: "seed", before: null, after: undefined },
      { path: "constructor", before: undefined, after: 1 },
    ]);
  });

  it("may differ below the paths that are left out", () => {
    const other = { ...(CONFIG as object), logging: { every: 1, folder: {} }, seed: 3 } as JsonValue;
    expect(configDifferences(CONFIG, other, ["logging", "seed"])).toEqual([]);
    expect(configDifferences(CONFIG, other, ["logging.every", "seed"]).map(({ path }) => path)).toEqual([
      "logging.folder.keep",
    ]);
    expect(configFingerprint(CONFIG, ["logging", "seed"])).toBe(configFingerprint(other, ["logging", "seed"]));
    expect(configFingerprint(CONFIG, ["logging"])).not.toBe(configFingerprint(other, ["logging"]));
    expect(configFingerprint(CONFIG, ["seed"])).toBe(configFingerprint(without("seed")));
  });

  it("have no difference exactly when their fingerprints are equal, whatever the order of their keys", () => {
    const reversed = (value: JsonValue): JsonValue => {
      if (typeof value !== "object" || value === null) return value;
      if (Array.isArray(value)) return value.map(reversed);
      return Object.fromEntries(
        Object.entries(value)
          .reverse()
          .map(([key, held]) => [key, reversed(held)]),
      );
    };
    const json = fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<JsonValue>;
    fc.assert(
      fc.property(json, json, (a, b) => {
        expect(configDifferences(a, reversed(a))).toEqual([]);
        expect(configFingerprint(a)).toBe(configFingerprint(reversed(a)));
        expect(configDifferences(a, b).length === 0).toBe(configFingerprint(a) === configFingerprint(b));
      }),
    );
  });
});
