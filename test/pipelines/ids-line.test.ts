import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { formatIdsLine, parseIdsLine } from "../../src/pipelines/ids-line.ts";

describe("a line of ids", () => {
  it("comes back as it was written", () => {
    const line = fc
      .record({
        h: fc.integer({ min: 1, max: 6 }),
        w: fc.integer({ min: 1, max: 6 }),
        file: fc.string({ minLength: 1 }),
      })
      .chain(({ h, w, file }) =>
        fc.array(fc.nat(), { minLength: h * w, maxLength: h * w }).map((ids) => ({ file, grid: [h, w] as const, ids })),
      );
    fc.assert(
      fc.property(line, ({ file, grid, ids }) => {
        const text = formatIdsLine({ file, grid, ids: Int32Array.from(ids) });
        expect(text).not.toContain("\n");
        expect(parseIdsLine(text, "x")).toEqual({ file, grid, ids: Int32Array.from(ids) });
      }),
    );
  });

  it("is a line or FILE_CORRUPT, whatever the text", () => {
    const good = '{"file":"a","grid":[1,2],"ids":[3,4]}';
    const damaged = fc
      .tuple(fc.nat(good.length - 1), fc.string({ maxLength: 3 }))
      .map(([at, put]) => good.slice(0, at) + put + good.slice(at + 1));
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), damaged), (text) => {
        try {
          const { grid, ids } = parseIdsLine(text, "x:1");
          expect(ids.length).toBe(grid[0] * grid[1]);
        } catch (error) {
          expect(error).toBeInstanceOf(ToklipError);
          expect((error as ToklipError).code).toBe("FILE_CORRUPT");
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("says what is wrong and where", () => {
    const wrong = (text: string): string => {
      try {
        parseIdsLine(text, "ids.jsonl:3");
      } catch (error) {
        return (error as Error).message;
      }
      return "accepted";
    };
    expect(wrong('{"file":"a","grid":[2,2],"ids":[1,2,3]}')).toMatchInlineSnapshot(
      `"ids.jsonl:3: 3 ids do not fill a grid of 2x2; expected {"file", "grid": [h, w], "ids": [...]} [FILE_CORRUPT]"`,
    );
    expect(wrong('{"file":"a","grid":[1,1],"ids":[-1]}')).toContain("not a list of integers");
    expect(wrong('{"file":"a","grid":[1,1],"ids":[4294967296]}')).toContain("not a list of integers");
    expect(wrong('{"file":"","grid":[1,1],"ids":[1]}')).toContain('"file" is not a name');
    expect(wrong('{"file":"a","grid":[1],"ids":[1]}')).toContain('"grid" is not two sizes');
    expect(wrong("null")).toContain("not an object");
    expect(wrong('{"file":"a"')).toContain("not JSON");
  });
});
