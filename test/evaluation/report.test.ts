import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { base64, escapeHtml } from "../../src/evaluation/html.ts";
import { type Evaluation, evaluationJson, evaluationReport, evaluationText } from "../../src/evaluation/index.ts";

const PNG = Uint8Array.of(137, 80, 78, 71, 0, 255);
const EVIL = `<img src=x onerror="alert('1')">&`;

const EVALUATION: Evaluation = {
  task: "zeroshot",
  model: { name: EVIL, description: "TokLIP" },
  data: [{ name: `folder ${EVIL}`, used: 3, skipped: [{ reason: EVIL, count: 2, example: `${EVIL}.jpg: broken` }] }],
  settings: { templates: ["{}", EVIL], k: 5 },
  metrics: [
    { name: "top1", value: 1 / 3, unit: "share", count: 3, interval: [0.0615, 0.7923], margin: 0.3654, meaning: EVIL },
    { name: "top5", value: null, unit: "share", count: 3, meaning: "not given" },
    { name: "psnr", value: 21.456, unit: "dB", count: 3, margin: 0.1, meaning: "" },
    { name: "left", value: 12, unit: "count", count: 3, meaning: "" },
  ],
  tables: [
    {
      title: EVIL,
      columns: ["class", "pictures", "top1 %"],
      rows: Array.from({ length: 30 }, (_, i) => [EVIL, i, i / 3]),
    },
    { title: "Empty", columns: ["a"], rows: [] },
    { title: "Odd", columns: ["a", "b"], rows: [["x", null]] },
  ],
  galleries: [
    { title: "Wrong", pictures: [{ png: PNG, caption: `${EVIL}\n${EVIL}.png`, verdict: "wrong" }] },
    { title: "None", pictures: [] },
  ],
  seconds: 12.3456,
  picturesPerSecond: 0,
};

describe("the report", () => {
  const html = evaluationReport(EVALUATION);

  it("holds its pictures and loads nothing", () => {
    expect(html).toContain(`src="data:image/png;base64,${Buffer.from(PNG).toString("base64")}"`);
    const sources = Array.from(html.matchAll(/<[a-z][^>]*?\s(?:src|href)="([^"]*)"/g), (match) => match[1]!);
    expect(sources.filter((source) => !source.startsWith("data:image/png;base64,"))).toEqual([]);
    expect(sources).toHaveLength(1);
    expect(html).not.toMatch(/https?:|<script|<link|@import|url\(/);
    expect(html).toContain("default-src 'none'");
  });

  it("shows what comes from outside as text", () => {
    expect(html).not.toContain("<img src=x");
    expect(html).toContain(escapeHtml(EVIL));
    // Each element that is opened is one of ours.
    const names = new Set(Array.from(html.matchAll(/<([a-z0-9]+)/g), (match) => match[1]));
    const ours =
      "html head meta title style body h1 h2 p section div span b i br table thead tbody tr th td details summary figure img figcaption small";
    expect([...names].filter((name) => !ours.split(" ").includes(name!))).toEqual([]);
  });

  it("shows figures with their intervals, and a dash for what is not known", () => {
    expect(html).toContain("<b>33.33 %</b>");
    expect(html).toContain("95 % interval 6.15 to 79.23 %");
    expect(html).toContain("<b>-</b>");
    expect(html).toContain("21.46 dB");
    expect(html).toContain("± 0.10 dB");
    expect(html).not.toMatch(/NaN|undefined|\[object/);
  });

  it("keeps long tables closed, all rows in them", () => {
    expect(html).toContain("<summary>5 more</summary>");
    expect(html.match(/<td class="n">29<\/td>/g)).toHaveLength(1);
    expect(html).toContain('<td class="n">9.7</td>');
  });
});

describe("the other views", () => {
  it("are JSON without the pictures' bytes", () => {
    const json = JSON.parse(JSON.stringify(evaluationJson(EVALUATION)));
    expect(json.metrics[1].value).toBeNull();
    expect(json.galleries[0]).toEqual({
      title: "Wrong",
      pictures: [{ caption: `${EVIL}\n${EVIL}.png`, verdict: "wrong" }],
    });
  });

  it("are lines for a terminal", () => {
    expect(
      evaluationText({ ...EVALUATION, model: { name: "m", description: "TokLIP" }, data: [] }),
    ).toMatchInlineSnapshot(`
      "zeroshot of m (TokLIP)

      metric  value     95 % interval    samples
      top1    33.33 %   6.15 to 79.23 %  of 3     <img src=x onerror="alert('1')">&
      top5    -                          of 3     not given
      psnr    21.46 dB  ± 0.10 dB        of 3
      left    12                         of 3

      12.3 s"
    `);
  });
});

describe("base64", () => {
  it("is as Node's", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
        expect(base64(bytes)).toBe(Buffer.from(bytes).toString("base64"));
      }),
    );
  });
});
