// Packed rows hold each sequence whole, in order, apart from the others, with the targets of a naive construction.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type PackedRows, packedLength, packedRows, RowPacker, type TokenSequence } from "../../src/data/packing.ts";

const LENGTH = 24;

/** A sequence with at least one target, no longer than a row. */
const sequence: fc.Arbitrary<TokenSequence> = fc
  .array(fc.record({ id: fc.integer({ min: 1, max: 99 }), kind: fc.integer({ min: -1, max: 2 }) }), {
    minLength: 2,
    maxLength: LENGTH + 1,
  })
  .map((tokens) => ({
    ids: Int32Array.from(tokens, ({ id }) => id),
    // The first is read only, the last of at least one a target.
    kinds: Int32Array.from(tokens, ({ kind }, i) =>
      i === 0 ? -1 : i === tokens.length - 1 ? Math.max(kind, 0) : kind,
    ),
  }));

const cases = fc.record({ rows: fc.integer({ min: 1, max: 4 }), sequences: fc.array(sequence, { maxLength: 20 }) });

function pack(sequences: readonly TokenSequence[], rows: number) {
  const packer = new RowPacker({ rows, length: LENGTH });
  const count = sequences.findIndex((each) => !packer.add(each));
  return { placed: packer.placed, taken: count < 0 ? sequences : sequences.slice(0, count) };
}

/** What position t of a sequence must be, by the definition. */
const expected = ({ ids, kinds }: TokenSequence, t: number) => ({
  id: ids[t],
  target: kinds[t + 1]! < 0 ? -1 : ids[t + 1],
  kind: kinds[t + 1],
});

/** The positions of a row by segment, in order. */
function segmentsOf({ ids, segments, positions, targets, kinds }: PackedRows, row: number) {
  const found = new Map<number, { id: number; target: number; kind: number; position: number; at: number }[]>();
  for (let at = 0; at < LENGTH; at++) {
    const i = row * LENGTH + at;
    const [id, target, kind, position] = [ids, targets, kinds, positions].map(({ data }) => data[i]!);
    const segment = segments.data[i]!;
    found.set(segment, [
      ...(found.get(segment) ?? []),
      { id: id!, target: target!, kind: kind!, position: position!, at },
    ]);
  }
  return found;
}

describe("packed rows", () => {
  test("hold every sequence once, unbroken, its targets as defined, and nothing else", () => {
    fc.assert(
      fc.property(cases, ({ rows, sequences }) => {
        const { placed, taken } = pack(sequences, rows);
        expect(placed.map((each) => each.sequence)).toEqual(taken);
        const packed = packedRows(placed, { rows, length: LENGTH });
        for (let row = 0; row < rows; row++) {
          const own = placed.filter((each) => each.row === row);
          const found = segmentsOf(packed, row);
          const padding = found.get(0) ?? [];
          found.delete(0);
          expect([...found.keys()]).toEqual(own.map((_, i) => i + 1));
          for (const { id, target, kind } of padding) expect([id, target, kind]).toEqual([0, -1, -1]);
          for (const [i, { sequence: each, start }] of own.entries()) {
            const segment = found.get(i + 1)!;
            expect(segment).toHaveLength(packedLength(each));
            for (const [t, { at, position, ...rest }] of segment.entries()) {
              expect([at, position]).toEqual([start + t, t]);
              expect(rest).toEqual(expected(each, t));
            }
          }
        }
      }),
      { numRuns: 50 },
    );
  });

  test("lose no target: each kind is to be predicted as often as the sequences say", () => {
    fc.assert(
      fc.property(cases, ({ rows, sequences }) => {
        const { placed, taken } = pack(sequences, rows);
        const { kinds } = packedRows(placed, { rows, length: LENGTH });
        for (const kind of [0, 1, 2]) {
          const wanted = taken.reduce((sum, each) => sum + each.kinds.filter((k) => k === kind).length, 0);
          expect(kinds.data.filter((k) => k === kind)).toHaveLength(wanted);
        }
      }),
    );
  });

  test("of a part of the rows are those rows of the whole", () => {
    fc.assert(
      fc.property(cases, ({ sequences }) => {
        const { placed } = pack(sequences, 4);
        const whole = packedRows(placed, { rows: 4, length: LENGTH });
        const part = packedRows(placed, { first: 2, rows: 2, length: LENGTH });
        for (const name of Object.keys(whole) as (keyof PackedRows)[]) {
          expect(part[name].data).toEqual(whole[name].data.subarray(2 * LENGTH));
        }
      }),
    );
  });

  test("take a sequence wherever there is room, and say when there is none", () => {
    const of = (length: number): TokenSequence => ({
      ids: new Int32Array(length + 1).fill(7),
      kinds: new Int32Array(length + 1).fill(0).fill(-1, 0, 1),
    });
    const packer = new RowPacker({ rows: 2, length: 10 });
    expect([6, 7, 4, 3].map((length) => packer.add(of(length)))).toEqual([true, true, true, true]);
    expect(packer.placed.map(({ row, start }) => [row, start])).toEqual([
      [0, 0],
      [1, 0],
      [0, 6],
      [1, 7],
    ]);
    expect(packer.add(of(1))).toBe(false);
    expect(() => packer.add(of(11))).toThrow(/a sequence of 11 positions in rows of 10 \[ARGUMENT_INVALID\]/);
    expect(() => packer.add({ ids: Int32Array.of(1, 2), kinds: Int32Array.of(-1, -1) })).toThrow(/ARGUMENT_INVALID/);
  });
});
