/** Line charts as SVG: one panel with axes, grid and lines. What is in a chart is its caller's affair. */

/** A place in a panel: x and y in the units of its axes. */
export type Point = readonly [x: number, y: number];

/** A line through points in the order of their x. Points that are not finite, or absurdly large or small, are left out. */
export interface ChartLine {
  readonly points: readonly Point[];
  readonly colour: string;
  readonly width: number;
  /** Marks each point, for lines of few. */
  readonly dots?: boolean;
}

/** A panel: its rectangle on the page in pixels, its title, its lines. */
export interface Panel {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly title: string;
  readonly lines: readonly ChartLine[];
  /** The first and the last x. */
  readonly range: Point;
}

/** Between values and pixels. */
interface Axis {
  readonly place: (value: number) => number;
  readonly ticks: readonly number[];
}

const MARGIN = { left: 58, right: 20, top: 26, bottom: 24 };
/** Values whose largest is so many times the smallest are drawn on a logarithmic axis. */
const LOG_RATIO = 30;
/** Beyond it, and below its inverse, the arithmetic of axes would overflow. */
const LARGEST = 1e100;
const TICKS_WANTED = 5;
/** Steps between ticks, times a power of ten. */
const ROUND = [1, 2, 5, 10];

/** Draws a panel as an SVG group. */
export function drawPanel(panel: Panel): string {
  const { left, top, width, height, title, range } = panel;
  const frame = {
    left: left + MARGIN.left,
    right: left + width - MARGIN.right,
    top: top + MARGIN.top,
    bottom: top + height - MARGIN.bottom,
  };
  const lines = panel.lines.map((line) => ({ ...line, points: line.points.filter(isDrawable) }));
  const x = linearAxis(range, [frame.left, frame.right]);
  const y = axisOf(
    lines.flatMap(({ points }) => points.map(([, value]) => value)),
    [frame.bottom, frame.top],
  );
  return [
    "<g>",
    `<text x="${frame.left}" y="${top + 17}" font-weight="bold">${escapeXml(title)}</text>`,
    ...y.ticks.map((tick) => {
      const at = fixed(y.place(tick));
      return (
        `<path d="M${frame.left} ${at}H${frame.right}" stroke="#e3e3e3"/>` +
        `<text x="${frame.left - 5}" y="${at}" dy="0.35em" text-anchor="end">${formatTick(tick)}</text>`
      );
    }),
    ...x.ticks.map((tick) => {
      const at = fixed(x.place(tick));
      return `<text x="${at}" y="${frame.bottom + 16}" text-anchor="middle">${formatTick(tick)}</text>`;
    }),
    `<path d="M${frame.left} ${frame.top}V${frame.bottom}H${frame.right}" fill="none" stroke="#888"/>`,
    ...lines.map((line) => drawLine(line, x, y, frame.right - frame.left)),
    "</g>",
  ].join("\n");
}

function isDrawable([x, y]: Point): boolean {
  return Number.isFinite(x) && (y === 0 || (Math.abs(y) < LARGEST && Math.abs(y) > 1 / LARGEST));
}

function drawLine({ points, colour, width, dots = false }: ChartLine, x: Axis, y: Axis, pixels: number): string {
  const places = thinned(points, 2 * pixels).map(([at, value]) => [fixed(x.place(at)), fixed(y.place(value))] as const);
  if (places.length === 0) return "";
  const path = `<path d="M${places.map((place) => place.join(" ")).join("L")}" fill="none" stroke="${colour}" stroke-width="${width}"/>`;
  const single = places.length === 1; // a path of one point draws nothing
  const marked = dots || single ? places : [];
  return path + marked.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="${width + 1}" fill="${colour}"/>`).join("");
}

/** At most about `most` points: of each run of neighbours the lowest and the highest, so that no spike is lost. */
function thinned(points: readonly Point[], most: number): readonly Point[] {
  if (points.length <= most) return points;
  const size = Math.ceil((2 * points.length) / most);
  const kept: Point[] = [];
  for (let at = 0; at < points.length; at += size) {
    const run = points.slice(at, at + size);
    const low = run.reduce((a, b) => (b[1] < a[1] ? b : a));
    const high = run.reduce((a, b) => (b[1] > a[1] ? b : a));
    kept.push(...(low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low]));
  }
  return kept;
}

function axisOf(values: readonly number[], pixels: Point): Axis {
  const low = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const high = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  if (values.length === 0) return linearAxis([0, 1], pixels);
  if (low > 0 && high / low >= LOG_RATIO) return logAxis([low, high], pixels);
  const room = high > low ? (high - low) * 0.05 : Math.abs(high) * 0.05 || 1;
  return linearAxis([low - room, high + room], pixels);
}

function linearAxis([low, high]: Point, [from, to]: Point): Axis {
  const span = high > low ? high - low : 1;
  const rough = span / TICKS_WANTED;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ROUND.find((round) => power * round >= rough * 0.999)!;
  const first = Math.ceil(low / step);
  const count = Math.max(0, Math.floor((low + span) / step + 1e-9) - first + 1);
  return {
    place: (value) => from + ((value - low) / span) * (to - from),
    // A product can miss its round number by a rounding error.
    ticks: Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(12))),
  };
}

function logAxis([low, high]: Point, [from, to]: Point): Axis {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = Math.ceil((last - first) / TICKS_WANTED);
  const powers = Array.from({ length: Math.floor((last - first) / every) + 1 }, (_, i) => 10 ** (first + i * every));
  const span = Math.log10(high / low);
  return {
    place: (value) => from + (Math.log10(value / low) / span) * (to - from),
    ticks: powers.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001),
  };
}

/** `0.001`, `25k`, `3e-7`: short enough for the margin. */
function formatTick(value: number): string {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e7))
    return String(Number(value.toPrecision(3)).toExponential()).replace("e+", "e");
  return size >= 1e4 ? `${Number((value / 1000).toPrecision(6))}k` : String(Number(value.toPrecision(6)));
}

function fixed(value: number): string {
  return String(Number(value.toFixed(1)));
}

/** Text between tags: markup is escaped, control characters, which XML has no place for, are left out. */
export function escapeXml(text: string): string {
  const plain = text.replace(/[\u0000-\u001f\u007f-\u009f\ufffe\uffff]|\p{Surrogate}/gu, "");
  return plain.replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
