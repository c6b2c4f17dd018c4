// What an id costs: a cached step of a GPT of LlamaGen (GPT-B: 12 blocks of 768, vocabulary 16384, 256 ids), as a share of
// the time that reading its weights and caches takes at the memory bandwidth measured in the same run; and the sampling.
//   node bench/decode.mjs [--size GPT-B] [--batch 1,2] [--precision fp32,int8] [--rounds 5] [--steps 20] [--threads 2]
import { availableParallelism, loadavg } from "node:os";
import { ndarray, Random } from "../dist/core/index.js";
import { Graph, reduceSum } from "../dist/graph/index.js";
import { gptLength, gptParameterShapes, parseGptConfig, traceGptGraph } from "../dist/models/index.js";
import { createOrtBackend } from "../dist/node/index.js";
import { drawId, samplingBuffers, startGptStream } from "../dist/pipelines/index.js";
import { quantizeProgram } from "../dist/runtime/index.js";
import { interleave, option, printTable, time } from "./measure.mjs";
import { randomWeight } from "./random-weight.mjs";

const threads = Number(option("threads", String(availableParallelism())));
const rounds = Number(option("rounds", "5"));
const steps = Number(option("steps", "20"));
const batches = (option("batch", "1,2") ?? "").split(",").map(Number);
const precisions = (option("precision", "fp32,int8") ?? "").split(",");
const config = parseGptConfig({ size: option("size", "GPT-B") });
const backend = createOrtBackend({ threads });

const shapes = gptParameterShapes(config);
/** @param {string} name @returns {Promise<{ kind: "array", value: ReturnType<typeof randomWeight> }>} */
const weight = async (name) => ({ kind: "array", value: randomWeight(name, shapes.get(name) ?? []) });
const plain = { name: "gpt_step", graph: traceGptGraph("gpt_step", config), weight };
/** @param {string} precision */
const programOf = (precision) =>
  precision === "fp32"
    ? plain
    : quantizeProgram(
        plain,
        async (name) => (await weight(name)).value,
        () => (precision === "int8" ? "block" : "row"),
      );

/** The bytes that a step reads: all linear weights once, the caches of each row. @param {string} precision @param {number} batch */
function bytesOf(precision, batch) {
  let linear = 0;
  for (const [name, shape] of shapes) {
    if (shape.length === 2 && !/embedding/.test(name)) linear += shape.reduce((a, b) => a * b, 1);
  }
  const cache = 2 * config.depth * batch * gptLength(config) * (config.width / config.numHeads) * config.numKvHeads * 4;
  return linear * (precision === "fp32" ? 4 : 1 + 4 / 128) + cache;
}

/** Sums of rows of 256 MiB, the plainest reading there is. */
async function bandwidthRun() {
  const [rows, columns] = [4096, 16384];
  const graph = new Graph();
  graph.output("sums", reduceSum(graph.input("x", "f32", [rows, columns]), [1]));
  const session = await backend.compile({ name: "read", graph, weight });
  const state = await session.createState({ x: [rows, columns] });
  return { bytes: rows * columns * 4, run: () => session.run({}, { state }) };
}

const read = await bandwidthRun();
/** @type {Record<string, () => Promise<number>>} */
const entries = { bandwidth: () => time(read.run) };
const half = Math.floor(gptLength(config) / 2);
for (const precision of precisions) {
  const session = await backend.compile(programOf(precision));
  for (const batch of batches) {
    entries[`${precision} ${batch}`] = async () => {
      const embedded = ndarray("f32", [batch, config.condition.tokens, config.width]);
      const stream = await startGptStream(session, config, embedded, undefined);
      await stream.next(undefined);
      const ids = Int32Array.from({ length: batch }, (_, i) => half + i);
      const ms = await time(async () => {
        for (let i = 0; i < steps; i++) await stream.next(ids);
      });
      await stream.dispose();
      return ms / steps;
    };
  }
}
const random = new Random(1);
const logits = Float32Array.from({ length: config.vocabSize }, () => 3 * random.normal());
const buffers = samplingBuffers(config.vocabSize);
for (const [name, sampling] of Object.entries({
  "all ids": {},
  "top-k 2000": { topK: 2000 },
  "top-p 0.95": { topP: 0.95 },
})) {
  entries[name] = () => time(async () => drawId(logits.slice(), random.uniform(), sampling, buffers));
}

const results = await interleave(entries, { rounds, warmup: 1 });
const { bandwidth, ...costs } = results;
const rate = read.bytes / /** @type {{ best: number }} */ (bandwidth).best / 1e6;
console.log(
  `${config.width} x ${config.depth}, ${threads} threads, load ${loadavg()[0]?.toFixed(1)}, ` +
    `reading ${rate.toFixed(1)} GB/s at best, ${(read.bytes / (bandwidth?.median ?? 1) / 1e6).toFixed(1)} as a rule\n`,
);
printTable(
  ["", "ms an id", "best", "MB read", "share of the bandwidth bound"],
  Object.entries(costs).map(([name, { median, best }]) => {
    const [precision, batch] = name.split(" ");
    if (!precisions.includes(precision ?? "")) return [name, median.toFixed(2), best.toFixed(2), "", ""];
    const bytes = bytesOf(precision ?? "", Number(batch));
    const share = bytes / rate / 1e6 / best;
    return [
      `${precision}, batch ${batch}`,
      median.toFixed(2),
      best.toFixed(2),
      (bytes / 1e6).toFixed(0),
      share.toFixed(2),
    ];
  }),
);
await backend.dispose();
process.exit(0);
