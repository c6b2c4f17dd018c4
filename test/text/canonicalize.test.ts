import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalize } from "../../src/text/canonicalize.ts";
import { fixText } from "../../src/text/fix-text.ts";
import { unescapeHtml } from "../../src/text/html-entities.ts";

interface Fixture {
  agreed: [text: string, result: string][];
  departures: [text: string, python: string, ours: string][];
}
const fixture = JSON.parse(readFileSync(new URL("./fixtures/canonicalize.json", import.meta.url), "utf8")) as Fixture;

describe("canonicalize", () => {
  it("gives what Python's ftfy and open_clip give for every pair of the fixture", () => {
    expect(fixture.agreed.length).toBeGreaterThan(250);
    expect(fixture.agreed.map(([text]) => [text, canonicalize(text)])).toEqual(fixture.agreed);
  });

  it("departs from Python only as the fixture says", () => {
    for (const [text, python, ours] of fixture.departures) {
      expect(canonicalize(text)).toBe(ours);
      expect(ours).not.toBe(python);
    }
  });

  it("removes ASCII punctuation and case, and leaves single spaces", () => {
    expect(canonicalize("  This is a_photo,\tof   2 Cats... ")).toBe("this is a photo of 2 cats");
    expect(canonicalize("!?.")).toBe("");
    expect(canonicalize("it’s “rock & roll”")).toBe("its rock roll");
  });

  it("lower-cases as Python does, final sigma and dotted capital I included", () => {
    expect(canonicalize("ΟΔΟΣ İ")).toBe("οδος i̇");
  });

  it("treats Python's white space as white space and nothing else", () => {
    expect(canonicalize("a\x1cb\x85c")).toBe("ab…c");
    expect(canonicalize("a\u3000b\u2028c\u200bd")).toBe("a b c\u200bd");
  });

  it("leaves no special token of a tokenizer in a text", () => {
    expect(canonicalize("<eos><bos><|endoftext|>[PAD]")).toBe("eosbosendoftextpad");
  });

  it("gives printable ASCII the same canonical form again", () => {
    const canonical = fc.string({ unit: "grapheme-ascii" }).map(canonicalize);
    fc.assert(fc.property(canonical, (text) => canonicalize(text) === text));
  });

  it("never throws, and leaves neither ASCII capitals nor punctuation, whatever the text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        expect(canonicalize(text)).not.toMatch(/[A-Z!-/:-@[-`{-~]| {2}|^ | $/);
      }),
    );
  });

  it("takes time in proportion to the text, however hostile", () => {
    const texts = [
      "Ã©".repeat(50_000),
      "&amp;".repeat(20_000),
      `&${"amp;".repeat(20_000)}`,
      "\x1b[".repeat(50_000),
      "Ã".repeat(100_000),
    ];
    for (const text of texts) expect(typeof canonicalize(text)).toBe("string");
  }, 5000);
});

describe("fixText", () => {
  const cases: [name: string, text: string, fixed: string][] = [
    ["UTF-8 read as windows-1252", "doesnâ€™t cafÃ©", "doesn't café"],
    ["UTF-8 misread twice", "Ã¢â‚¬â„¢", "'"],
    ["UTF-8 misread inside sound text", "犬 cafÃ© 犬", "犬 café 犬"],
    ["a lost last byte", "â€œhiâ€�", '"hi\ufffd'],
    ["a no-break space that became a space", "voilÃ  le chat", "voilà le chat"],
    ["windows-1252 controls", "a\x85b", "a…b"],
    ["curly quotes", "‘a’ “b”", "'a' \"b\""],
    ["ligatures", "ﬁne oﬀer", "fine offer"],
    ["full-width and half-width forms", "Ａ１ ｶﾅ", "A1 カナ"],
    ["line breaks", "a\r\nb\rc\u2028d", "a\nb\nc\nd"],
    ["terminal escapes", "\x1b[31mred\x1b[0m", "red"],
    ["control characters", "a\0b\ufeffc\x7f", "abc"],
    ["lone surrogates", "a\ud83d", "a\ufffd"],
    ["HTML references in plain text", "Tom &amp; &EACUTE;", "Tom & É"],
    ["decomposed letters", "e\u0301", "é"],
  ];
  it.each(cases)("repairs %s", (_, text, fixed) => expect(fixText(text)).toBe(fixed));

  it.each(["IL Y MARQUÉ…", "cœur, bœuf", "€100 £20", "5Â x", "AHÅ™, the new sofa from IKEA®", "Привет, мир"])(
    "leaves %s alone",
    (text) => expect(fixText(text)).toBe(text),
  );

  it("leaves HTML references alone from the first line that holds a tag", () => {
    expect(fixText("x &amp;\n<b>&amp;\n&amp;")).toBe("x &\n<b>&amp;\n&amp;");
  });
});

describe("plain text, which canonicalize takes as it is", () => {
  const character = fc
    .oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.constantFrom(9, 10))
    .map((code) => String.fromCharCode(code));
  it("has nothing to repair or to unescape", () => {
    fc.assert(
      fc.property(fc.string({ unit: character.filter((c) => c !== "&"), maxLength: 40 }), (text) => {
        expect(unescapeHtml(fixText(text))).toBe(text);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("unescapeHtml", () => {
  // Expected values: Python's html.unescape.
  const cases: [text: string, plain: string][] = [
    ["&amp", "&"],
    ["&notit;", "¬it;"],
    ["&notin;", "∉"],
    ["&hellip", "&hellip"],
    ["&acE;", "∾̳"],
    ["&#0;", "\ufffd"],
    ["&#x80;", "€"],
    ["&#xD800;", "\ufffd"],
    ["&#99999999999;", "\ufffd"],
    ["&#1;", ""],
    ["&#xfdd0;", ""],
    ["&#x;", "&#x;"],
    ["&#65", "A"],
    ["&foo;", "&foo;"],
  ];
  it.each(cases)("reads %s as Python does", (text, plain) => expect(unescapeHtml(text)).toBe(plain));
});
