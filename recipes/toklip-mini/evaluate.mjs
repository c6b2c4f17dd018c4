// Every evaluation of every model: `node evaluate.mjs toklip=runs/toklip/model.safetensors teacher=runs/teacher/model.safetensors`.
// Writes a folder with a report for each, and results.json and RESULTS.md about all of them. Features of pictures are kept by
// the weights that made them, so that running it again costs little.
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { argumentsOf, EVALUATIONS, markdownTable, TEMPLATES } from "./evaluations.mjs";
import { writeWhole } from "./files.mjs";

/** @typedef {import("./evaluations.mjs").Result} Result */

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    toklip: { type: "string", default: "npx toklip" },
    benchmarks: { type: "string", default: "benchmarks" },
    out: { type: "string", default: "results" },
    only: { type: "string", multiple: true, default: [] },
    threads: { type: "string" },
    network: { type: "string" },
  },
});
const { benchmarks, out, only, network } = values;
const templates = join(out, "templates");

/** Longer tables, such as of classes, are in the reports. */
const LONGEST_TABLE = 20;

/** Runs the command; gives what it printed. @param {readonly string[]} own @returns {Promise<string>} */
function toklip(own) {
  const [command = "", ...first] = values.toklip.split(" ");
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...first, ...own], { stdio: ["ignore", "pipe", "pipe"] });
    let printed = "";
    let told = "";
    child.stdout.on("data", (chunk) => (printed += chunk));
    child.stderr.on("data", (chunk) => (told += chunk));
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve(printed) : reject(new Error(lastLine(told) || `exit ${code}`))));
  });
}

const lastLine = (/** @type {string} */ text) =>
  text
    .trim()
    .split(/[\r\n]/)
    .at(-1) ?? "";

/** Whether a model can draw its ids. @param {string} model */
async function hasDecoder(model) {
  const { parts } = JSON.parse(await toklip(["info", model, "--json"]));
  return Object.hasOwn(parts, "VQ decoder");
}

/** @param {import("./evaluations.mjs").EvaluationRun} run @param {string} name @param {string} model @returns {Promise<Result>} */
async function evaluate(run, name, model) {
  const folders = { benchmarks, out: join(out, name, run.name), features: join(out, name, "features"), templates };
  const where = { model, ...folders, ...(network !== undefined && { network }) };
  const threads = values.threads === undefined ? [] : ["--threads", values.threads];
  try {
    const { metrics, tables, data, settings, seconds } = JSON.parse(
      await toklip([...argumentsOf(run, where), ...threads, "--quiet"]),
    );
    const short = tables.filter(
      (/** @type {import("./evaluations.mjs").Table} */ { rows }) => rows.length <= LONGEST_TABLE,
    );
    return /** @type {Result} */ ({ run: run.name, model: name, metrics, tables: short, data, settings, seconds });
  } catch (thrown) {
    return { run: run.name, model: name, error: /** @type {Error} */ (thrown).message };
  }
}

/** The models by the names they are shown with. */
function models() {
  const pairs = positionals.map((text) => text.split("="));
  const bad = pairs.findIndex((pair) => pair.length !== 2 || pair.includes(""));
  if (pairs.length === 0 || bad >= 0) throw new Error(`expected NAME=CHECKPOINT, got ${positionals[bad] ?? "nothing"}`);
  return pairs.map(([name = "", model = ""]) => ({ name, model }));
}

/** What earlier runs found, but for what is found now. @param {readonly Result[]} found */
function withEarlier(found) {
  const path = join(out, "results.json");
  const earlier = /** @type {Result[]} */ (existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : []);
  const isNew = (/** @type {Result} */ old) => !found.some(({ run, model }) => run === old.run && model === old.model);
  const place = (/** @type {Result} */ { run }) => EVALUATIONS.findIndex(({ name }) => name === run);
  return [...earlier.filter(isNew), ...found].sort(
    (a, b) => place(a) - place(b) || (a.model < b.model ? 1 : a.model > b.model ? -1 : 0),
  );
}

async function main() {
  for (const [name, lines] of Object.entries(TEMPLATES))
    writeWhole(join(templates, `${name}.txt`), `${lines.join("\n")}\n`);
  /** @type {Result[]} */
  const found = [];
  for (const { name, model } of models()) {
    const draws = await hasDecoder(model);
    for (const run of EVALUATIONS) {
      if (only.length > 0 && !only.includes(run.name)) continue;
      if (run.task === "reconstruction" && !draws) continue;
      const result = await evaluate(run, name, model);
      process.stderr.write(`${name}, ${run.name}: ${result.error ?? "done"}\n`);
      found.push(result);
      const all = withEarlier(found);
      writeWhole(join(out, "results.json"), `${JSON.stringify(all, undefined, 1)}\n`);
      writeWhole(join(out, "RESULTS.md"), markdownTable(all));
    }
  }
  process.stdout.write(readFileSync(join(out, "RESULTS.md"), "utf8"));
  if (found.some(({ error }) => error !== undefined)) process.exitCode = 1;
}

await main();
