/** How PSNR is spread over the pictures: as rows of a table, and as a picture. */
import type { EvaluationTable } from "./evaluation.ts";

/** Pictures of a range of PSNR. */
interface Bin {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

const WIDTHS = [0.5, 1, 2, 5, 10];
const MOST_BINS = 24;

/** Bins of one width, in dB, from the lowest value to the highest; values that are not finite are not in any. */
function binsOf(psnrs: readonly number[]): Bin[] {
  const values = psnrs.filter(Number.isFinite);
  if (values.length === 0) return [];
  const [low, high] = [
    values.reduce((a, b) => Math.min(a, b)), //
    values.reduce((a, b) => Math.max(a, b)),
  ];
  const numberOf = (value: number, width: number) => Math.floor(value / width);
  const spans = (width: number) => numberOf(high, width) - numberOf(low, width) + 1;
  const width = WIDTHS.find((candidate) => spans(candidate) <= MOST_BINS) ?? WIDTHS.at(-1)!;
  const first = numberOf(low, width);
  const counts = new Array<number>(spans(width)).fill(0);
  for (const value of values) counts[numberOf(value, width) - first]!++;
  return counts.map((count, i) => ({ from: (first + i) * width, to: (first + i + 1) * width, count }));
}

/** A row a bin. */
export function psnrTable(psnrs: readonly number[]): EvaluationTable {
  const rows = binsOf(psnrs).map(({ from, to, count }) => [from, to, count, (100 * count) / psnrs.length]);
  return { title: "PSNR of the pictures", columns: ["from dB", "below dB", "pictures", "share %"], rows };
}

const [WIDTH, HEIGHT, MARGIN] = [560, 220, 34];

/** The picture, as SVG. */
export function psnrSvg(psnrs: readonly number[]): string {
  const bins = binsOf(psnrs);
  const most = bins.reduce((max, { count }) => Math.max(max, count), 1);
  const step = (WIDTH - 2 * MARGIN) / Math.max(1, bins.length);
  const floor = HEIGHT - MARGIN;
  const bars = bins.map(({ count }, i) => {
    const height = (count / most) * (floor - MARGIN);
    return `<rect x="${MARGIN + i * step + 1}" y="${floor - height}" width="${step - 2}" height="${height}"/>`;
  });
  const every = Math.ceil(bins.length / 12);
  const names = bins.map(({ from }, i) =>
    i % every === 0 ? `<text x="${MARGIN + i * step}" y="${floor + 16}">${from}</text>` : "",
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/><g fill="#4269d0">${bars.join("")}</g>`,
    `<path d="M${MARGIN} ${floor}H${WIDTH - MARGIN}" stroke="#888"/>`,
    `<g font-family="sans-serif" font-size="11" fill="#333" text-anchor="middle">${names.join("")}`,
    `<text x="${MARGIN}" y="${MARGIN - 8}" text-anchor="start">pictures, at most ${most}</text>`,
    `<text x="${WIDTH - MARGIN}" y="${HEIGHT - 4}" text-anchor="end">PSNR, dB</text></g></svg>`,
  ].join("");
}
