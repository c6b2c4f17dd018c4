import fc from "fast-check";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { drawPanel } from "../../src/train/chart.ts";
import { drawLossCurve } from "../../src/train/loss-curve.ts";
import { formatRecord, type MetricsRecord, parseMetrics } from "../../src/train/metrics.ts";

const record = (step: number, loss: number, parts: Record<string, number> = {}): MetricsRecord => ({
  step,
  time: step * 2,
  loss,
  parts,
  learningRate: 1e-4,
  gradientNorm: 1,
  imagesPerSecond: 8,
  dataSeconds: 0.01,
});

const panel = (points: [number, number][]) =>
  drawPanel({
    left: 0,
    top: 0,
    width: 300,
    height: 200,
    title: "t",
    range: [0, points.at(-1)?.[0] ?? 1],
    lines: [{ points, colour: "#000", width: 1 }],
  });

const ticksOf = (svg: string): string[] => [...svg.matchAll(/text-anchor="end">([^<]*)</g)].map(([, text]) => text!);
const pathOf = (svg: string): [number, number][] =>
  [.../d="M([^"]*)" fill="none" stroke="#000"/.exec(svg)![1]!.matchAll(/(-?[\d.]+) (-?[\d.]+)/g)].map(([, x, y]) => [
    Number(x),
    Number(y),
  ]);

describe("a panel", () => {
  it("has round ticks, on a logarithmic axis where values span decades", () => {
    expect(
      ticksOf(
        panel([
          [0, 0.1],
          [10, 0.9],
        ]),
      ),
    ).toEqual(["0.2", "0.4", "0.6", "0.8"]);
    expect(
      ticksOf(
        panel([
          [0, 5],
          [10, 0.004],
        ]),
      ),
    ).toEqual(["0.01", "0.1", "1"]);
    expect(
      ticksOf(
        panel([
          [0, -5],
          [10, 400],
        ]),
      ),
    ).toEqual(["0", "100", "200", "300", "400"]);
    expect(
      ticksOf(
        panel([
          [0, 2e-5],
          [10, 2.5e-5],
        ]),
      )[0],
    ).toBe("2e-5");
    expect(
      ticksOf(
        panel([
          [0, 3],
          [10, 3],
        ]),
      ).length,
    ).toBeGreaterThan(2);
  });

  it("draws every spike of a long line", () => {
    const points = Array.from({ length: 50_000 }, (_, i): [number, number] => [i, i === 31_234 ? 9 : i % 2]);
    const places = pathOf(panel(points));
    expect(places.length).toBeLessThan(700);
    const highest = places.reduce((a, b) => (b[1] < a[1] ? b : a));
    expect(highest[0]).toBeCloseTo(58 + (31_234 / 49_999) * 222, 0);
    expect(places.map(([x]) => x)).toEqual(places.map(([x]) => x).sort((a, b) => a - b));
  });

  it("keeps all lines inside its frame", () => {
    fc.assert(
      fc.property(fc.array(fc.double(), { minLength: 1, maxLength: 40 }), (values) => {
        const svg = panel(values.map((value, i) => [i, value]));
        expect(svg).not.toMatch(/NaN|Infinity/);
        const drawn = values.some((value) => value === 0 || (Math.abs(value) < 1e100 && Math.abs(value) > 1e-100));
        expect(svg.includes('stroke="#000"')).toBe(drawn);
        if (!drawn) return;
        for (const [x, y] of pathOf(svg)) {
          expect(x >= 58 && x <= 280 && y >= 26 && y <= 176, `${x} ${y}`).toBe(true);
        }
      }),
    );
  });
});

describe("a loss curve", () => {
  const records = Array.from({ length: 300 }, (_, i) =>
    record(i * 10, 5 * 0.98 ** i + 0.1, { contrastive: 2 * 0.99 ** i, "<b>&\u0000": -i }),
  );
  const evaluation = {
    step: 1500,
    time: 1,
    evaluation: { loss: 0.5, psnr: Number.POSITIVE_INFINITY, "recall@1": 0.4 },
  };

  it("has a panel for the loss, each part, the rates and each value of the evaluations", () => {
    const svg = drawLossCurve([...records, evaluation], { title: "runs/<1>" });
    const titles = [...svg.matchAll(/font-weight="bold">([^<]*)</g)].map(([, title]) => title);
    expect(titles).toEqual([
      "loss",
      "contrastive",
      "&#60;b&#62;&#38;",
      "learning rate",
      "gradient norm",
      "evaluation: psnr",
      "evaluation: recall@1",
    ]);
    expect(svg).toContain("runs/&#60;1&#62;: step 2990");
  });

  it("is a picture that sharp draws, of no records too", async () => {
    for (const shown of [[...records, evaluation], []]) {
      const { width, format } = await sharp(
        await sharp(Buffer.from(drawLossCurve(shown, { title: "t" })))
          .png()
          .toBuffer(),
      ).metadata();
      expect([width, format]).toEqual([960, "png"]);
    }
  });
});

describe("metrics.jsonl", () => {
  it("gives the records back, numbers that JSON lacks included, up to a step", () => {
    const records = [
      record(1, 0.1, { a: Number.NaN }),
      { step: 1, time: 3, evaluation: { psnr: Number.POSITIVE_INFINITY } },
      record(2, Number.NEGATIVE_INFINITY),
      record(3, 1e-300),
    ];
    const text = records.map((each) => `${formatRecord(each)}\n`).join("");
    expect(parseMetrics(text).records).toEqual(records);
    const two = parseMetrics(text, 2);
    expect(two.records).toEqual(records.slice(0, 3));
    expect(text.slice(two.bytes)).toBe(`${formatRecord(records[3]!)}\n`);
  });

  it("is read up to the first line that is torn or not ours, whatever it holds", () => {
    const good = `${formatRecord(record(1, 1))}\n`;
    for (const rest of ['{"step":2,"time":1,"lo', "null\n", "7\n", '{"step":"2"}\n', '{"step":2}\n', "\u0000\n"]) {
      expect(parseMetrics(good + rest)).toEqual({ records: [record(1, 1)], bytes: good.length });
    }
    fc.assert(fc.property(fc.string(), (noise) => void parseMetrics(`${good}${noise}\n${good}`)));
  });
});
