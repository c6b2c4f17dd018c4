/**
 * The frame of the project's HTML pages: one file that needs nothing else, no network and no script, in light and dark.
 * What stands in it is written by the reports.
 */
import { base64, escapeHtml } from "./html.ts";

/** Keeps the page from loading anything, whatever text found its way into it. */
const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

const STYLE = `
:root{color-scheme:light dark;--ink:#1c1e26;--soft:#6a6f80;--line:#dfe1e8;--page:#fff;--card:#f6f7fa;--bar:#3f6fd8;--good:#1f8a52;--bad:#c0303f}
@media(prefers-color-scheme:dark){:root{--ink:#e7e8ee;--soft:#9a9fb0;--line:#343844;--page:#16181d;--card:#1f222a;--bar:#7aa2ff;--good:#4cc38a;--bad:#ff6b78}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:32px 20px 64px;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{margin:0;font-size:26px}h2{margin:40px 0 12px;font-size:19px}
.sub{color:var(--soft)}
.card{overflow-wrap:anywhere;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.bar{height:6px;margin:6px 0;border-radius:3px;background:var(--line);overflow:hidden}.bar i{display:block;height:100%;background:var(--bar)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:4px 14px 4px 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600}td.n,th.n{text-align:right}
summary{cursor:pointer;color:var(--soft);margin:8px 0}
figure{margin:0;font-size:13px;line-height:1.35;overflow-wrap:anywhere}
`;

/**
 * The beginning of a page, its heading included.
 * @param style CSS of the page's own
 */
export function pageStart(title: string, style = ""): string {
  return [
    `<!doctype html><html lang="en"><head><meta charset="utf-8">`,
    `<meta http-equiv="Content-Security-Policy" content="${POLICY}">`,
    `<meta name="viewport" content="width=device-width"><title>${escapeHtml(title)}</title>`,
    `<style>${STYLE}${style}</style></head><body>`,
    `<h1>${escapeHtml(title)}</h1>\n`,
  ].join("\n");
}

/** The end of a page. */
export const PAGE_END = "</body></html>\n";

/** A bar of a share in [0, 1]; what lies outside is drawn at the nearer end. */
export function barOf(share: number): string {
  return `<div class="bar"><i style="width:${(100 * Math.min(1, Math.max(0, share))).toFixed(1)}%"></i></div>`;
}

/** An `<img>` that holds its PNG file. */
export function imageOf(png: Uint8Array, alt: string): string {
  return `<img alt="${escapeHtml(alt)}" src="data:image/png;base64,${base64(png)}">`;
}
