/**
 * The curves of a run as one SVG page: the loss, raw and smoothed, with the evaluations' loss; below it a small panel for
 * each part of the loss, the learning rate, the gradient norm, and each other value of the evaluations.
 */
import { type ChartLine, drawPanel, escapeXml, type Point } from "./chart.ts";
import { type EvaluationRecord, isEvaluation, type MetricsRecord, type StepRecord } from "./metrics.ts";

const PAGE_WIDTH = 960;
const TITLE_HEIGHT = 34;
const MAIN_HEIGHT = 320;
const SMALL_HEIGHT = 180;
const COLUMNS = 3;

const RAW = "#b9cfe6";
const SMOOTH = "#1f5f9e";
const EVALUATED = "#d1611f";

/** What of the smoothed value before stays when a new one comes. */
const SMOOTHING = 0.9;

interface Curve {
  readonly title: string;
  readonly lines: readonly ChartLine[];
}

/** Draws the records of a run. */
export function drawLossCurve(records: readonly MetricsRecord[], { title }: { readonly title: string }): string {
  const steps = records.filter((record): record is StepRecord => !isEvaluation(record));
  const evaluations = records.filter(isEvaluation);
  const last = records.reduce((most, { step }) => Math.max(most, step), 1);
  const range: Point = [0, last];
  const small = smallCurves(steps, evaluations);
  const height = TITLE_HEIGHT + MAIN_HEIGHT + Math.ceil(small.length / COLUMNS) * SMALL_HEIGHT;
  const width = PAGE_WIDTH / COLUMNS;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${PAGE_WIDTH}" height="${height}" viewBox="0 0 ${PAGE_WIDTH} ${height}" font-family="sans-serif" font-size="11" fill="#333">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    `<text x="58" y="24" font-size="14">${escapeXml(title)}: step ${last}</text>`,
    drawLegend(),
    drawPanel({
      ...mainCurve(steps, evaluations),
      left: 0,
      top: TITLE_HEIGHT,
      width: PAGE_WIDTH,
      height: MAIN_HEIGHT,
      range,
    }),
    ...small.map((curve, i) => {
      const [left, top] = [(i % COLUMNS) * width, TITLE_HEIGHT + MAIN_HEIGHT + Math.floor(i / COLUMNS) * SMALL_HEIGHT];
      return drawPanel({ ...curve, left, top, width, height: SMALL_HEIGHT, range });
    }),
    "</svg>\n",
  ].join("\n");
}

function drawLegend(): string {
  const entries = [
    [RAW, "a step"],
    [SMOOTH, "smoothed"],
    [EVALUATED, "evaluation"],
  ] as const;
  return entries
    .map(([colour, name], i) => {
      const x = PAGE_WIDTH - 270 + i * 90;
      return `<path d="M${x} 20h18" stroke="${colour}" stroke-width="3"/><text x="${x + 23}" y="24">${name}</text>`;
    })
    .join("\n");
}

function mainCurve(steps: readonly StepRecord[], evaluations: readonly EvaluationRecord[]): Curve {
  const trained = steps.map(({ step, loss }): Point => [step, loss]);
  return { title: "loss", lines: [...rawAndSmooth(trained), evaluated(evaluations, "loss")] };
}

function smallCurves(steps: readonly StepRecord[], evaluations: readonly EvaluationRecord[]): readonly Curve[] {
  const parts = namesIn(steps.map((record) => record.parts));
  const values = namesIn(evaluations.map((record) => record.evaluation)).filter((name) => name !== "loss");
  const over = (value: (record: StepRecord) => number): Point[] => steps.map((record) => [record.step, value(record)]);
  return [
    ...parts.map((name) => ({ title: name, lines: rawAndSmooth(over(({ parts }) => parts[name] ?? Number.NaN)) })),
    { title: "learning rate", lines: [{ points: over((record) => record.learningRate), colour: SMOOTH, width: 1.5 }] },
    { title: "gradient norm", lines: rawAndSmooth(over((record) => record.gradientNorm)) },
    ...values.map((name) => ({ title: `evaluation: ${name}`, lines: [evaluated(evaluations, name)] })),
  ];
}

function namesIn(groups: readonly Readonly<Record<string, number>>[]): readonly string[] {
  return [...new Set(groups.flatMap((group) => Object.keys(group)))];
}

function evaluated(evaluations: readonly EvaluationRecord[], name: string): ChartLine {
  const points = evaluations.map(({ step, evaluation }): Point => [step, evaluation[name] ?? Number.NaN]);
  return { points, colour: EVALUATED, width: 1.5, dots: true };
}

function rawAndSmooth(points: readonly Point[]): readonly ChartLine[] {
  const finite = points.filter(([, value]) => Number.isFinite(value));
  return [
    { points: finite, colour: RAW, width: 1 },
    { points: smoothed(finite), colour: SMOOTH, width: 1.8 },
  ];
}

/** An exponential mean, divided by the weight it has gathered, so that it does not begin at zero. */
function smoothed(points: readonly Point[]): readonly Point[] {
  let [mean, weight] = [0, 0];
  return points.map(([x, value]) => {
    mean = SMOOTHING * mean + (1 - SMOOTHING) * value;
    weight = SMOOTHING * weight + (1 - SMOOTHING);
    return [x, mean / weight];
  });
}
