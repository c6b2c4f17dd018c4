import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { readTar, type TarOptions, TruncatedTar } from "../../src/files/tar.ts";
import { joinBytes } from "./pickle-writer.ts";
import { inPieces, longNamePart, paxPart, type TarPart, tar, tarPart } from "./tar-writer.ts";
import { valueOrError } from "./value-or-error.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

interface Read {
  readonly name: string;
  readonly offset: number;
  readonly end: number;
  readonly bytes: Uint8Array;
}

/** All entries, and what the reading ended with. */
async function readAll(archive: Uint8Array, options: Partial<TarOptions> = {}, pieceLength = 1000) {
  const entries: Read[] = [];
  const error = await valueOrError(async () => {
    for await (const entry of readTar(inPieces(archive, pieceLength), { name: "a.tar", ...options })) {
      const { name, offset, end } = entry;
      entries.push({ name, offset, end, bytes: await entry.read() });
    }
    return undefined;
  });
  return { entries, error };
}

const failure = async (archive: Uint8Array, options: Partial<TarOptions> = {}) =>
  String((await readAll(archive, options)).error);

describe("what archives hold", () => {
  test("names, places and bytes of any files come back, whatever pieces the archive comes in", async () => {
    const file = fc.record({
      name: fc.stringMatching(/^[a-z][a-z0-9/.]{0,60}[a-z]$/),
      bytes: fc.uint8Array({ maxLength: 1600 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(file, { maxLength: 5 }), fc.integer({ min: 1, max: 3000 }), async (files, length) => {
        const { entries, error } = await readAll(tar(files), {}, length);
        expect(error).toBeUndefined();
        expect(entries.map(({ name, bytes }) => ({ name, bytes }))).toEqual(files);
        expect(entries.map(({ offset }) => offset)).toEqual(
          [0, ...entries.map(({ end }) => end)].slice(0, files.length),
        );
      }),
      { numRuns: 50 },
    );
  });

  test("reading can begin where any entry does, and end after any", async () => {
    const files = ["a.jpg", "b".repeat(150), "c.txt"].map((name) => ({ name, bytes: bytesOf(`in ${name}`) }));
    const archive = tar([files[0]!, longNamePart(files[1]!.name), { ...files[1]!, name: "short" }, files[2]!]);
    const { entries } = await readAll(archive);
    for (const [i, { offset, end }] of entries.entries()) {
      const rest = await readAll(archive.subarray(offset), { start: offset });
      expect(rest).toEqual({ entries: entries.slice(i), error: undefined });
      const one = await readAll(archive.subarray(offset, end), { start: offset, part: true });
      expect(one).toEqual({ entries: [entries[i]], error: undefined });
    }
  });

  test("long names of every kind are whole, and count for one entry", async () => {
    const name = `${"folder/".repeat(30)}ü.jpg`;
    const archive = tar([
      longNamePart(name),
      { name: "cut" },
      paxPart({ mtime: "12.5", path: `${name}x` }),
      { name: "cut" },
      { name: "ü.png", prefix: "deep/er" },
      { name: "gnu.png", prefix: "no prefix, a time", magic: "ustar  " },
    ]);
    const { entries, error } = await readAll(archive);
    expect(error).toBeUndefined();
    expect(entries.map((entry) => entry.name)).toEqual([name, `${name}x`, "deep/er/ü.png", "gnu.png"]);
  });

  test("sizes in base 256 and in pax headers are understood", async () => {
    const wide = new Uint8Array(12);
    wide.set([0x80]);
    wide.set([2, 1], 10);
    const bytes = new Uint8Array(513).fill(7);
    const octal = bytesOf("00000000003\0");
    const archive = tar([
      { name: "wide", bytes, sizeField: wide },
      paxPart({ size: "513" }),
      { name: "pax", bytes, sizeField: octal },
    ]);
    const { entries, error } = await readAll(archive);
    expect(error).toBeUndefined();
    expect(entries.map((entry) => entry.bytes)).toEqual([bytes, bytes]);
  });

  test("links, folders, devices and unknown kinds are passed over", async () => {
    const bytes = bytesOf("data");
    const size = bytesOf("00000000777\0"); // what a link claims, no data following
    const archive = tar([
      paxPart({ comment: "for all" }, "g"),
      ...["1", "2", "3", "4", "5", "6"].map((type) => ({ name: `kind${type}`, type, sizeField: size })),
      { name: "volume", type: "V", bytes },
      { name: "old-folder/", type: "\0" },
      { name: "old", type: "\0", bytes },
    ]);
    const { entries, error } = await readAll(archive);
    expect(error).toBeUndefined();
    expect(entries.map((entry) => [entry.name, textOf(entry.bytes)])).toEqual([["old", "data"]]);
  });

  test("what is not read is passed over, and what was read is not given twice", async () => {
    const archive = tar(["a", "b", "c"].map((name) => ({ name, bytes: new Uint8Array(700).fill(name.charCodeAt(0)) })));
    const seen: unknown[] = [];
    for await (const entry of readTar(inPieces(archive, 300), { name: "a.tar" })) {
      if (entry.name === "b") continue;
      seen.push((await entry.read())[699]);
      await entry.skip();
      await expect(entry.read()).rejects.toThrow("INTERNAL");
    }
    expect(seen).toEqual([97, 99]);
  });

  test("leaving early closes the source", async () => {
    let closed = false;
    async function* source() {
      try {
        yield* inPieces(tar([{ name: "a" }, { name: "b" }]));
      } finally {
        closed = true;
      }
    }
    for await (const _ of readTar(source(), { name: "a.tar" })) break;
    expect(closed).toBe(true);
  });
});

describe("Python's tarfile", () => {
  const python = (() => {
    try {
      execFileSync("python3", ["--version"], { stdio: "ignore" });
      return true;
    } catch {
      return false;
    }
  })();

  const script = (format: string) => `
import io, sys, tarfile
out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w", format=tarfile.${format}, pax_headers=${format === "PAX_FORMAT" ? '{"comment": "all"}' : "None"}) as t:
    for name in ["plain.jpg", "d\\u00fcr/" * 30 + "long.jpg", "x" * 180 + ".txt"]:
        info = tarfile.TarInfo(name)
        data = (name[-9:] * 100).encode()
        info.size, info.mtime = len(data), 1234.5
        t.addfile(info, io.BytesIO(data))
    link = tarfile.TarInfo("link"); link.type = tarfile.SYMTYPE; link.linkname = "y" * 150
    t.addfile(link)
    folder = tarfile.TarInfo("folder"); folder.type = tarfile.DIRTYPE
    t.addfile(folder)
sys.stdout.buffer.write(out.getvalue())
`;

  test.skipIf(!python).each(["GNU_FORMAT", "PAX_FORMAT"])("%s archives are read", async (format) => {
    const archive = new Uint8Array(execFileSync("python3", ["-c", script(format)]));
    const { entries, error } = await readAll(archive);
    expect(error).toBeUndefined();
    const names = ["plain.jpg", `${"dür/".repeat(30)}long.jpg`, `${"x".repeat(180)}.txt`];
    expect(entries.map((entry) => entry.name)).toEqual(names);
    expect(entries.map((entry) => textOf(entry.bytes))).toEqual(names.map((name) => name.slice(-9).repeat(100)));
  });
});

describe("what is wrong with archives", () => {
  const bytes = bytesOf("some data");

  test("every truncation gives the whole entries before it and names the archive and the offset", async () => {
    const archive = tar([
      longNamePart("n".repeat(200)),
      { name: "cut", bytes },
      paxPart({ path: "p" }),
      { name: "x", bytes },
    ]);
    const whole = (await readAll(archive)).entries;
    for (let length = 0; length < archive.length - 512; length++) {
      const { entries, error } = await readAll(archive.subarray(0, length));
      expect(entries).toEqual(whole.filter(({ end }) => end <= length));
      expect(error).toBeInstanceOf(TruncatedTar);
      expect(String(error)).toMatch(/\(a\.tar, offset \d+\) \[FILE_CORRUPT\]$/);
    }
    expect((await readAll(archive.subarray(0, archive.length - 512))).error).toBeUndefined();
  });

  test("a wrong checksum is named, with its place", async () => {
    const archive = joinBytes(tarPart({ name: "a", bytes }), tarPart({ name: "b", checksum: 77 }));
    expect(await failure(archive)).toMatch(/checksum is wrong \(a\.tar, offset 1024\) \[FILE_CORRUPT\]$/);
  });

  test("a checksum of signed bytes is right, as old programs wrote it", async () => {
    const name = "ü"; // two bytes above 127
    const unsigned = tarPart({ name });
    const sum = Number.parseInt(textOf(unsigned.subarray(148, 154)), 8) - 512;
    const { entries } = await readAll(joinBytes(tarPart({ name, checksum: sum }), new Uint8Array(512)));
    expect(entries.map((entry) => entry.name)).toEqual([name]);
  });

  test.each<[string, Uint8Array]>([
    ["negative", Uint8Array.from({ length: 12 }, () => 0xff)],
    ["beyond every file", Uint8Array.from({ length: 12 }, (_, i) => (i === 0 ? 0x80 : 0xff))],
    ["no number", bytesOf("12345678abc\0")],
    ["a number and more", bytesOf("12 45678   \0")],
  ])("a size that is %s is refused", async (_, sizeField) => {
    expect(await failure(joinBytes(tarPart({ name: "a", sizeField }), new Uint8Array(2048)))).toContain(
      "[FILE_CORRUPT]",
    );
  });

  test("a size that the archive does not have is a truncation, and takes no memory", async () => {
    const claimed = joinBytes(tarPart({ name: "a", sizeField: bytesOf("00177777777\0") }), bytes);
    const { error } = await readAll(claimed);
    expect(error).toBeInstanceOf(TruncatedTar);
  });

  test("an entry above the limit is not read, but can be passed over", async () => {
    const archive = tar([
      { name: "large", bytes: new Uint8Array(2000) },
      { name: "small", bytes },
    ]);
    expect(await failure(archive, { maxEntryBytes: 1999 })).toMatch(/"large" has 2000 bytes, the limit is 1999/);
    const names: string[] = [];
    for await (const entry of readTar(inPieces(archive), { name: "a.tar", maxEntryBytes: 1999 })) {
      names.push(textOf(await entry.read().catch(() => bytesOf("too large"))));
    }
    expect(names).toEqual(["too large", "some data"]);
  });

  test("headers of headers have a limit", async () => {
    const huge: TarPart = { name: "x", type: "x", sizeField: bytesOf("00017777777\0") };
    expect(await failure(tarPart(huge))).toContain('a header of type "x" with 4194303 bytes');
  });

  test.each(["x", "5 a=b\n", "99 a=b\n", "6 a=bc", "0 a=b\n", "11 size=-1\n", "12 size=1e3\n", " a=b\n"])(
    "the pax header %j is refused",
    async (text) => {
      const archive = tar([{ name: "x", type: "x", bytes: bytesOf(text) }, { name: "a" }]);
      expect(await failure(archive)).toContain("[FILE_CORRUPT]");
    },
  );

  test.each<[string, Uint8Array]>([
    ["sparse file", tar([{ name: "a", type: "S" }])],
    ["sparse file", tar([paxPart({ "GNU.sparse.major": "1" }), { name: "a" }])],
    ["gzip", joinBytes(Uint8Array.of(0x1f, 0x8b, 8), new Uint8Array(600))],
  ])("%s archives are told from damaged ones", async (word, archive) => {
    expect(await failure(archive)).toMatch(new RegExp(`${word}.*\\[FILE_UNSUPPORTED\\]$`));
  });

  test("random bytes and flipped bits end in a value or a ToklipError", async () => {
    const honest = tar([
      longNamePart("n".repeat(120)),
      { name: "a.jpg", bytes: new Uint8Array(600) },
      paxPart({ path: "p", size: "9" }),
      { name: "b", bytes },
    ]);
    const flips = fc.array(fc.record({ at: fc.nat(honest.length - 1), bit: fc.nat(7) }), {
      minLength: 1,
      maxLength: 4,
    });
    const damaged = fc.record({ flips, fix: fc.boolean() }).map(({ flips, fix }) => {
      const copy = honest.slice();
      for (const { at, bit } of flips) copy[at]! ^= 1 << bit;
      return fix ? withChecksums(copy) : copy;
    });
    await fc.assert(
      fc.asyncProperty(fc.oneof(damaged, fc.uint8Array({ maxLength: 2000 }).map(withChecksums)), async (archive) => {
        const { entries, error } = await readAll(archive);
        expect(error === undefined || error instanceof ToklipError).toBe(true);
        expect(entries.reduce((sum, entry) => sum + entry.bytes.length, 0)).toBeLessThanOrEqual(archive.length);
      }),
      { numRuns: 1000 },
    );
  });
});

/** Gives each block a right checksum, so that what else is wrong with it is reached. */
function withChecksums(bytes: Uint8Array): Uint8Array {
  const fixed = bytes.slice();
  for (let at = 0; at + 512 <= fixed.length; at += 512) {
    const block = fixed.subarray(at, at + 512);
    if (block.every((byte) => byte === 0)) continue;
    block.set(bytesOf("        "), 148);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.set(bytesOf(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
  }
  return fixed;
}
