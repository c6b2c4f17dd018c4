import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PickleGlobal, PickleObject, type PickleOptions, plainTree, readPickle } from "../../src/files/index.ts";
import { callOf, encode, globalOf, joinBytes, pickle, Raw, Tuple, u32, u64 } from "./pickle-writer.ts";
import { codeOf, valueOrError } from "./value-or-error.ts";

const read = (bytes: Uint8Array, options: Partial<PickleOptions> = {}): unknown =>
  readPickle(bytes, { name: "test", ...options });
/** Reads opcodes given as text of one byte a character and numbers. */
const run = (...parts: Parameters<typeof joinBytes>): unknown => read(joinBytes(...parts, "."));
const plain = (value: unknown): unknown => plainTree(value, () => undefined);

const latin1 = (text: string): Raw => callOf(globalOf("_codecs", "encode"), [text, "latin1"]);
const dtypeOf = (code: string, order = "<"): Raw =>
  callOf(globalOf("numpy", "dtype"), [code, false, true], new Tuple(3, order, null, null, null, -1, -1, 0));

describe("readPickle", () => {
  it("reads back every plain value", () => {
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof({ maxDepth: 4 }, tie("leaf"), fc.array(tie("tree")), tie("map")),
      map: fc.array(fc.tuple(fc.string(), tie("tree"))).map((pairs) => new Map(pairs)),
      leaf: fc.oneof(
        fc.constantFrom(null, true, false),
        fc.string({ unit: "grapheme" }),
        fc.integer(),
        fc.maxSafeInteger(),
        fc.double().filter((x) => !Object.is(x, -0)),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).filter((n) => n > 2n ** 53n || n < -(2n ** 53n)),
        fc.uint8Array(),
      ),
    }));
    fc.assert(fc.property(tree, (value) => void expect(read(pickle(value))).toEqual(value)));
  });

  it.each<[string, Parameters<typeof joinBytes>, unknown]>([
    ["INT", ["I-12\n"], -12],
    ["INT of the first booleans", ["I01\n"], true],
    ["LONG", ["L123456789012345678901234567890L\n"], 123456789012345678901234567890n],
    ["FLOAT", ["F-1.5e3\n"], -1500],
    ["FLOAT of an infinity", ["F-inf\n"], Number.NEGATIVE_INFINITY],
    ["STRING", ["S'a\\n\\x41\\\\\\''\n"], "a\nA\\'"],
    ["UNICODE", ["Va\\u20ac\n"], "a€"],
    ["BINSTRING", ["T", u32(3), "a\xe9b"], "aéb"],
    ["SHORT_BINSTRING", ["U", [2], "ab"], "ab"],
    ["SHORT_BINUNICODE", [[0x8c, 2, 0xc3, 0xa9]], "é"],
    ["BINUNICODE8", [[0x8d], u64(2), "ab"], "ab"],
    ["BINUNICODE with a byte order mark", ["X", u32(3), [0xef, 0xbb, 0xbf]], "\ufeff"],
    ["BININT", ["J", u32(0xffffffff)], -1],
    ["BININT1", ["K", [255]], 255],
    ["BININT2", ["M", [1, 2]], 513],
    ["LONG1 of no bytes", [[0x8a, 0]], 0],
    ["LONG1", [[0x8a, 2, 0x00, 0xff]], -256],
    ["LONG4", [[0x8b], u32(9), new Uint8Array(8), [1]], 2n ** 64n],
    ["BINFLOAT", ["G", [0x3f, 0xf8, 0, 0, 0, 0, 0, 0]], 1.5],
    ["SHORT_BINBYTES", ["C", [2, 1, 2]], Uint8Array.of(1, 2)],
    ["BINBYTES8", [[0x8e], u64(1), [7]], Uint8Array.of(7)],
    ["BYTEARRAY8", [[0x96], u64(1), [7]], Uint8Array.of(7)],
    ["LIST and APPEND", ["(K\x01lK\x02a"], [1, 2]],
    [
      "DICT and SETITEM",
      ["(K\x01K\x02dK\x03K\x04s"],
      new Map([
        [1, 2],
        [3, 4],
      ]),
    ],
    ["TUPLE1 to TUPLE3", ["K\x01", [0x85], "K\x02", [0x86], "K\x03K\x04", [0x87]], [[[1], 2], 3, 4]],
    ["EMPTY_SET and ADDITEMS", [[0x8f], "(K\x01K\x01K\x02", [0x90]], new Set([1, 2])],
    ["FROZENSET", ["(K\x01", [0x91]], new Set([1])],
    ["PROTO and FRAME", [[0x80, 4, 0x95], u64(2), "K\x05"], 5],
    ["PUT, GET and POP", ["K\x07p300\n0g300\n"], 7],
    ["BINPUT, LONG_BINGET", ["K\x07q\x01K\x08j", u32(1)], 7],
    ["LONG_BINPUT, BINGET", ["K\x07r", u32(2), "K\x08h\x02"], 7],
    ["MEMOIZE counting from 0", ["K\x07", [0x94], "K\x08", [0x94], "h\x00"], 7],
    ["POP of a mark", ["K\x07(0"], 7],
    ["POP_MARK", ["K\x07(K\x01K\x021"], 7],
    ["DUP", ["K\x072", [0x86]], [7, 7]],
  ])("runs %s", (_, parts, expected) => {
    expect(run(...parts)).toEqual(expected);
  });

  it("gives plain data for the globals that checkpoints use", () => {
    const pairs = [new Tuple("a", 1), new Tuple("b", 2)];
    expect(read(pickle(callOf(globalOf("collections", "OrderedDict"), [pairs])))).toEqual(
      new Map([
        ["a", 1],
        ["b", 2],
      ]),
    );
    expect(read(pickle(callOf(globalOf("collections", "OrderedDict"), [])))).toEqual(new Map());
    expect(read(pickle(latin1("a\xff")))).toEqual(Uint8Array.of(97, 255));
    expect(read(pickle(callOf(globalOf("torch", "Size"), [new Tuple(2, 3)])))).toEqual([2, 3]);
    expect(read(pickle(callOf(globalOf("torch", "device"), ["cuda:0"])))).toBe("cuda:0");
    expect(read(pickle(callOf(globalOf("__builtin__", "set"), [[1, 1, 2]])))).toEqual(new Set([1, 2]));
    const namespace = new Raw(
      globalOf("argparse", "Namespace").bytes,
      ")",
      [0x81],
      encode(new Map([["lr", 0.5]])),
      "b",
    );
    expect(plain(read(pickle(namespace)))).toEqual({ lr: 0.5 });
  });

  it.each<[string, string, string, unknown]>([
    ["f8", "<", "\0\0\0\0\0\0\xf8\x3f", 1.5],
    ["f8", ">", "\x3f\xf8\0\0\0\0\0\0", 1.5],
    ["f4", "<", "\0\0\xc0\x3f", 1.5],
    ["f2", "<", "\0\x3e", 1.5],
    ["i8", "<", "\xfe\xff\xff\xff\xff\xff\xff\xff", -2],
    ["u8", "<", "\xff\xff\xff\xff\xff\xff\xff\xff", 2n ** 64n - 1n],
    ["i4", "<", "\xfe\xff\xff\xff", -2],
    ["b1", "|", "\x01", true],
  ])("reads a numpy scalar of type %s in order %s", (code, order, bytes, expected) => {
    for (const module of ["numpy.core.multiarray", "numpy._core.multiarray"]) {
      expect(read(pickle(callOf(globalOf(module, "scalar"), [dtypeOf(code, order), latin1(bytes)])))).toEqual(expected);
    }
  });

  it("keeps a numpy scalar of the wrong length as an inert object", () => {
    const value = read(pickle(callOf(globalOf("numpy.core.multiarray", "scalar"), [dtypeOf("f8"), latin1("1234")])));
    expect(value).toBeInstanceOf(PickleObject);
  });

  it("never calls what a pickle names", () => {
    const hostile = read(pickle(new Map([["a", callOf(globalOf("os", "system"), ["touch /tmp/owned"], "state")]])));
    const call = (hostile as Map<string, PickleObject>).get("a")!;
    expect(call.global).toEqual(new PickleGlobal("os", "system"));
    expect([call.args, call.state]).toEqual([["touch /tmp/owned"], "state"]);
    expect(plain(call)).toEqual({ class: "os.system", args: ["touch /tmp/owned"], state: "state" });
  });

  it("keeps every way of naming and calling a global inert", () => {
    const name = "builtins\neval\n";
    expect(run(`c${name}`)).toEqual(new PickleGlobal("builtins", "eval"));
    expect(run("U\x08builtinsU\x04eval", [0x93])).toEqual(new PickleGlobal("builtins", "eval"));
    const call = new PickleObject(new PickleGlobal("builtins", "eval"), ["x"]);
    expect(run(`c${name}U\x01x`, [0x85], "R")).toEqual(call);
    expect(run(`c${name}U\x01x`, [0x85, 0x81])).toEqual(call);
    expect(run(`c${name}U\x01x`, [0x85], "}", [0x92])).toEqual(call);
    expect(run(`(U\x01xi${name}`)).toEqual(call);
    expect(run(`(c${name}U\x01xo`)).toEqual(call);
  });

  it("takes a global called __proto__ or constructor as any other", () => {
    for (const name of ["__proto__", "constructor", "toString"]) {
      expect(run(`c${name}\n${name}\n)R`)).toBeInstanceOf(PickleObject);
    }
    const map = read(pickle(new Map([["__proto__", new Map([["polluted", true]])]])));
    expect(plain(map)).toEqual(Object.fromEntries([["__proto__", { polluted: true }]]));
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it("keeps items set on an unknown dictionary and appended to an unknown list", () => {
    const value = run("cconfig\nAttributeDict\n)R(U\x01aK\x01uK\x02a") as PickleObject;
    expect([value.entries, value.items]).toEqual([new Map([["a", 1]]), [2]]);
  });

  it("asks for persistent ids", () => {
    const options = { persistent: (id: unknown) => ({ id }) };
    expect(read(joinBytes("K\x01K\x02", [0x86], "Q."), options)).toEqual({ id: [1, 2] });
    expect(read(joinBytes("Pname\n."), options)).toEqual({ id: "name" });
    expect(() => run("K\x01Q")).toThrow("a persistent id");
  });

  it.each([
    ["an unknown opcode", ["\xff"], "unknown opcode 0xff"],
    ["a stack with nothing on it", [""], "nothing on the stack"],
    ["a pop below a mark", ["K\x01(0a"], "nothing on the stack"],
    ["a missing mark", ["K\x01t"], "no mark"],
    ["a missing memo", ["h\x05"], "nothing remembered as 5"],
    ["a key without a value", ["}(K\x01u"], "a key without a value"],
    ["items of a number", ["K\x01K\x02K\x03s"], "not a dictionary"],
    ["an append to a number", ["K\x01K\x02a"], "not a list"],
    ["text beyond the end", ["X", u32(0xffffffff)], "4294967295 bytes expected"],
    ["bytes of 2^63", [[0x8e], u64(2n ** 63n)], "bytes expected"],
    ["a negative length", ["T", u32(0xffffffff)], "text of -1 bytes"],
    ["an integer of a megabyte", [[0x8b], u32(1 << 20), new Uint8Array(1 << 20)], "an integer of 1048576 bytes"],
    ["an integer of many digits", [`L${"9".repeat(5000)}L\n`], "malformed integer"],
    ["text that is not UTF-8", ["X", u32(1), [0xff]], "not UTF-8"],
    ["an unterminated line", ["Iabc"], "unterminated line"],
    ["protocol 6", [[0x80, 6]], "protocol 6, expected at most 5"],
    ["the extension registry", [[0x82, 1]], "extension registry"],
    ["an out-of-band buffer", [[0x97]], "out-of-band buffer"],
    ["a call of what is not a global", ["K\x01)R"], "calls what is not a global"],
    ["arguments that are no tuple", ["ca\nb\nK\x01R"], "are not a tuple"],
  ])("refuses %s", (_, parts, message) => {
    expect(() => run(...(parts as Parameters<typeof joinBytes>))).toThrow(message);
  });

  it("refuses to do more work than a checkpoint needs", async () => {
    const million = 2 ** 20;
    const maps = new Uint8Array(2 * million).fill(0x7d);
    expect(await codeOf(() => read(maps))).toBe("FILE_UNSUPPORTED");
    // The same long argument copied again and again.
    const text = joinBytes("X", u32(million), new Uint8Array(million).fill(97), "q\x00");
    const again = new Uint8Array(4000 * 2).map((_, i) => (i % 2 === 0 ? 0x68 : 0));
    const calls = Array.from({ length: 4000 }, () => joinBytes("c_codecs\nencode\nh\x00U\x06latin1", [0x86], "R0"));
    expect(await codeOf(() => read(joinBytes(text, again, ...calls)))).toBe("FILE_UNSUPPORTED");
  });

  it("does not grow from shared values, and prints only so much of them", () => {
    // Each level holds the level below ten times: 10^100 leaves in 2.5 kB.
    const levels = Array.from({ length: 100 }, () => joinBytes("q\x000](", "h\x00".repeat(10), "e"));
    const laughs = run("]", ...levels);
    const text = JSON.stringify(plain(laughs));
    expect(text.length).toBeLessThan(1_000_000);
    expect(text).toContain('"..."');
  });

  it("prints values that contain themselves", () => {
    const list = run("]q\x00h\x00a") as unknown[];
    expect(list[0]).toBe(list);
    expect(JSON.stringify(plain(list))).toContain('"..."');
    const map = run("}q\x00U\x01ah\x00s");
    expect(JSON.stringify(plain(map)).length).toBeLessThan(1000);
  });

  it("reads nesting of any depth without recursion", () => {
    const deep = run("]", new Uint8Array(100_000).fill(0x85));
    expect(JSON.stringify(plain(deep)).length).toBeLessThan(1000);
  });

  it("gives a value or a ToklipError for truncations, flipped bits and random programs", async () => {
    const value = new Map<string, unknown>([
      ["state_dict", callOf(globalOf("collections", "OrderedDict"), [[new Tuple("a", 1)]])],
      ["loss", callOf(globalOf("numpy.core.multiarray", "scalar"), [dtypeOf("f8"), latin1("12345678")])],
      ["args", [1, 2.5, null, true, 2n ** 60n, Uint8Array.of(1)]],
    ]);
    const bytes = pickle(value);
    for (let length = 0; length < bytes.length; length++) {
      expect(await codeOf(() => read(bytes.subarray(0, length)))).toBe("FILE_CORRUPT");
    }
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      await valueOrError(() => JSON.stringify(plain(read(flipped))));
    }
    const opcode = fc.constantFrom(
      ...'(.012FGIJKLMNPQRSTUVXabcdeghijlopqrstu})]"',
      ..."\x81\x85\x86\x87\x88\x8a\x8c\x8f\x90\x91\x92\x93\x94",
      "a\n",
      "\x00",
      "\x01",
    );
    await fc.assert(
      fc.asyncProperty(fc.array(opcode, { maxLength: 60 }), async (program) => {
        await valueOrError(() => JSON.stringify(plain(run(...program))));
      }),
      { numRuns: 3000 },
    );
  });
});
