/**
 * What a model makes of pictures as one HTML page: for each the picture as the model saw it, the picture decoded from its
 * ids, the grid of ids, and the labels. Written piece by piece, so that memory does not grow with the number of pictures.
 */
import type { ToklipError } from "../core/index.ts";
import { gridOf, type ToklipConfig, vqOf } from "../models/index.ts";
import type { LabelScore } from "../pipelines/model.ts";
import type { ShownImage } from "../pipelines/show.ts";
import { escapeHtml } from "./html.ts";
import { barOf, imageOf, PAGE_END, pageStart } from "./page.ts";
import { RunningMean } from "./running-mean.ts";

/** What the page says of the model and the labels. */
export interface ShowFacts {
  /** The model's name or path. */
  readonly model: string;
  readonly config: ToklipConfig;
  /** What was chosen among; undefined where pictures were not labelled. */
  readonly labels?: { readonly count: number; readonly templates: readonly string[] } | undefined;
}

/** A picture for the page: both pictures as PNG files. */
export interface ShowEntry extends Omit<ShownImage, "original" | "reconstruction"> {
  readonly file: string;
  readonly original: Uint8Array;
  readonly reconstruction: Uint8Array;
}

const BITS_OF_PIXEL = 24;

const STYLE = `
p{max-width:760px}
.pictures{display:grid;gap:16px;margin:28px 0}
.pictures .card{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:16px;align-items:start}
.card>h2,.card>details,.card>p{grid-column:1/-1;margin:0}
.card>h2{font-size:16px;overflow-wrap:anywhere}
.card figure,.card small{color:var(--soft)}
.card small{font-weight:400;font-variant-numeric:tabular-nums}.card small.bad{color:var(--bad)}
.card img,.card svg{display:block;width:100%;aspect-ratio:1;border-radius:6px;margin-bottom:6px}
.card details td{border:0;padding:0 8px 0 0;text-align:right;font:12px/1.5 ui-monospace,monospace}
.labels{list-style:none;margin:0;padding:0;font-size:14px}
.labels span{float:right;margin-left:8px;color:var(--soft);font-variant-numeric:tabular-nums}
`;

/** Makes the page: `start()`, `entry()` or `failure()` for each picture, `end()`. */
export class ShowPage {
  private readonly facts: ShowFacts;
  private readonly psnr = new RunningMean();
  private readonly ssim = new RunningMean();
  private shown = 0;
  private failed = 0;

  constructor(facts: ShowFacts) {
    this.facts = facts;
  }

  /** The heading, what the model is, and what the columns mean. */
  start(): string {
    const { model, config, labels } = this.facts;
    return `${pageStart(`Pictures through ${model}`, STYLE)}${about(config)}${columns(labels)}<main class="pictures">
`;
  }

  /** A picture. */
  entry(entry: ShowEntry): string {
    this.shown++;
    if (Number.isFinite(entry.psnr)) this.psnr.add(entry.psnr);
    if (entry.ssim !== null) this.ssim.add(entry.ssim);
    return `<article class="card">
<h2>${escapeHtml(entry.file)} <small>${quality(entry.psnr, entry.ssim)}</small></h2>
<figure>${imageOf(entry.original, "what the model saw")}what the model saw</figure>
<figure>${imageOf(entry.reconstruction, "decoded from the ids")}decoded from the ids</figure>
<figure>${tiles(entry)}${entry.grid.join(" x ")} ids</figure>
${labelList(entry.scores)}
<details><summary>the ids as numbers</summary><div class="scroll">${idTable(entry)}</div></details>
</article>
`;
  }

  /** A picture that could not be read. */
  failure(file: string, error: ToklipError): string {
    this.failed++;
    return `<article class="card">
<h2>${escapeHtml(file)} <small class="bad">could not be read</small></h2>
<p class="sub">${escapeHtml(error.message)}</p>
</article>
`;
  }

