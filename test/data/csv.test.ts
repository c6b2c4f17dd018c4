import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/core/index.ts";
import { type CsvSeparator, guessSeparator, parseCsvRow } from "../../src/data/csv.ts";
import { indexRecords } from "../../src/data/record-index.ts";

const separators = fc.constantFrom<CsvSeparator>(",", "\t");
/** Texts full of what matters. */
const fields = fc.oneof(
  fc.string({ unit: fc.constantFrom('"', ",", "\t", "\n", "\r", "a", " ", "é") }),
  fc.string({ unit: "binary" }).filter((text) => !/\p{Surrogate}/u.test(text)),
);
const lineEnds = fc.constantFrom("\n", "\r\n");

/** The writer of RFC 4180: quotes where they are needed, or everywhere. */
function writeField(field: string, separator: string, always: boolean): string {
  const needed = always || field.includes(separator) || /["\r\n]/.test(field);
  return needed ? `"${field.replaceAll('"', '""')}"` : field;
}

function writeTable(rows: string[][], separator: string, lineEnd: string, always: boolean): string {
  return rows.map((row) => row.map((field) => writeField(field, separator, always)).join(separator) + lineEnd).join("");
}

async function readTable(bytes: Uint8Array, separator: CsvSeparator): Promise<(string[] | undefined)[]> {
  const index = await indexRecords(memorySource(bytes), separator.charCodeAt(0), {});
  return Array.from({ length: index.size }, (_, record) => {
    const { start, length } = index.at(record);
    return parseCsvRow(
      new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(start, start + length)),
      separator,
    );
  });
}

describe("rows of a table", () => {
  test("are what was written, whatever the fields hold", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fields, { minLength: 2, maxLength: 5 }), { maxLength: 6 }),
        separators,
        lineEnds,
        fc.boolean(),
        fc.boolean(),
        async (rows, separator, lineEnd, always, marked) => {
          const text = (marked ? "\uFEFF" : "") + writeTable(rows, separator, lineEnd, always);
          fc.pre(marked || !text.startsWith("\uFEFF"));
          expect(await readTable(new TextEncoder().encode(text), separator)).toEqual(rows);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("are the same with and without the last line end", async () => {
    const bytes = (text: string) => new TextEncoder().encode(text);
    expect(await readTable(bytes("a,b\nc,d"), ",")).toEqual(await readTable(bytes("a,b\r\n\r\nc,d\n\n"), ","));
  });

  test("of any text whatever are read without an exception, and cover it", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), separators, async (bytes, separator) => {
        const index = await indexRecords(memorySource(bytes), separator.charCodeAt(0), {});
        let end = 0;
        for (let record = 0; record < index.size; record++) {
          const { start, length } = index.at(record);
          expect(start).toBeGreaterThanOrEqual(end);
          end = start + length;
        }
        expect(end).toBeLessThanOrEqual(bytes.length);
        await readTable(bytes, separator);
      }),
    );
  });

  test.each([
    ['say "hi",x', ['say "hi"', "x"]],
    ['"say ""hi""",x', ['say "hi"', "x"]],
    ['"",', ["", ""]],
    ["a,,b", ["a", "", "b"]],
    ['"a"b,c', undefined],
    ['"a,b', undefined],
  ])("%j is %j", (row, expected) => {
    expect(parseCsvRow(row, ",")).toEqual(expected);
  });

  test("spanning a piece of the file that is read at a time are whole", async () => {
    const long = "x\n".repeat(2 ** 19);
    const rows = [
      ["a", long],
      ["b", "c"],
    ];
    expect(await readTable(new TextEncoder().encode(writeTable(rows, ",", "\r\n", false)), ",")).toEqual(rows);
  });

  test("after a quote that is never closed come back, a few megabytes on", async () => {
    const text = `a,"open\n${"b,c\n".repeat(2 ** 21)}`;
    const index = await indexRecords(memorySource(new TextEncoder().encode(text)), ",".charCodeAt(0), {});
    expect(index.size).toBeGreaterThan(2 ** 19);
  });

  test("are separated by what makes more columns of the header", () => {
    expect(guessSeparator("filepath\ttitle")).toBe("\t");
    expect(guessSeparator("filepath,title")).toBe(",");
    expect(guessSeparator('"a\tb",title')).toBe(",");
    expect(guessSeparator("filepath")).toBe(",");
  });
});
