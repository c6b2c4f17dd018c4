import { describe, expect, test } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { type ShowEntry, ShowPage } from "../../src/evaluation/show-page.ts";
import { FAKE_CONFIG } from "../pipelines/fake-model.ts";

const FACTS = { model: "<mini>", config: FAKE_CONFIG, labels: { count: 3, templates: ["a & {}"] } };

const ENTRY: ShowEntry = {
  file: "p/<a>.png",
  original: Uint8Array.of(1, 2, 3),
  reconstruction: Uint8Array.of(4, 5, 6, 7),
  grid: [2, 3],
  ids: Int32Array.of(0, 1, 2, 0, 511, 2),
  psnr: 20,
  ssim: 0.5,
  scores: [
    { label: '<script>"cat"', score: 0.9 },
    { label: "dog", score: 0.1 },
  ],
};

function pageOf(...entries: readonly ShowEntry[]): string {
  const page = new ShowPage(FACTS);
  return page.start() + entries.map((entry) => page.entry(entry)).join("") + page.end();
}

describe("the page of a show", () => {
  test("says what the model is in the numbers of its configuration", () => {
    // 64 x 64 pixels of 24 bits against 4 x 4 ids of 9: 98304 / 144.
    const text = pageOf().replaceAll("\n", " ");
    expect(text).toContain(
      "64 x 64 pixels and makes 4 x 4 = 16 ids of them, each one of 512: 144 bits, 683 times fewer",
    );
    expect(text).toContain('among 3, each put into "a &amp; {}"');
  });

  test("needs nothing from elsewhere, and forbids it", () => {
    const text = pageOf(ENTRY);
    expect(text).toContain(`content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"`);
    expect(text).not.toMatch(/https?:|<script|<link|@import|url\(/);
    for (const [, address] of text.matchAll(/src="([^"]*)"/g)) expect(address).toMatch(/^data:image\/png;base64,/);
  });

  test("holds the pictures' own bytes", () => {
    const found = [...pageOf(ENTRY).matchAll(/base64,([^"]*)"/g)].map(([, text]) => [...Buffer.from(text!, "base64")]);
    expect(found).toEqual([[...ENTRY.original], [...ENTRY.reconstruction]]);
  });

  test("writes names from outside as text", () => {
    const text = pageOf(ENTRY);
    expect(text).toContain("Pictures through &lt;mini&gt;");
    expect(text).toContain("p/&lt;a&gt;.png");
    expect(text).toContain("&lt;script&gt;&quot;cat&quot;");
  });

  test("gives every id a tile in its place, equal ids in equal colours, and a number", () => {
    const text = pageOf(ENTRY);
    const tiles = [...text.matchAll(/<rect x="(\d)" y="(\d)" [^>]*fill="([^"]*)"><title>(\d+)</g)];
    expect(tiles.map(([, x, y, , id]) => [Number(x), Number(y), Number(id)])).toEqual([
      [0, 0, 0],
      [1, 0, 1],
      [2, 0, 2],
      [0, 1, 0],
      [1, 1, 511],
      [2, 1, 2],
    ]);
    const colours = tiles.map(([, , , colour]) => colour);
    expect([colours[3], colours[5]]).toEqual([colours[0], colours[2]]);
    expect(new Set(colours).size).toBe(4);
    expect(text).toContain("<tr><td>0</td><td>511</td><td>2</td></tr>");
  });

  test("draws a bar as long as the score", () => {
    expect(pageOf(ENTRY)).toContain(
      `<span>90.0 %</span>&lt;script&gt;&quot;cat&quot;<div class="bar"><i style="width:90.0%">`,
    );
  });

  test("counts pictures, means over those that differ, and shows what could not be read", () => {
    const page = new ShowPage(FACTS);
    page.entry(ENTRY);
    page.entry({ ...ENTRY, psnr: 30, ssim: 0.7 });
    expect(page.entry({ ...ENTRY, psnr: Number.POSITIVE_INFINITY, ssim: 1 })).toContain(
      "<small>equal, SSIM 1.000</small>",
    );
    const failure = page.failure("<bad>", new ToklipError("IMAGE_UNREADABLE", "<bad>: not a picture"));
    expect(failure).toContain("&lt;bad&gt;: not a picture");
    expect(page.end()).toContain("<p>3 pictures; on average PSNR 25.00 dB, SSIM 0.733; 1 could not be read.</p>");
  });

  test("never means over nothing", () => {
    expect(new ShowPage(FACTS).end()).toContain("<p>0 pictures.</p>");
    const page = new ShowPage(FACTS);
    page.entry({ ...ENTRY, ssim: null });
    expect(page.end()).toContain("<p>1 picture; on average PSNR 20.00 dB.</p>");
  });
});
