/**
 * The report of an evaluation as one HTML page that needs nothing else: style, numbers and pictures are in it, and a
 * policy in its head keeps it from loading anything.
 */
import type { JsonValue } from "../data/index.ts";
import type {
  EvaluatedData,
  Evaluation,
  EvaluationGallery,
  EvaluationPicture,
  EvaluationTable,
  EvaluationTask,
  Metric,
} from "./evaluation.ts";
import { base64, escapeHtml } from "./html.ts";
import { formatInterval, formatMetric } from "./report-text.ts";

const TITLES: Readonly<Record<EvaluationTask, string>> = {
  zeroshot: "Zero-shot naming",
  retrieval: "Retrieval",
  reconstruction: "Reconstruction",
  "linear-probe": "Linear probe",
  knn: "Nearest neighbours",
};

const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

const STYLE = `
:root{color-scheme:light dark;--ink:#1c1e26;--soft:#6a6f80;--line:#dfe1e8;--page:#fff;--card:#f6f7fa;--bar:#3f6fd8;--good:#1f8a52;--bad:#c0303f}
@media(prefers-color-scheme:dark){:root{--ink:#e7e8ee;--soft:#9a9fb0;--line:#343844;--page:#16181d;--card:#1f222a;--bar:#7aa2ff;--good:#4cc38a;--bad:#ff6b78}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:32px 20px 64px;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{margin:0;font-size:26px}h2{margin:40px 0 12px;font-size:19px}
.sub,.meaning,figcaption small{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:12px;margin-top:24px}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.card b{display:block;font-size:26px;line-height:1.25;font-variant-numeric:tabular-nums}
.meaning{font-size:13px}
.bar{height:6px;margin:6px 0;border-radius:3px;background:var(--line);overflow:hidden}.bar i{display:block;height:100%;background:var(--bar)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:4px 14px 4px 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600}td.n,th.n{text-align:right}
summary{cursor:pointer;color:var(--soft);margin:8px 0}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(132px,1fr));gap:14px}
figure{margin:0;font-size:13px;line-height:1.35;overflow-wrap:anywhere}
figure img{display:block;max-width:100%;border-radius:6px;border:3px solid transparent;background:#fff}
figure.right img{border-color:var(--good)}figure.wrong img{border-color:var(--bad)}
.single{display:block}
`;

/** Rows of a table that are open; the others are shown when asked for. */
const OPEN_ROWS = 25;

/** The page. */
export function evaluationReport(evaluation: Evaluation): string {
  const { task, model, data, settings, metrics, tables, galleries, seconds, picturesPerSecond } = evaluation;
  const title = `${TITLES[task]}: ${model.name}`;
  const speed = picturesPerSecond > 0 ? `, ${digits(picturesPerSecond)} pictures/s` : ", features were there already";
  return [
    `<!doctype html><html lang="en"><head><meta charset="utf-8">`,
    `<meta http-equiv="Content-Security-Policy" content="${POLICY}">`,
    `<meta name="viewport" content="width=device-width"><title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>`,
    `<h1>${escapeHtml(title)}</h1>`,
    `<p class="sub">${escapeHtml(model.description)}. Made in ${digits(seconds)} s${speed}.</p>`,
    `<section class="cards">${metrics.map(cardOf).join("")}</section>`,
    `<h2>Data</h2>${data.map(dataOf).join("")}`,
    ...galleries.map(galleryOf),
    ...tables.map(tableOf),
    `<h2>Settings</h2>${rowsOf(["setting", "value"], Object.entries(settings).map(settingOf))}`,
    `</body></html>\n`,
  ].join("\n");
}

function digits(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function cardOf(metric: Metric): string {
  const { name, value, unit, count, meaning } = metric;
  const isBar = unit === "share" && value !== null;
  const bar = isBar ? `<div class="bar"><i style="width:${(100 * clamped(value)).toFixed(1)}%"></i></div>` : "";
  const interval = formatInterval(metric);
  const notes = [meaning, ...(interval === "" ? [] : [`95 % interval ${interval}`]), `of ${count}`];
  return [
    `<div class="card"><span>${escapeHtml(name)}</span><b>${escapeHtml(formatMetric(metric))}</b>${bar}`,
    `<div class="meaning">${notes.map(escapeHtml).join("<br>")}</div></div>`,
  ].join("");
}

function clamped(value: number): number {
  return Math.min(1, Math.max(0, value));
}

function dataOf({ name, used, skipped }: EvaluatedData): string {
  const text = `<p>${escapeHtml(name)}: ${used} used.</p>`;
  if (skipped.length === 0) return text;
  const rows = skipped.map(({ reason, count, example }) => [reason, count, example]);
  return text + rowsOf(["left out", "samples", "the first"], rows);
}

function tableOf({ title, columns, rows }: EvaluationTable): string {
  const heading = `<h2>${escapeHtml(title)}</h2>`;
  if (rows.length === 0) return `${heading}<p class="sub">None.</p>`;
  const open = rowsOf(columns, rows.slice(0, OPEN_ROWS));
  if (rows.length <= OPEN_ROWS) return heading + open;
  const rest = rowsOf(columns, rows.slice(OPEN_ROWS));
  return `${heading}${open}<details><summary>${rows.length - OPEN_ROWS} more</summary>${rest}</details>`;
}

type Cell = string | number | null;

function rowsOf(columns: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const isNumeric = columns.map((_, i) => rows.some((row) => typeof row[i] === "number"));
  const attribute = (i: number) => (isNumeric[i] ? ' class="n"' : "");
  const head = columns.map((name, i) => `<th${attribute(i)}>${escapeHtml(name)}</th>`).join("");
  const body = rows.map((row) => {
    const cells = row.map((cell, i) => `<td${attribute(i)}>${escapeHtml(formatCell(cell, columns[i] ?? ""))}</td>`);
    return `<tr>${cells.join("")}</tr>`;
  });
  return `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${body.join("\n")}</tbody></table></div>`;
}

/** Percentages with one digit, whole numbers as they are, others with four digits. */
function formatCell(cell: Cell, column: string): string {
  if (cell === null) return "-";
  if (typeof cell === "string") return cell;
  if (column.endsWith("%")) return cell.toFixed(1);
  return Number.isInteger(cell) ? String(cell) : String(Number(cell.toPrecision(4)));
}

function galleryOf({ title, pictures }: EvaluationGallery): string {
  const heading = `<h2>${escapeHtml(title)}</h2>`;
  if (pictures.length === 0) return `${heading}<p class="sub">None.</p>`;
  const grid = pictures.length === 1 ? "single" : "gallery";
  return `${heading}<div class="${grid}">${pictures.map(figureOf).join("\n")}</div>`;
}

/** The first line of a caption stands out, the others are small. */
function figureOf({ png, caption, verdict }: EvaluationPicture): string {
  const [first = "", ...rest] = caption.split("\n").map(escapeHtml);
  const small = rest.map((line) => `<br><small>${line}</small>`).join("");
  const alt = escapeHtml(caption.replaceAll("\n", ", "));
  const kind = verdict === undefined ? "" : ` class="${verdict}"`;
  return `<figure${kind}><img alt="${alt}" src="data:image/png;base64,${base64(png)}"><figcaption>${first}${small}</figcaption></figure>`;
}

function settingOf([name, value]: readonly [string, JsonValue]): readonly Cell[] {
  return [name, typeof value === "string" ? value : JSON.stringify(value)];
}