  /** How many there were, and how close the reconstructions are on average. */
  end(): string {
    const { value: psnr } = this.psnr;
    const means = psnr === null ? "" : `; on average ${quality(psnr, this.ssim.value)}`;
    const failed = this.failed > 0 ? `; ${this.failed} could not be read` : "";
    return `</main>\n<p>${this.shown} ${this.shown === 1 ? "picture" : "pictures"}${means}${failed}.</p>\n${PAGE_END}`;
  }
}

/** What the model is, in the numbers of its configuration. */
function about(config: ToklipConfig): string {
  const { side, tokens } = gridOf(config.trunk);
  const { imageSize } = config.trunk;
  const { codebookSize } = vqOf(config);
  const bits = Math.ceil(Math.log2(codebookSize));
  const factor = Math.round((imageSize ** 2 * BITS_OF_PIXEL) / (tokens * bits));
  return `<p>A TokLIP turns a picture into a few whole numbers, its ids. From the ids alone it tells which texts fit the
picture, and paints the picture again. This model looks at ${imageSize} x ${imageSize} pixels and makes
${side} x ${side} = ${tokens} ids of them, each one of ${codebookSize}: ${tokens * bits} bits, ${factor} times fewer than
the pixels have.</p>
`;
}

function columns(labels: ShowFacts["labels"]): string {
  const templates = labels?.templates.map((template) => `"${escapeHtml(template)}"`) ?? [];
  const more = templates.length > 3 ? ` and ${templates.length - 3} more` : "";
  const chosen = labels
    ? `the labels that fit the ids best among ${labels.count}, each put into ${templates.slice(0, 3).join(", ")}${more}; the bars
are shares of 100 %`
    : "none were given (--labels)";
  return `<table>
<tr><th>what the model saw</th><td>the picture after turning, resizing and cropping</td></tr>
<tr><th>decoded from the ids</th><td>what the ids alone are turned back into</td></tr>
<tr><th>ids</th><td>one tile an id, in the place of the picture that it stands for; equal ids have equal colours</td></tr>
<tr><th>labels</th><td>${chosen}</td></tr>
<tr><th>PSNR, SSIM</th><td>how close the second picture is to the first; more is closer (SSIM is at most 1)</td></tr>
</table>
`;
}

function quality(psnr: number, ssim: number | null): string {
  const decibels = Number.isFinite(psnr) ? `PSNR ${psnr.toFixed(2)} dB` : "equal";
  return ssim === null ? decibels : `${decibels}, SSIM ${ssim.toFixed(3)}`;
}

/** The ids as tiles that tell their number when pointed at. */
function tiles({ grid: [h, w], ids }: Pick<ShowEntry, "grid" | "ids">): string {
  const squares = Array.from(ids, (id, i) => {
    const at = `x="${i % w}" y="${Math.floor(i / w)}"`;
    return `<rect ${at} width="1" height="1" fill="${colourOf(id)}"><title>${id}</title></rect>`;
  });
  const label = `${h} by ${w} tiles, one an id`;
  return `<svg viewBox="0 0 ${w} ${h}" shape-rendering="crispEdges" role="img" aria-label="${label}">${squares.join("")}</svg>`;
}

/** Hues a golden angle apart, so that neighbouring numbers look different; their lightness changes more slowly. */
function colourOf(id: number): string {
  const hue = Math.round((id * 137.508) % 360);
  return `hsl(${hue} 55% ${38 + ((id * 29) % 37)}%)`;
}

function idTable({ grid: [h, w], ids }: Pick<ShowEntry, "grid" | "ids">): string {
  const row = (y: number) => Array.from(ids.subarray(y * w, (y + 1) * w), (id) => `<td>${id}</td>`).join("");
  return `<table>${Array.from({ length: h }, (_, y) => `<tr>${row(y)}</tr>`).join("\n")}</table>`;
}

function labelList(scores: readonly LabelScore[]): string {
  if (scores.length === 0) return "";
  const items = scores.map(
    ({ label, score }) => `<li><span>${(100 * score).toFixed(1)} %</span>${escapeHtml(label)}${barOf(score)}</li>`,
  );
  return `<ol class="labels">${items.join("")}</ol>`;
}
