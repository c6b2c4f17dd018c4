import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { type Json, parseJson } from "../../src/files/index.ts";

const parse = (text: string, depth = 64): Json => parseJson(text, "test", depth);

/** Maps back to objects, for comparison with JSON.parse. */
function plain(value: Json): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

describe("parseJson", () => {
  it("agrees with JSON.parse on every JSON value", () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(0, 1, 2), (text, indent) => {
        const written = JSON.stringify(JSON.parse(text), null, indent);
        expect(plain(parse(written))).toEqual(JSON.parse(written));
      }),
      { numRuns: 300 },
    );
  });

  it("accepts exactly what JSON.parse accepts, but for duplicate keys", () => {
    const piece = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"a"',
      '"\\',
      '\\"',
      '"',
      "1",
      "-",
      "0",
      ".5",
      "e3",
      "true",
      "nul",
      "null",
      " ",
      "\n",
      "\t",
      "\u0001",
      "\\u00e9",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
        const text = pieces.join("");
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          expect(() => parse(text)).toThrow(ToklipError);
          return;
        }
        try {
          expect(plain(parse(text))).toEqual(expected);
        } catch (thrown) {
          expect(String(thrown)).toMatch(/comes twice/);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it("refuses a key that comes twice, however it is spelt", () => {
    expect(() => parse('{"a": 1, "b": 2, "\\u0061": 3}')).toThrow('the key "a" comes twice');
    expect(() => parse('{"__proto__": 1, "__proto__": 2}')).toThrow("comes twice");
  });

  it("keeps __proto__ as a key like any other", () => {
    const value = parse('{"__proto__": {"polluted": true}}') as Map<string, Json>;
    expect([...value.keys()]).toEqual(["__proto__"]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it("refuses deep nesting without recursing into it", () => {
    expect(() => parse("[".repeat(1_000_000), 8)).toThrow("nested deeper than 8");
    expect(plain(parse('[[{"a":[]}]]', 4))).toEqual([[{ a: [] }]]);
    expect(() => parse('[[{"a":[]}]]', 3)).toThrow("nested deeper than 3");
  });

  it("reads a long string of escapes in linear time", () => {
    const text = JSON.stringify('\\"'.repeat(300_000));
    expect((parse(text) as string).length).toBe(600_000);
    expect(() => parse(`"${"\\".repeat(1_000_000)}`)).toThrow("unterminated string");
  });
});
