import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ByteSource, bytesOf, memorySource } from "../../src/core/index.ts";
import { readTensor, streamTensor, type TensorEntry } from "../../src/files/index.ts";
import { codeOf } from "./value-or-error.ts";

const source = memorySource(bytesOf(Float32Array.from({ length: 64 }, (_, i) => i)), "x");
const entry = (members: Partial<TensorEntry>): TensorEntry => ({
  name: "w",
  dtype: "f32",
  shape: [2, 3],
  source,
  offset: 0,
  ...members,
});

/** Element by element, the slow way. */
function expected({ shape, strides, offset }: TensorEntry): number[] {
  const visit = (axis: number, place: number): number[] =>
    axis === shape.length
      ? [place]
      : Array.from({ length: shape[axis]! }, (_, i) => visit(axis + 1, place + i * strides![axis]!)).flat();
  return visit(0, offset / 4);
}

const strided = fc
  .array(fc.tuple(fc.nat(4), fc.nat(6)), { maxLength: 3 })
  .chain((axes) => {
    const shape = axes.map(([dim]) => dim);
    const strides = axes.map(([, stride]) => stride);
    const span = shape.includes(0) ? 0 : axes.reduce((sum, [dim, stride]) => sum + (dim - 1) * stride, 1);
    return fc.nat(64 - span).map((first) => entry({ shape, strides, offset: first * 4 }));
  })
  .filter(({ shape }) => shape.reduce((a, b) => a * b, 1) <= 64);

describe("readTensor", () => {
  it("reads any strides as dense row-major", async () => {
    await fc.assert(
      fc.asyncProperty(strided, async (tensor) => {
        expect([...(await readTensor(tensor)).data]).toEqual(expected(tensor));
      }),
      { numRuns: 300 },
    );
  });

  it("keeps the bits of a NaN", async () => {
    const bits = Uint32Array.of(0x7fa00001, 0, 0xffc12345, 0);
    const nans = memorySource(bytesOf(new Int32Array(bits.buffer)));
    const dense = await readTensor(entry({ source: nans, shape: [4] }));
    const strided = await readTensor(entry({ source: nans, shape: [2], strides: [2] }));
    expect(new Uint32Array(dense.data.buffer)).toEqual(bits);
    expect(new Uint32Array(strided.data.buffer)).toEqual(Uint32Array.of(0x7fa00001, 0xffc12345));
  });

  it.each<[string, Partial<TensorEntry>]>([
    ["past the end", { offset: 4 * 60 }],
    ["before the beginning", { offset: -4 }],
    ["at no number", { offset: Number.NaN }],
    ["with strides past the end", { strides: [62, 1] }],
    ["of more bytes than the file", { shape: [100], strides: [0] }],
    ["of a negative dimension", { shape: [-1] }],
    ["of 2^60 elements", { shape: [2 ** 30, 2 ** 30] }],
  ])("refuses a tensor %s", async (_, members) => {
    expect(await codeOf(() => readTensor(entry(members)))).toBe("FILE_CORRUPT");
  });
});

describe("streamTensor", () => {
  it("gives the same bytes in pieces no larger than asked for, from reads no larger either", async () => {
    await fc.assert(
      fc.asyncProperty(strided, fc.integer({ min: 4, max: 40 }), async (tensor, chunk) => {
        const reads: number[] = [];
        const counted: ByteSource = {
          ...source,
          read: (offset, length) => {
            reads.push(length);
            return source.read(offset, length);
          },
        };
        const bytes: number[] = [];
        for await (const piece of streamTensor({ ...tensor, source: counted }, chunk)) {
          expect(piece.byteLength).toBeLessThanOrEqual(chunk);
          bytes.push(...piece);
        }
        expect(Math.max(0, ...reads)).toBeLessThanOrEqual(chunk);
        expect([...new Float32Array(Uint8Array.from(bytes).buffer)]).toEqual(expected(tensor));
      }),
    );
  });
});
