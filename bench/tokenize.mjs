// What tokenizing a folder costs above the model runs it contains, and whether memory grows with the folder.
//   node bench/tokenize.mjs --model MODEL [--config CONFIG] [--images test/pictures] [--count 16] [--batch 1]
// The folder is filled with `count` and with 4 x `count` links to the pictures; the bare runs are the same batches of
// ready pixels. Both are timed in one process, in turn.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";
import { TokLIP } from "../dist/node/index.js";
import { tokenizeImages } from "../dist/pipelines/tokenize.js";
import { median, option, printTable, time } from "./measure.mjs";

const source = option("model") ?? "test/goldens/tiny/tiny.pt";
const config = option("config");
const images = option("images", "test/pictures") ?? "";
const count = Number(option("count", "16"));
const batch = Number(option("batch", "1"));
const rounds = Number(option("rounds", "3"));
const files = readdirSync(images)
  .filter((name) => /\.(jpe?g|png|webp)$/i.test(name))
  .map((name) => resolve(images, name));

/** A folder of n links to the pictures. @param {number} n */
function fill(n) {
  const folder = mkdtempSync(join(tmpdir(), "toklip-bench-"));
  for (let i = 0; i < n; i++) {
    const file = /** @type {string} */ (files[i % files.length]);
    symlinkSync(file, join(folder, `${String(i).padStart(6, "0")}${extname(file)}`));
  }
  return folder;
}

const folders = [count, 4 * count].map(fill);
const model = await TokLIP.load(source, config === undefined ? {} : { config });
const list = readdirSync(/** @type {string} */ (folders[0])).map((name) =>
  join(/** @type {string} */ (folders[0]), name),
);
/** @type {import("../dist/core/index.js").NDArray<"f32">[]} */
const ready = [];
for (let i = 0; i < list.length; i += batch) ready.push(await model.preprocess(list.slice(i, i + batch)));

/** @type {number[]} */ const bare = [];
/** @type {number[]} */ const whole = [];
for (let round = -1; round < rounds; round++) {
  const runs = await time(async () => {
    for (const pixels of ready) await model.encodeIds(pixels);
  });
  const pipeline = await time(async () => {
    for await (const result of tokenizeImages(model, list, { batch }))
      if (result.error !== undefined) throw result.error;
  });
  if (round >= 0) {
    bare.push(runs);
    whole.push(pipeline);
  }
}
await model.dispose();

/** Peak memory of the command line over a folder, in MB. @param {string} folder */
function peak(folder) {
  const script = `import("${resolve("dist/node/index.js")}").then(async ({ TokLIP }) => {
    const { tokenizeImages } = await import("${resolve("dist/pipelines/tokenize.js")}");
    const { readdirSync } = await import("node:fs");
    const model = await TokLIP.load(${JSON.stringify(source)}, ${JSON.stringify(config === undefined ? {} : { config })});
    const files = readdirSync(${JSON.stringify(folder)}).map((name) => ${JSON.stringify(folder)} + "/" + name);
    for await (const _ of tokenizeImages(model, files, { batch: ${batch} })) ;
    console.log(process.resourceUsage().maxRSS / 1024);
    process.exit(0);
  })`;
  return Number(spawnSync(process.execPath, ["-e", script], { encoding: "utf8" }).stdout);
}
const peaks = folders.map(peak);
for (const folder of folders) rmSync(folder, { recursive: true });
printTable(
  [
    "pictures",
    "batch",
    "ms bare runs",
    "ms tokenize",
    "tokenize/bare",
    `peak MB, ${count} pictures`,
    `peak MB, ${4 * count} pictures`,
  ],
  [
    [
      count,
      batch,
      median(bare).toFixed(0),
      median(whole).toFixed(0),
      (median(whole) / median(bare)).toFixed(3),
      .../** @type {number[]} */ (peaks).map((mb) => mb.toFixed(0)),
    ],
  ],
);
process.exit(0);
