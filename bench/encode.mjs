// How fast pictures become ids and features: each part against the machine's bare matrix product in the same run, and,
// with --peer, against PyTorch. First `npm run build`, then:
//   node dist/cli/main.js init --config ViT-SO400M-16-SigLIP2-256-toklip --seed 1 --parts image --out so400m.safetensors
//   node bench/encode.mjs --model so400m.safetensors [--batch 1] [--rounds 5] [--peer "python interop/peer_encode.py"]
import { availableParallelism, cpus } from "node:os";
import { ndarray } from "../dist/core/index.js";
import { Graph, gemm, multiplyAdds } from "../dist/graph/index.js";
import { traceGraph } from "../dist/models/index.js";
import { TokLIP } from "../dist/node/index.js";
import { createOrtBackend } from "../dist/node/ort-backend.js";
import { interleave, option, printTable, startPeer, time } from "./measure.mjs";

const source = option("model");
if (!source) throw new Error("--model is needed");
const batch = Number(option("batch", "1"));
const rounds = Number(option("rounds", "5"));
const peerCommand = option("peer");

const fill = (/** @type {number} */ length) => Float32Array.from({ length }, (_, i) => Math.sin(i * 0.37) * 0.5);

/** The products of MLP layers and nothing else, with their weights held by the session as in a model. */
async function bareMatmul() {
  const [rows, width, hidden, layers] = [256, 1152, 4304, 8];
  const graph = new Graph();
  let x = graph.input("x", "f32", ["M", width]);
  for (let i = 0; i < layers; i++) {
    const inner = gemm(x, graph.parameter(`up.${i}`, [hidden, width]), undefined, { transB: true });
    x = gemm(inner, graph.parameter(`down.${i}`, [width, hidden]), undefined, { transB: true });
  }
  graph.output("y", x);
  const weight = async (/** @type {string} */ name) => {
    const shape = name.startsWith("up") ? [hidden, width] : [width, hidden];
    return { kind: /** @type {const} */ ("array"), value: ndarray("f32", shape, fill(width * hidden)) };
  };
  const session = await createOrtBackend().compile({ name: "matmul", graph, weight });
  const feeds = { x: ndarray("f32", [rows, width], fill(rows * width)) };
  return { run: () => time(() => session.run(feeds)), gmac: (2 * layers * rows * width * hidden) / 1e9 };
}

const models = {
  fp32: await TokLIP.load(source),
  int8: await TokLIP.load(source, { precision: "int8" }),
  "int8-fast": await TokLIP.load(source, { precision: "int8-fast" }),
};
const { config } = models.fp32;
const size = config.trunk.imageSize;
const side = size / config.trunk.patchSize;
const pixels = ndarray("f32", [batch, 3, size, size], fill(batch * 3 * size * size));
const ids = ndarray(
  "i32",
  [batch, side, side],
  Int32Array.from({ length: batch * side * side }, (_, i) => (i * 7919) % (config.vq?.codebookSize ?? 1)),
);

const matmul = await bareMatmul();
const peer = peerCommand ? startPeer(peerCommand) : undefined;
/** @type {Record<string, () => Promise<number>>} */
const entries = {
  matmul: matmul.run,
  "vq_encoder fp32": () => time(() => models.fp32.encodeIds(pixels)),
  "token_encoder fp32": () => time(() => models.fp32.encodeFeatures(ids)),
  "token_encoder int8": () => time(() => models.int8.encodeFeatures(ids)),
  "token_encoder int8-fast": () => time(() => models["int8-fast"].encodeFeatures(ids)),
  "vq_decoder fp32": () => time(() => models.fp32.decodeIds(ids)),
};
const PARTS = /** @type {const} */ (["vq_encoder", "token_encoder", "vq_decoder"]);
if (peer) {
  for (const part of PARTS) {
    for (const precision of ["fp32", "bf16"])
      entries[`PyTorch ${part} ${precision}`] = () => peer.ask(`${part} ${precision} ${batch}`);
  }
}
const results = await interleave(entries, { rounds });
peer?.stop();

// The machine is shared: the best of several rounds disturbs the ratios least.
const ms = (/** @type {string} */ name) => results[name]?.best ?? Number.NaN;
const gmac = Object.fromEntries(
  PARTS.map((part) => [part, multiplyAdds(traceGraph(part, config), { B: batch }) / 1e9]),
);
const bareRate = (2 * matmul.gmac) / (ms("matmul") / 1e3);
console.log(
  `${cpus()[0]?.model}, ${availableParallelism()} cores, batch ${batch}, best of ${rounds} interleaved rounds`,
);
console.log(`bare ONNX Runtime matrix product: ${bareRate.toFixed(0)} GFLOP/s\n`);
printTable(
  [
    "part",
    "ms a picture (median)",
    "GFLOP",
    "GFLOP/s",
    "of bare matmul",
    ...(peer ? ["of PyTorch fp32's time", "of PyTorch bf16's time"] : []),
  ],
  Object.keys(results)
    .filter((name) => name !== "matmul" && !name.startsWith("PyTorch"))
    .map((name) => {
      const part = /** @type {string} */ (name.split(" ")[0]);
      const work = 2 * /** @type {number} */ (gmac[part]);
      const rate = work / (ms(name) / 1e3);
      const against = ["fp32", "bf16"].map((precision) => (ms(name) / ms(`PyTorch ${part} ${precision}`)).toFixed(2));
      return [
        name,
        `${(ms(name) / batch).toFixed(0)} (${((results[name]?.median ?? 0) / batch).toFixed(0)})`,
        (work / batch).toFixed(0),
        rate.toFixed(0),
        `${((100 * rate) / bareRate).toFixed(0)} %`,
        ...(peer ? against : []),
      ];
    }),
);
const work = 2 * ((gmac.vq_encoder ?? 0) + (gmac.token_encoder ?? 0));
console.log("");
printTable(
  [
    "encodeImage",
    "ms a picture",
    "of the time at the bare matmul rate",
    ...(peer ? ["of PyTorch fp32's time", "of PyTorch bf16's time"] : []),
  ],
  ["fp32", "int8", "int8-fast"].map((precision) => {
    const total = ms("vq_encoder fp32") + ms(`token_encoder ${precision}`);
    const bound = (work / bareRate) * 1e3;
    const against = ["fp32", "bf16"].map((p) =>
      (total / (ms(`PyTorch vq_encoder ${p}`) + ms(`PyTorch token_encoder ${p}`))).toFixed(2),
    );
    return [precision, (total / batch).toFixed(0), `${(total / bound).toFixed(2)}x`, ...(peer ? against : [])];
  }),
);
await Promise.all(Object.values(models).map((model) => model.dispose()));
process.exit(0);
