// A training step (loss and all gradients; the optimizer apart) against the machine's bare matrix product in the same run,
// and, with --peer, against PyTorch on the same model. First `npm run build`, then:
//   node bench/train-step.mjs [--rounds 7] [--only width256] [--peer "python interop/peer_train_step.py"]
import { cpus } from "node:os";
import { ndarray, Random } from "../dist/core/index.js";
import { Graph, gemm, multiplyAdds, reduceMean, reshape, simplifyGraph, square } from "../dist/graph/index.js";
import { parseConfig, transformer, wholeSequence } from "../dist/models/index.js";
import { causalMask, Scope } from "../dist/nn/index.js";
import { createOrtBackend } from "../dist/node/ort-backend.js";
import { wholeBatchGraph } from "../dist/train/contrastive-step.js";
import { TOKLIP_LOSS_WEIGHTS, toklipObjective } from "../dist/train/toklip-objective.js";
import { isTrainedInToklip } from "../dist/train/towers-trainer.js";
import { FedSession, trainingGraph } from "../dist/train/training-graph.js";
import { interleave, option, printTable, startPeer, time } from "./measure.mjs";

const rounds = Number(option("rounds", "7"));
const only = option("only");
const peerCommand = option("peer");
const backend = createOrtBackend();
const random = new Random(1);

/** @param {readonly number[]} shape @param {number} scale */
const noise = (shape, scale) =>
  ndarray(
    "f32",
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => (random.uniform() - 0.5) * scale),
  );

/** @param {{ width: number, depth: number, heads: number, image: number, ratio: number }} sizes */
function toklip({ width, depth, heads, image, ratio }) {
  return parseConfig({
    embed_dim: width,
    vision_cfg: {
      image_size: image,
      trunk: { width, depth, heads, mlp_ratio: ratio, causal: true, patch_size: 16 },
      vq: { ch: 32, ch_mult: [1, 1, 1, 1, 1], z_channels: 32, codebook_size: 1024, codebook_embed_dim: 8 },
    },
    text_cfg: { context_length: 16, vocab_size: 512, width, heads, layers: 1, pool_type: "last" },
  });
}

/** A whole TokLIP step: both terms of the loss. @param {Parameters<typeof toklip>[0]} sizes @param {number} batch @param {boolean} recompute */
function toklipStep(sizes, batch, recompute = false) {
  const config = toklip(sizes);
  const notUsed = () => Promise.reject(new Error("not used"));
  const encoders = { pictures: notUsed, texts: notUsed, dispose: async () => {} };
  const graph = wholeBatchGraph(
    toklipObjective(config, encoders, TOKLIP_LOSS_WEIGHTS),
    batch,
    isTrainedInToklip,
    recompute,
  );
  const side = sizes.image / 16;
  const ids = Int32Array.from({ length: batch * side * side }, () => random.integer(1024));
  const feeds = {
    ids: ndarray("i32", [batch, side, side], ids),
    concepts: ndarray(
      "i32",
      [batch],
      Int32Array.from({ length: batch }, (_, i) => i),
    ),
    text_features: noise([batch, sizes.width], 1),
    teacher_features: noise([batch, sizes.width], 1),
  };
  return { graph, feeds };
}

/** Blocks alone, with the mean of squares as the loss. */
function blocksStep() {
  const { trunk } = toklip({ width: 1152, depth: 2, heads: 16, image: 256, ratio: 3.7362 });
  const graph = trainingGraph(
    (made) => {
      const x = made.input("x", "f32", [1, 256, 1152]);
      const y = transformer(new Scope(made), x, trunk, wholeSequence(causalMask(made, 256)));
      return { parts: { loss: reshape(reduceMean(square(y), [0, 1, 2]), []) } };
    },
    { trained: () => true },
  );
  return { graph, feeds: { x: noise([1, 256, 1152], 1) } };
}

