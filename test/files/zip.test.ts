import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { memorySource } from "../../src/core/index.ts";
import { locateZipEntry, readZipDirectory } from "../../src/files/index.ts";
import { joinBytes } from "./pickle-writer.ts";
import { valueOrError } from "./value-or-error.ts";
import { type ZipOptions, type ZipPart, zip } from "./zip-writer.ts";

/** The bytes of every entry, by name. */
async function readEntries(bytes: Uint8Array): Promise<Map<string, Uint8Array>> {
  const source = memorySource(bytes, "x.pt");
  const found = new Map<string, Uint8Array>();
  for (const entry of (await readZipDirectory(source)).values()) {
    found.set(entry.name, await source.read(await locateZipEntry(source, entry), entry.size));
  }
  return found;
}

const part = (name: string, text: string, members: Partial<ZipPart> = {}): ZipPart => ({
  name,
  bytes: joinBytes(text),
  ...members,
});

describe("readZipDirectory", () => {
  it("finds every stored entry, with and without 64-bit fields, comments and padding", async () => {
    const parts = fc.uniqueArray(
      fc.record({
        name: fc.string({ unit: "grapheme", maxLength: 8 }),
        bytes: fc.uint8Array({ maxLength: 40 }),
        padding: fc.nat(70),
      }),
      { selector: ({ name }) => name, maxLength: 6 },
    );
    await fc.assert(
      fc.asyncProperty(parts, fc.boolean(), fc.constantFrom("", "a comment"), async (all, zip64, comment) => {
        const found = await readEntries(zip(all, { zip64, comment }));
        expect(found).toEqual(new Map(all.map(({ name, bytes }) => [name, bytes])));
      }),
    );
  });

  it.each<[string, ZipPart[], ZipOptions, string]>([
    ["a compressed entry", [part("a", "xx", { method: 8 })], {}, 'entry "a" is compressed (method 8), expected stored'],
    [
      "a zip bomb",
      [part("a", "xx", { claimedSize: 2 ** 31, claimedStoredSize: 2 })],
      {},
      "has 2 stored bytes of 2147483648",
    ],
    ["an encrypted entry", [part("a", "xx", { flags: 1 })], {}, "is encrypted"],
    ["two entries of one name", [part("a", "x"), part("a", "y")], {}, 'two entries are called "a"'],
    ["two entries over the same bytes", [part("a", "x"), part("b", "y", { claimedOffset: 0 })], {}, "overlaps"],
    ["an entry that runs into the next", [part("a", "x", { claimedSize: 40 }), part("b", "y")], {}, "overlaps"],
    ["an entry that runs into the directory", [part("a", "x", { claimedSize: 2 })], {}, "overlaps"],
    ["an entry outside the file", [part("a", "x", { claimedOffset: 1e6 })], {}, "lies outside the file"],
    ["an entry of 2^60 bytes", [part("a", "x", { claimedSize: 2 ** 60 })], { zip64: true }, "at offset 0"],
    [
      "an entry at 2^53 - 1",
      [part("a", "x", { claimedOffset: 2 ** 53 - 1 })],
      { zip64: true },
      "lies outside the file",
    ],
    ["another name in the local header", [part("a", "x", { localName: "b" })], {}, 'is not that of "a"'],
    [
      "a longer name in the local header",
      [part("a", "x", { localName: "ab" }), part("b", "")],
      {},
      'is not that of "a"',
    ],
    ["padding that pushes an entry into the next", [part("a", "x", { claimedSize: 6, padding: 5 })], {}, "overlaps"],
    ["more entries than there are", [part("a", "x")], { claimedCount: 2 }, "does not fit"],
    ["fewer entries than there are", [part("a", "x"), part("b", "x")], { claimedCount: 1 }, "malformed directory"],
    ["2^52 entries", [part("a", "x")], { zip64: true, claimedCount: 2 ** 52 }, "does not fit"],
    ["several disks", [part("a", "x")], { disk: 1 }, "over several disks"],
    ["several disks in the 64-bit directory", [part("a", "x")], { disk: 1, zip64: true }, "over several disks"],
    ["an entry on another disk", [part("a", "x", { disk: 3 })], {}, "over several disks"],
  ])("refuses %s", async (_, parts, options, message) => {
    await expect(readEntries(zip(parts, options))).rejects.toThrow(message);
  });

  it("says that a file without a directory may be cut short", async () => {
    const bytes = zip([part("a", "x".repeat(200))]);
    await expect(readEntries(bytes.subarray(0, 100))).rejects.toThrow("no directory at the end of the file");
  });

  it("gives a value or a ToklipError for every truncation and every flipped bit", async () => {
    for (const zip64 of [false, true]) {
      const bytes = zip([part("a", "abc", { padding: 5 }), part("b/c", "")], { zip64 });
      for (let length = 0; length < bytes.length; length++) {
        await expect(readEntries(bytes.subarray(0, length))).rejects.toThrow("x.pt");
      }
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const flipped = bytes.slice();
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        await valueOrError(() => readEntries(flipped));
      }
    }
  });
});
