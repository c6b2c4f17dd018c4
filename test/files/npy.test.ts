import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bytesOf, memorySource, type NDArray, ndarray } from "../../src/core/index.ts";
import { readNpy, writeNpy } from "../../src/files/index.ts";
import { joinBytes, u32 } from "./pickle-writer.ts";
import { codeOf, valueOrError } from "./value-or-error.ts";

const read = (bytes: Uint8Array): Promise<NDArray> => readNpy(memorySource(bytes, "x.npy"));

async function write(array: NDArray): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  await writeNpy({ write: async (bytes) => void pieces.push(bytes) }, array);
  return joinBytes(...pieces);
}

function file(header: string, data: Uint8Array = new Uint8Array(0), version = 1): Uint8Array {
  const length = version === 1 ? [header.length & 255, header.length >> 8] : u32(header.length);
  return joinBytes("\x93NUMPY", [version, 0], length, header, data);
}

const header = (descr: string, shape: string, fortran = "False"): string =>
  `{'descr': ${descr}, 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`;
const six = bytesOf(Float32Array.of(1, 2, 3, 4, 5, 6));

describe("npy", () => {
  it("reads back what it writes", async () => {
    const dtypes = fc.constantFrom("f64", "f32", "f16", "i64", "i32", "i16", "u16", "i8", "u8", "bool");
    await fc.assert(
      fc.asyncProperty(dtypes, fc.array(fc.nat(3), { maxLength: 4 }), async (dtype, shape) => {
        const array = ndarray(dtype, shape);
        bytesOf(array.data).forEach((_, i, bytes) => {
          bytes[i] = (i * 37) & 255;
        });
        const bytes = await write(array);
        const back = await read(bytes);
        expect([back.dtype, back.shape]).toEqual([dtype, shape]);
        expect(bytesOf(back.data)).toEqual(bytesOf(array.data));
        expect((bytes.length - array.data.byteLength) % 64).toBe(0);
      }),
    );
  });

  it("writes the header that NumPy writes", async () => {
    const bytes = await write(ndarray("f32", [3]));
    const text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
    expect(bytes.subarray(0, 128)).toEqual(joinBytes("\x93NUMPY\x01\0", [118, 0], `${text.padEnd(117)}\n`));
  });

  it.each([1, 2, 3])("reads version %i", async (version) => {
    expect((await read(file(header("'<f4'", "(2, 3)"), six, version))).shape).toEqual([2, 3]);
  });

  it("reads Fortran order as dense row-major", async () => {
    const array = await read(file(header("'<f4'", "(2, 3)", "True"), six));
    expect([array.shape, [...array.data]]).toEqual([
      [2, 3],
      [1, 3, 5, 2, 4, 6],
    ]);
  });

  it("reads the members in any order", async () => {
    const text = "{'shape':(6,),'descr':'<f4','fortran_order':False}";
    expect((await read(file(text, six))).shape).toEqual([6]);
  });

  it.each([
    ["big-endian numbers", header("'>f4'", "(6,)"), "FILE_UNSUPPORTED"],
    ["objects", header("'|O'", "(6,)"), "FILE_UNSUPPORTED"],
    ["structured arrays", header("[('a', '<f4')]", "(6,)"), "FILE_UNSUPPORTED"],
    ["another version", "", "FILE_UNSUPPORTED"],
    ["a negative dimension", header("'<f4'", "(-6,)"), "FILE_CORRUPT"],
    ["2^60 elements", header("'<f4'", "(1152921504606846976,)"), "FILE_CORRUPT"],
    ["too few bytes", header("'<f4'", "(7,)"), "FILE_CORRUPT"],
    ["too many bytes", header("'<f4'", "(5,)"), "FILE_CORRUPT"],
    ["a call in the header", header("__import__('os').system('x')", "(6,)"), "FILE_CORRUPT"],
    ["a missing member", "{'descr': '<f4', 'shape': (6,), }", "FILE_CORRUPT"],
    ["another member", "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'x': (1,), }", "FILE_CORRUPT"],
    ["text after the header", `${header("'<f4'", "(6,)")}x`, "FILE_CORRUPT"],
  ])("refuses %s", async (name, text, code) => {
    expect(await codeOf(() => read(file(text, six, name === "another version" ? 4 : 1)))).toBe(code);
  });

  it("does not write bfloat16", async () => {
    expect(await codeOf(() => write(ndarray("bf16", [1])))).toBe("DTYPE_MISMATCH");
  });

  it("gives a value or a ToklipError for every truncation and every flipped bit", async () => {
    const bytes = await write(ndarray("u8", [2, 2]));
    for (let length = 0; length < bytes.length; length++) {
      expect(await codeOf(() => read(bytes.subarray(0, length)))).toBe("FILE_CORRUPT");
    }
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      await valueOrError(() => read(flipped));
    }
  });
});
