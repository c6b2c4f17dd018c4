// What a command costs from a cold start: a new process each time, files in the system's cache.
//   node bench/cold-start.mjs [--model toklip-mini] [--picture test/pictures/camera.png] [--runs 7]
// CPU seconds are of all threads. The second table says which part of the start they go to.
import { spawnSync } from "node:child_process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { median, option, printTable } from "./measure.mjs";

const root = new URL("../", import.meta.url);
const path = (/** @type {string} */ file) => fileURLToPath(new URL(file, root));
const model = option("model") ?? "toklip-mini";
const picture = option("picture") ?? path("test/pictures/camera.png");
const runs = Number(option("runs", "7"));

/** Tells, when the process ends, what it used. */
const REPORT = `data:text/javascript,process.on("exit", () => {
  const { user, system } = process.cpuUsage();
  process.stderr.write("\\n" + JSON.stringify({ cpu: (user + system) / 1e6, peak: process.resourceUsage().maxRSS / 1024 }));
});`;

/** Runs Node once. @param {readonly string[]} args @returns {{ wall: number, cpu: number, peak: number, text: string }} */
function start(args) {
  const begin = performance.now();
  const { status, stderr, stdout } = spawnSync(process.execPath, ["--import", REPORT, ...args], { encoding: "utf8" });
  const wall = (performance.now() - begin) / 1e3;
  if (status !== 0) throw new Error(`${args.join(" ")}: ${stderr}`);
  return { wall, text: stdout, ...JSON.parse(stderr.trim().split("\n").at(-1) ?? "{}") };
}

const main = path("dist/cli/main.js");
const pictures = [picture, "--model", model, "--quiet"];
/** @type {Record<string, string[]>} */
const COMMANDS = {
  "node, nothing": ["--eval", "0"],
  "toklip --help": [main, "--help"],
  "toklip info": [main, "info", model],
  "toklip tokenize": [main, "tokenize", ...pictures],
  "toklip classify, 2 labels": [main, "classify", "--labels", "cat,dog", ...pictures],
};
printTable(
  ["command", "s, median", "s, best", "CPU s, median", "CPU s, best", "peak MB"],
  Object.entries(COMMANDS).map(([name, args]) => {
    start(args); // fills the system's cache
    const all = Array.from({ length: runs }, () => start(args));
    const of = (/** @type {"wall" | "cpu" | "peak"} */ key) => all.map((run) => run[key]);
    const seconds = [median(of("wall")), Math.min(...of("wall")), median(of("cpu")), Math.min(...of("cpu"))];
    return [name, ...seconds.map((value) => value.toFixed(2)), median(of("peak")).toFixed(0)];
  }),
);

/** The parts of a start, one after another in one process. */
const STEPS = [
  ["commander", 'await import("commander")'],
  ["zod", 'await import("zod")'],
  ["sharp", 'await import("sharp")'],
  ["our modules", 'await import("dist/cli/classify.js"); const { TokLIP } = await import("dist/node/toklip.js")'],
  ["open the checkpoint, start the worker", `const model = await TokLIP.load(${JSON.stringify(model)})`],
  ["decode and prepare the picture", `const pixels = await model.preprocess(${JSON.stringify(picture)})`],
  ["text tower: tokenizer, graph, session, run", 'await model.encodeText(["cat", "dog"])'],
  ["VQ encoder: graph, session, run", "const ids = await model.encodeIds(pixels)"],
  ["token encoder: graph, session, run", "await model.encodeFeatures(ids)"],
];
// The packages are those of this project, wherever the script of a command line counts as being.
const resolved = (/** @type {string} */ code) =>
  code.replaceAll(/import\("([^"]+)"\)/g, (_, name) => {
    const file = name.startsWith("dist/") ? pathToFileURL(path(name)).href : import.meta.resolve(name);
    return `import(${JSON.stringify(file)})`;
  });
const script = `
  const times = []; let [cpu, wall] = [process.cpuUsage(), performance.now()];
  const mark = () => {
    const { user, system } = process.cpuUsage(cpu);
    times.push([(user + system) / 1e3, performance.now() - wall]);
    [cpu, wall] = [process.cpuUsage(), performance.now()];
  };
  ${STEPS.map(([, code]) => `${resolved(code ?? "")}; mark();`).join("\n")}
  console.log(JSON.stringify(times)); process.exit(0);`;
const parts = Array.from({ length: runs }, () => JSON.parse(start(["--input-type=module", "--eval", script]).text));
printTable(
  ["part", "CPU ms, median", "ms, median"],
  STEPS.map(([name = ""], i) => [name, ...[0, 1].map((j) => median(parts.map((times) => times[i][j])).toFixed(0))]),
);
