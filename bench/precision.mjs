// What 8-bit weights cost: cosine with fp32 features, and whether labels keep their order.
//   node bench/precision.mjs --model MODEL [--config CONFIG] [--images test/pictures] [--labels 100]
// Labels are random text ids, so no tokenizer is needed; pictures are real.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ndarray, normalizeRows, Random } from "../dist/core/index.js";
import { TokLIP } from "../dist/node/index.js";
import { option, printTable } from "./measure.mjs";

const source = option("model");
if (!source) throw new Error("--model is needed");
const config = option("config");
const images = option("images", "test/pictures") ?? "";
const labels = Number(option("labels", "100"));
const files = readdirSync(images)
  .filter((name) => /\.(jpe?g|png|webp)$/i.test(name))
  .map((name) => join(images, name));

/** Cosines of rows. @param {any} a @param {any} b */
function cosines(a, b) {
  const width = a.shape.at(-1);
  /** @type {any} */ const x = normalizeRows(a).data;
  /** @type {any} */ const y = normalizeRows(b).data;
  return Array.from({ length: x.length / width }, (_, row) => {
    let dot = 0;
    for (let i = row * width; i < (row + 1) * width; i++) dot += x[i] * y[i];
    return dot;
  });
}
const mean = (/** @type {readonly number[]} */ values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** @param {"fp32" | "int8" | "int8-fast"} precision */
async function run(precision) {
  const model = await TokLIP.load(source ?? "", { precision, ...(config !== undefined && { config }) });
  const { contextLength, vocabSize } = model.config.text;
  const random = new Random(1);
  const textIds = ndarray(
    "i32",
    [labels, contextLength],
    Int32Array.from({ length: labels * contextLength }, () => random.integer(vocabSize)),
  );
  const results = [];
  for (const file of files) results.push(await model.encodeImage(await model.preprocess(file)));
  const texts = [];
  for (let i = 0; i < labels; i += 10) {
    const rows = Math.min(10, labels - i);
    texts.push(
      await model.encodeTextIds(
        ndarray("i32", [rows, contextLength], textIds.data.slice(i * contextLength, (i + rows) * contextLength)),
      ),
    );
  }
  await model.dispose();
  return { results, texts };
}

/** Each picture's labels, best first. @param {{ results: any[], texts: any[] }} out */
function rankings({ results, texts }) {
  return results.map(({ imageFeatures }) => {
    /** @type {any} */ const image = normalizeRows(imageFeatures).data;
    const scores = texts.flatMap((text) => {
      /** @type {any} */ const rows = normalizeRows(text).data;
      return Array.from({ length: text.shape[0] }, (_, r) =>
        image.reduce(
          (/** @type {number} */ sum, /** @type {number} */ x, /** @type {number} */ i) =>
            sum + x * rows[r * image.length + i],
          0,
        ),
      );
    });
    return scores.map((_, i) => i).sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0));
  });
}

const exact = await run("fp32");
const rows = [];
for (const precision of /** @type {const} */ (["int8", "int8-fast"])) {
  const out = await run(precision);
  const tokens = out.results.flatMap((r, i) => cosines(r.tokenFeatures, exact.results[i]?.tokenFeatures));
  const pooled = out.results.flatMap((r, i) => cosines(r.imageFeatures, exact.results[i]?.imageFeatures));
  const text = out.texts.flatMap((t, i) => cosines(t, exact.texts[i]));
  const sameIds = out.results.every((r, i) => r.ids.data.join() === exact.results[i]?.ids.data.join());
  const [ours, theirs] = [rankings(out), rankings(exact)];
  const top1 = mean(ours.map((order, i) => Number(order[0] === theirs[i]?.[0])));
  const top5 = mean(
    ours.map((order, i) => order.slice(0, 5).filter((label) => theirs[i]?.slice(0, 5).includes(label)).length / 5),
  );
  const figure = (/** @type {readonly number[]} */ values) =>
    `${mean(values).toFixed(5)} / ${Math.min(...values).toFixed(5)}`;
  rows.push([
    precision,
    figure(tokens),
    figure(pooled),
    figure(text),
    sameIds ? "all" : "NOT all",
    `${(100 * top1).toFixed(0)} %`,
    `${(100 * top5).toFixed(0)} %`,
  ]);
}
console.log(`${files.length} pictures, ${labels} labels; cosines with fp32 as mean / worst\n`);
printTable(
  [
    "precision",
    "token features",
    "image features",
    "text features",
    "ids equal",
    "same first label",
    "first five shared",
  ],
  rows,
);
process.exit(0);
