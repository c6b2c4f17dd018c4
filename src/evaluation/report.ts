/** The report of an evaluation as one HTML page that needs nothing else: style, numbers and pictures are in it. */
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
import { escapeHtml } from "./html.ts";
import { barOf, imageOf, PAGE_END, pageStart } from "./page.ts";
import { formatInterval, formatMetric } from "./report-text.ts";

const TITLES: Readonly<Record<EvaluationTask, string>> = {
  zeroshot: "Zero-shot naming",
  retrieval: "Retrieval",
  reconstruction: "Reconstruction",
  "linear-probe": "Linear probe",
  knn: "Nearest neighbours",
};

const STYLE = `
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:12px;margin-top:24px}
.card b{display:block;font-size:26px;line-height:1.25;font-variant-numeric:tabular-nums}
.meaning{color:var(--soft);font-size:13px}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(132px,1fr));gap:14px}
figure img{display:block;max-width:100%;border-radius:6px;border:3px solid transparent;background:#fff}
figure.right img{border-color:var(--good)}figure.wrong img{border-color:var(--bad)}
figcaption small{color:var(--soft)}
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
    pageStart(title, STYLE),
    `<p class="sub">${escapeHtml(model.description)}. Made in ${digits(seconds)} s${speed}.</p>`,
    `<section class="cards">${metrics.map(cardOf).join("")}</section>`,
    `<h2>Data</h2>${data.map(dataOf).join("")}`,
    ...galleries.map(galleryOf),
    ...tables.map(tableOf),
    `<h2>Settings</h2>${rowsOf(["setting", "value"], Object.entries(settings).map(settingOf))}`,
    PAGE_END,
  ].join("\n");
}

function digits(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function cardOf(metric: Metric): string {
  const { name, value, unit, count, meaning } = metric;
  const bar = unit === "share" && value !== null ? barOf(value) : "";
  const interval = formatInterval(metric);
  const notes = [meaning, ...(interval === "" ? [] : [`95 % interval ${interval}`]), `of ${count}`];
  return [
    `<div class="card"><span>${escapeHtml(name)}</span><b>${escapeHtml(formatMetric(metric))}</b>${bar}`,
    `<div class="meaning">${notes.map(escapeHtml).join("<br>")}</div></div>`,
  ].join("");
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
  const image = imageOf(png, caption.replaceAll("\n", ", "));
  const kind = verdict === undefined ? "" : ` class="${verdict}"`;
  return `<figure${kind}>${image}<figcaption>${first}${small}</figcaption></figure>`;
}

function settingOf([name, value]: readonly [string, JsonValue]): readonly Cell[] {
  return [name, typeof value === "string" ? value : JSON.stringify(value)];
}
