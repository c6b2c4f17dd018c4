import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ndarray } from "../../src/core/index.ts";
import { isResampled, resamplePositions } from "../../src/models/index.ts";

/** Positions that are a linear function of the place in the picture. */
function plane(side: number, a: number, b: number): ReturnType<typeof ndarray<"f32">> {
  const values = Float32Array.from({ length: side * side }, (_, i) => {
    const [y, x] = [Math.floor(i / side), i % side];
    return (a * (x + 0.5) + b * (y + 0.5)) / side;
  });
  return ndarray("f32", [1, side * side, 1], values);
}

describe("positions of another grid", () => {
  test("the same grid gives the same positions", () => {
    const positions = ndarray(
      "f32",
      [1, 9, 2],
      Float32Array.from({ length: 18 }, (_, i) => Math.sin(i)),
    );
    expect([...resamplePositions(positions, 9).data]).toEqual([...positions.data]);
  });

  test("what is linear in the place stays so between the outermost centres", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 9 }),
        fc.integer({ min: 2, max: 9 }),
        fc.double({ min: -3, max: 3, noNaN: true }),
        fc.double({ min: -3, max: 3, noNaN: true }),
        (from, to, a, b) => {
          const made = resamplePositions(plane(from, a, b), to * to).data;
          const wanted = plane(to, a, b).data;
          const inside = (i: number) => {
            const at = ((i + 0.5) * from) / to;
            return at >= 0.5 && at <= from - 0.5;
          };
          for (let i = 0; i < made.length; i++) {
            if (inside(Math.floor(i / to)) && inside(i % to)) expect(made[i]).toBeCloseTo(wanted[i]!, 5);
          }
        },
      ),
    );
  });

  test("a corner of a finer grid has the corner's position", () => {
    const positions = ndarray("f32", [1, 4, 1], Float32Array.of(1, 2, 3, 4));
    const { data } = resamplePositions(positions, 16);
    expect([data[0], data[3], data[12], data[15]]).toEqual([1, 2, 3, 4]);
    expect(data[5]).toBeCloseTo(1 + 0.25 + 2 * 0.25, 6);
  });

  test("only square grids of one width are resampled, and only positions", () => {
    expect(isResampled("visual.trunk.pos_embed", [1, 64, 8], [1, 144, 8])).toBe(true);
    expect(isResampled("visual.trunk.pos_embed", [1, 64, 8], [1, 64, 8])).toBe(false);
    expect(isResampled("visual.trunk.pos_embed", [1, 64, 8], [1, 143, 8])).toBe(false);
    expect(isResampled("visual.trunk.pos_embed", [1, 64, 8], [1, 144, 9])).toBe(false);
    expect(isResampled("visual.trunk.latent", [1, 64, 8], [1, 144, 8])).toBe(false);
  });
});
