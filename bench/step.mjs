// What a token costs when features are computed step by step, at every position, and what a whole sequence costs by steps.
//   node bench/step.mjs --model MODEL [--config CONFIG] [--precision fp32] [--batch 1] [--step 1] [--rounds 3]
import { ndarray } from "../dist/core/index.js";
import { TokLIP } from "../dist/node/index.js";
import { median, option, printTable, time } from "./measure.mjs";

const source = option("model");
if (!source) throw new Error("--model is needed");
const config = option("config");
const precision = /** @type {"fp32"} */ (option("precision", "fp32"));
const model = await TokLIP.load(source, { precision, ...(config !== undefined && { config }) });
const rounds = Number(option("rounds", "3"));
const { imageSize, patchSize } = model.config.trunk;
const side = imageSize / patchSize;
const tokens = side * side;
const size = model.config.vq?.codebookSize ?? 1;
const idsOf = (/** @type {readonly number[]} */ shape, /** @type {number} */ from) =>
  ndarray(
    "i32",
    shape,
    Int32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => ((from + i) * 7919) % size),
  );

const rows = [];
for (const batch of (option("batch", "1") ?? "").split(",").map(Number)) {
  for (const length of (option("step", "1") ?? "").split(",").map(Number)) {
    const whole = idsOf([batch, side, side], 0);
    const oneShot = [];
    const bySteps = [];
    /** @type {number[][]} */
    const perStep = [];
    for (let round = -1; round < rounds; round++) {
      const once = await time(() => model.encodeFeatures(whole));
      const stream = await model.startStream({ batch });
      /** @type {number[]} */
      const costs = [];
      const total = await time(async () => {
        while (stream.position + length <= tokens)
          costs.push(await time(() => stream.step(idsOf([batch, length], stream.position))));
      });
      await stream.dispose();
      if (round < 0) continue;
      oneShot.push(once);
      bySteps.push(total);
      perStep.push(costs);
    }
    const quarter = Math.max(1, Math.floor(tokens / length / 4));
    const early = median(perStep.flatMap((costs) => costs.slice(0, quarter)));
    const late = median(perStep.flatMap((costs) => costs.slice(-quarter)));
    const [once, steps] = [median(oneShot), median(bySteps)];
    rows.push([
      batch,
      length,
      early.toFixed(2),
      late.toFixed(2),
      (late / early).toFixed(2),
      once.toFixed(1),
      steps.toFixed(1),
      `${(steps / once).toFixed(2)}x`,
    ]);
  }
}
console.log(`${model.config.name}, ${precision}, ${tokens} tokens, median of ${rounds}\n`);
printTable(
  [
    "batch",
    "ids a step",
    "ms a step, first quarter",
    "last quarter",
    "last/first",
    "ms one shot",
    "ms by steps",
    "steps/one shot",
  ],
  rows,
);
await model.dispose();
process.exit(0);
