// How many pictures a second the decode pool makes ready, and what loading adds to a training that takes fixed time a step.
//   node bench/loader.mjs [--images test/pictures] [--count 192] [--rounds 3] [--batch 16]
// Steps of two kinds: one that waits (an accelerator computes) and one that keeps a thread busy (the CPU computes). Each
// takes as long as the pool needs for 1 / `--load` batches, by default two, so that the pool can keep up. What loading adds is
// the time of a step with loading beside that of a bare one; waiting for the batch is the part of it that is not cores shared.

import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { indexedDataset } from "../dist/data/indexed-dataset.js";
import { loadBatches } from "../dist/data/loader.js";
import { createDecodePool } from "../dist/node/decode-pool.js";
import { median, option, printTable, time } from "./measure.mjs";

const images = option("images", "test/pictures") ?? "";
const count = Number(option("count", "192"));
const rounds = Number(option("rounds", "3"));
const batchSize = Number(option("batch", "16"));
const load = Number(option("load", "0.5"));
const files = readdirSync(images)
  .filter((name) => /\.(jpe?g|png|webp)$/i.test(name))
  .map((name) => readFileSync(join(images, name)));

const dataset = indexedDataset({
  name: images,
  size: count,
  entry: async (index) => ({
    sample: {
      key: `p${index}`,
      captions: [],
      image: async () => /** @type {Buffer} */ (files[index % files.length]),
    },
  }),
});

/** @param {number} workers @param {number} imageSize */
async function picturesPerSecond(workers, imageSize) {
  const pool = createDecodePool({ workers });
  /** @type {number[]} */ const rates = [];
  for (let round = -1; round < rounds; round++) {
    const ms = await time(() =>
      Promise.all(
        Array.from({ length: count }, (_, i) =>
          pool.decode(/** @type {Buffer} */ (files[i % files.length]), {
            key: "",
            imageSize,
            augmentation: {},
            seed: i,
          }),
        ),
      ),
    );
    if (round >= 0) rates.push((1000 * count) / ms);
  }
  await pool.dispose();
  return median(rates);
}

const workerCounts = [...new Set([1, 2, availableParallelism()])];
/** @type {(string | number)[][]} */ const table = [];
/** @type {Map<string, number>} */ const rates = new Map();
for (const imageSize of [128, 256]) {
  for (const workers of workerCounts) {
    const rate = await picturesPerSecond(workers, imageSize);
    rates.set(`${workers} ${imageSize}`, rate);
    table.push([imageSize, workers, rate.toFixed(0)]);
  }
}
printTable(["pixels", "workers", "pictures/s"], table);

/** A thread that does nothing but count, for as many milliseconds as it is told. */
const burner = new Worker(
  `const { parentPort } = require("node:worker_threads");
   parentPort.on("message", (rounds) => {
     let x = 1;
     for (let i = 0; i < rounds; i++) x = Math.imul(x, 1664525) + i | 0;
     parentPort.postMessage(x);
   });`,
  { eval: true },
);
/** @param {number} work @returns {Promise<unknown>} */
function burn(work) {
  return new Promise((resolve) => {
    burner.once("message", resolve);
    burner.postMessage(work);
  });
}
await burn(1e8);
const burnedPerMs = 3e8 / (await time(() => burn(3e8)));

/** @type {Record<string, (ms: number) => Promise<unknown>>} */
const STEPS = {
  waiting: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  "a busy thread": (ms) => burn(Math.round(ms * burnedPerMs)),
};

/** @param {(ms: number) => Promise<unknown>} step @param {number} ms @param {number} workers @param {number} imageSize */
async function addedTime(step, ms, workers, imageSize) {
  const steps = Math.max(8, Math.floor(count / batchSize));
  const bare = await time(async () => {
    for (let i = 0; i < steps; i++) await step(ms);
  });
  const pool = createDecodePool({ workers });
  const batches = loadBatches(dataset, { batchSize, imageSize, seed: 1, decode: pool.decode });
  // The first batches fill the pipe: a run pays for them once.
  for (let i = 0; i < 3; i++) await batches.next();
  let waited = 0;
  const loaded = await time(async () => {
    for (let i = 0; i < steps; i++) {
      await step(ms);
      waited += await time(() => batches.next());
    }
  });
  await batches.return();
  await pool.dispose();
  return { bare: bare / steps, loaded: loaded / steps, waited: waited / steps };
}

const steps = [];
for (const [name, step] of Object.entries(STEPS)) {
  for (const imageSize of [128, 256]) {
    // One core is the step's where it computes.
    const workers = Math.max(1, availableParallelism() - (name === "waiting" ? 0 : 1));
    const rate = rates.get(`${workers} ${imageSize}`) ?? 1;
    const ms = (1000 * batchSize) / rate / load;
    const pairs = [];
    for (let round = 0; round < rounds; round++) pairs.push(await addedTime(step, ms, workers, imageSize));
    const bare = median(pairs.map((pair) => pair.bare));
    const added = median(pairs.map((pair) => 100 * (pair.loaded / pair.bare - 1)));
    const waited = median(pairs.map((pair) => (100 * pair.waited) / pair.bare));
    const [pictures, percent] = [((1000 * batchSize) / bare).toFixed(0), `${added.toFixed(1)} %`];
    steps.push([name, imageSize, workers, batchSize, bare.toFixed(0), pictures, percent, `${waited.toFixed(1)} %`]);
  }
}
printTable(
  [
    "the step is",
    "pixels",
    "workers",
    "batch",
    "ms a step",
    "pictures/s needed",
    "added by loading",
    "waiting for the batch",
  ],
  steps,
);
await burner.terminate();
