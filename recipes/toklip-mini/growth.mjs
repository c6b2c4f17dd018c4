// How the figures grew with training: `node growth.mjs growth.json growth.svg`. The JSON is a list of panels,
// [{ "title", "points": [[pictures, value], ...] }]; each becomes a line chart, side by side.
import { readFileSync } from "node:fs";
import { drawPanel } from "../../dist/train/chart.js";
import { writeWhole } from "./files.mjs";

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) throw new Error("usage: growth.mjs growth.json growth.svg");

const WIDTH = 320;
const HEIGHT = 220;

/** @type {{ title: string, points: [number, number][] }[]} */
const panels = JSON.parse(readFileSync(from, "utf8"));
const drawn = panels.map(({ title, points }, i) =>
  drawPanel({
    ...{ left: i * WIDTH, top: 0, width: WIDTH, height: HEIGHT, title },
    lines: [{ points, colour: "#1f5f9e", width: 2, dots: true }],
    range: [0, Math.max(...points.map(([pictures]) => pictures))],
  }),
);
const size = `width="${panels.length * WIDTH}" height="${HEIGHT + 10}"`;
const head = `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="sans-serif" font-size="11" fill="#333">`;
await writeWhole(to, [head, `<rect width="100%" height="100%" fill="#fff"/>`, ...drawn, "</svg>\n"].join("\n"));