const CASES = {
  tiny: { ...toklipStep({ width: 64, depth: 3, heads: 4, image: 64, ratio: 3.7362 }, 5), matmul: [80, 64, 240] },
  width256: { ...toklipStep({ width: 256, depth: 6, heads: 4, image: 128, ratio: 4 }, 32), matmul: [2048, 256, 1024] },
  so400m: { ...blocksStep(), matmul: [256, 1152, 4304] },
};

/** The products of MLP layers and nothing else. @param {readonly number[]} sizes */
async function bareMatmul(sizes) {
  const [rows = 1, width = 1, hidden = 1] = sizes;
  const layers = Math.max(1, Math.round(5e9 / (rows * width * hidden)));
  const graph = new Graph();
  let x = graph.input("x", "f32", [rows, width]);
  for (let i = 0; i < layers; i++) {
    const inner = gemm(x, graph.parameter(`up.${i}`, [hidden, width]), undefined, { transB: true });
    x = gemm(inner, graph.parameter(`down.${i}`, [width, hidden]), undefined, { transB: true });
  }
  graph.output("y", x);
  const weights = new Map(
    [...graph.parameters].map(([name, { shape }]) => [name, noise(/** @type {readonly number[]} */ (shape), 0.05)]),
  );
  const weight = async (/** @type {string} */ name) => ({
    kind: /** @type {const} */ ("array"),
    value: /** @type {ReturnType<typeof noise>} */ (weights.get(name)),
  });
  const session = await backend.compile({ name: "matmul", graph, weight });
  const feeds = { x: noise([rows, width], 1) };
  return { run: () => time(() => session.run(feeds)), flop: multiplyAdds(graph) * 2 };
}

/** @type {Record<string, () => Promise<number>>} */
const entries = {};
/** @type {Record<string, number>} */
const flops = {};
const peer = peerCommand ? startPeer(peerCommand) : undefined;
for (const [name, { graph, feeds, matmul }] of Object.entries(CASES)) {
  if (only !== undefined && only !== name) continue;
  const frozen = /quantize\.embedding/;
  const shapes = [...graph.parameters].filter(([parameter]) => !frozen.test(parameter));
  const parameters = new Map(
    shapes.map(([parameter, { shape }]) => [parameter, noise(/** @type {readonly number[]} */ (shape), 0.1)]),
  );
  const weight = async () => ({ kind: /** @type {const} */ ("array"), value: noise([1024, 8], 1) });
  const session = await FedSession.compile(backend, name, graph, parameters, weight);
  const bare = await bareMatmul(matmul);
  flops[name] = multiplyAdds(simplifyGraph(graph)) * 2;
  flops[`${name} matmul`] = bare.flop;
  entries[name] = () => time(() => session.run(parameters, feeds));
  entries[`${name} matmul`] = bare.run;
  if (peer) entries[`${name} peer`] = () => peer.ask(name);
}
const times = await interleave(entries, { rounds, warmup: 2 });
peer?.stop();
/** @param {string} name */
const ms = (name) => times[name]?.median ?? Number.NaN;
const rate = (/** @type {string} */ name) => (flops[name] ?? 0) / ms(name) / 1e6;
console.log(`${cpus()[0]?.model}, ${cpus().length} cores, medians of ${rounds} rounds\n`);
printTable(
  ["step", "ms", "GFLOP", "GFLOP/s", "of bare matmul", "PyTorch, ms", "of PyTorch's time"],
  Object.keys(entries)
    .filter((name) => name in CASES)
    .map((name) => [
      name,
      ms(name).toFixed(1),
      ((flops[name] ?? 0) / 1e9).toFixed(2),
      rate(name).toFixed(0),
      `${((100 * rate(name)) / rate(`${name} matmul`)).toFixed(0)} %`,
      peer ? ms(`${name} peer`).toFixed(1) : "",
      peer ? (ms(name) / ms(`${name} peer`)).toFixed(2) : "",
    ]),
);
await backend.dispose();
