// What it costs to open a checkpoint of 8 GB for ids only, and to load the image side of a model.
//   node dist/cli/main.js init --config ViT-SO400M-16-SigLIP2-256-toklip --seed 1 --out full.safetensors
//   node bench/open.mjs --model full.safetensors --padded padded.safetensors
// `padded` is made if it is not there: the same tensors, and an unread one that brings the file to 8.3 GB (a hole on disk).
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, ftruncateSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { resolve } from "node:path";
import { option, printTable } from "./measure.mjs";

const PADDED_BYTES = 8.31e9;
const source = option("model");
const padded = option("padded");
if (!source || !padded) throw new Error("--model and --padded are needed");

if (!existsSync(padded)) {
  const from = openSync(source, "r");
  const to = openSync(padded, "w");
  const length = Buffer.alloc(8);
  readSync(from, length, 0, 8, 0);
  const headerBytes = Number(length.readBigUInt64LE());
  const text = Buffer.alloc(headerBytes);
  readSync(from, text, 0, headerBytes, 8);
  const header = JSON.parse(text.toString());
  const dataBytes = statSync(source).size - 8 - headerBytes;
  const extra = Math.floor((PADDED_BYTES - dataBytes) / 4);
  header["visual.trunk.vq.quantize.codebook_used"] = {
    dtype: "F32",
    shape: [extra],
    data_offsets: [dataBytes, dataBytes + 4 * extra],
  };
  const json = Buffer.from(JSON.stringify(header));
  const total = Math.ceil((8 + json.length) / 64) * 64;
  const out = Buffer.alloc(total, 0x20);
  out.writeBigUInt64LE(BigInt(total - 8));
  json.copy(out, 8);
  writeSync(to, out);
  const chunk = Buffer.alloc(64 * 2 ** 20);
  for (let at = 0; at < dataBytes; at += chunk.length) {
    const read = readSync(from, chunk, 0, Math.min(chunk.length, dataBytes - at), 8 + headerBytes + at);
    writeSync(to, chunk, 0, read);
  }
  ftruncateSync(to, total + dataBytes + 4 * extra);
  closeSync(to);
  closeSync(from);
}

/** Runs code with a loaded model in a process of its own. @param {string} path @param {string} options @param {string} act */
function measure(path, options, act) {
  const script = `const start = performance.now();
    import("${resolve("dist/node/index.js")}").then(async ({ TokLIP }) => {
      const model = await TokLIP.load(${JSON.stringify(path)}, ${options});
      const opened = performance.now() - start;
      const { imageSize: s, patchSize: p } = model.config.trunk;
      const pixels = { dtype: "f32", shape: [1, 3, s, s], data: new Float32Array(3 * s * s) };
      const ids = { dtype: "i32", shape: [1, s / p, s / p], data: new Int32Array((s / p) ** 2) };
      ${act}
      console.log(JSON.stringify({ opened, ready: performance.now() - start, peak: process.resourceUsage().maxRSS / 1024 }));
      process.exit(0);
    });`;
  return JSON.parse(
    spawnSync(process.execPath, ["-e", script], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }).stdout,
  );
}
const CASES = {
  open: ["{}", ""],
  "ids only": ["{}", "await model.encodeIds(pixels);"],
  "image side, fp32": ["{ textTower: false }", "await model.encodeImage(pixels);"],
  "image side, int8": ['{ textTower: false, precision: "int8" }', "await model.encodeImage(pixels);"],
  "image side, int8-fast": ['{ textTower: false, precision: "int8-fast" }', "await model.encodeImage(pixels);"],
  "token encoder alone, fp32": ["{ textTower: false }", "await model.encodeFeatures(ids);"],
};
printTable(
  ["what", "s to open", "s to the first result", "peak MB"],
  Object.entries(CASES).map(([name, [options = "{}", act = ""]]) => {
    const { opened, ready, peak } = measure(padded, options, act);
    return [name, (opened / 1e3).toFixed(2), (ready / 1e3).toFixed(2), peak.toFixed(0)];
  }),
);
