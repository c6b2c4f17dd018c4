// The memory that a training step's activations take, with and without recomputation, and what that costs in time. Each form runs in
// a process of its own, whose peak is measured over what it held before its first step. First `npm run build`, then:
//   node bench/train-memory.mjs [--batch 128] [--rounds 5]
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { ndarray, Random } from "../dist/core/index.js";
import { peakBytes, simplifyGraph } from "../dist/graph/index.js";
import { parseConfig } from "../dist/models/index.js";
import { createOrtBackend } from "../dist/node/ort-backend.js";
import { wholeBatchGraph } from "../dist/train/contrastive-step.js";
import { TOKLIP_LOSS_WEIGHTS, toklipObjective } from "../dist/train/toklip-objective.js";
import { isTrainedInToklip } from "../dist/train/towers-trainer.js";
import { FedSession } from "../dist/train/training-graph.js";
import { median, option, printTable, time } from "./measure.mjs";

const batch = Number(option("batch", "128"));
const rounds = Number(option("rounds", "5"));
const form = option("form");

/** One form, in its own process. @param {boolean} recompute */
async function measure(recompute) {
  const config = parseConfig({
    embed_dim: 256,
    vision_cfg: {
      image_size: 128,
      trunk: { width: 256, depth: 6, heads: 4, mlp_ratio: 4, causal: true, patch_size: 16 },
      vq: { ch: 32, ch_mult: [1, 1, 1, 1, 1], z_channels: 32, codebook_size: 1024, codebook_embed_dim: 8 },
    },
    text_cfg: { context_length: 16, vocab_size: 512, width: 256, heads: 4, layers: 1, pool_type: "last" },
  });
  const notUsed = () => Promise.reject(new Error("not used"));
  const encoders = { pictures: notUsed, texts: notUsed, dispose: async () => {} };
  const objective = toklipObjective(config, encoders, TOKLIP_LOSS_WEIGHTS);
  const graph = wholeBatchGraph(objective, batch, isTrainedInToklip, recompute);
  const random = new Random(1);
  const noise = (/** @type {readonly number[]} */ shape, /** @type {number} */ scale) =>
    ndarray(
      "f32",
      shape,
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => (random.uniform() - 0.5) * scale),
    );
  const trained = [...graph.parameters].filter(([name]) => isTrainedInToklip(name));
  const parameters = new Map(
    trained.map(([name, { shape }]) => [name, noise(/** @type {readonly number[]} */ (shape), 0.1)]),
  );
  const weight = async () => ({ kind: /** @type {const} */ ("array"), value: noise([1024, 8], 1) });
  const session = await FedSession.compile(createOrtBackend(), "step", graph, parameters, weight);
  const feeds = {
    ids: ndarray(
      "i32",
      [batch, 8, 8],
      Int32Array.from({ length: batch * 64 }, () => random.integer(1024)),
    ),
    concepts: ndarray(
      "i32",
      [batch],
      Int32Array.from({ length: batch }, (_, i) => i),
    ),
    text_features: noise([batch, 256], 1),
    teacher_features: noise([batch, 256], 1),
  };
  const before = process.memoryUsage().rss;
  const times = [];
  for (let round = 0; round < rounds; round++) times.push(await time(() => session.run(parameters, feeds)));
  const peak = process.resourceUsage().maxRSS * 1024;
  const result = { peak: peak - before, ms: median(times), estimate: peakBytes(simplifyGraph(graph)) };
  console.log(JSON.stringify(result));
  process.exit(0);
}

if (form) await measure(form === "recomputed");
/** @param {string} name @returns {{ peak: number, ms: number, estimate: number }} */
const run = (name) => {
  const args = [fileURLToPath(import.meta.url), "--form", name, "--batch", String(batch), "--rounds", String(rounds)];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" }));
};
const results = { kept: run("kept"), recomputed: run("recomputed") };
const mb = (/** @type {number} */ bytes) => (bytes / 1e6).toFixed(0);
printTable(
  ["activations", "peak, MB", "estimated, MB", "ms a step"],
  Object.entries(results).map(([name, { peak, ms, estimate }]) => [name, mb(peak), mb(estimate), ms.toFixed(0)]),
);
