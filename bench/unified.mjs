// What an id of a picture costs the unified transformer with features in the loop: the token encoder's step and the
// transformer's apart, and both as generation runs them, early and late in a picture. By default the sizes of toklip-mini and
// of a transformer of 8 x 384 beside it, with guidance (two rows).
//   node bench/unified.mjs [--entry toklip] [--precision fp32,int8] [--rounds 5] [--threads 2] [--width 384] [--depth 8]
import { availableParallelism, loadavg } from "node:os";
import { bytesOf, memorySource, ndarray } from "../dist/core/index.js";
import { arParameterShapes, builtInConfig, gridOf, parseArConfig, traceGraph } from "../dist/models/index.js";
import { createOrtBackend } from "../dist/node/index.js";
import { ArDecoder, arPictureDecoder, startTokenStream } from "../dist/pipelines/index.js";
import { interleave, option, printTable, time } from "./measure.mjs";
import { randomWeight } from "./random-weight.mjs";

const threads = Number(option("threads", String(availableParallelism())));
const rounds = Number(option("rounds", "5"));
const width = Number(option("width", "384"));
const depth = Number(option("depth", "8"));
const entry = option("entry", "toklip") ?? "toklip";
const precisions = /** @type {("fp32" | "int8")[]} */ ((option("precision", "fp32,int8") ?? "").split(","));
const STEPS = 20;
const backend = createOrtBackend({ threads });

const toklip = builtInConfig("toklip-mini");
const { tokens } = gridOf(toklip.trunk);
const codebookSize = toklip.vq?.codebookSize ?? 0;
const config = parseArConfig({
  model_type: "toklip-ar",
  width,
  depth,
  heads: width / 64,
  hidden: Math.ceil((8 * width) / 3 / 64) * 64,
  context_length: 2 * tokens,
  text_vocab_size: toklip.text.vocabSize,
  codebook_size: codebookSize,
  image_tokens: tokens,
  entry,
  ...(entry !== "vq" && { feature_width: toklip.trunk.width }),
  ...(entry === "semantic-codes" && { semantic_codes: { levels: 4, size: 1024 } }),
});

const tensors = new Map(
  [...arParameterShapes(config)].map(([name, shape]) => {
    const source = memorySource(bytesOf(randomWeight(name, shape).data), name);
    return [name, { name, dtype: /** @type {const} */ ("f32"), shape, offset: 0, source }];
  }),
);
const checkpoint = {
  name: "random",
  format: /** @type {const} */ ("safetensors"),
  tensors,
  metadata: {},
  close: async () => {},
};
const graph = traceGraph("token_encoder_step", toklip);
const encoderSession = await backend.compile({
  name: "token_encoder_step",
  graph,
  weight: async (name) => {
    const shape = /** @type {number[]} */ (graph.parameters.get(name)?.shape);
    return { kind: "array", value: randomWeight(name, shape) };
  },
});
/** @param {{ batch?: number }} options */
const startStream = ({ batch = 1 } = {}) => startTokenStream(encoderSession, toklip, batch, () => {});
const encodeFeatures = async () => {
  throw new Error("there are no pictures in the prompts");
};
const encoder = { config: toklip, startStream, encodeFeatures };

const prompt = [{ text: Array.from({ length: 8 }, (_, i) => 100 + i) }];
/** @param {number} i */
const idAt = (i) => (i * 1237) % codebookSize;

/** @type {Record<string, () => Promise<number>>} */
const entries = {
  encoder: async () => {
    const stream = await startStream();
    for (let i = 0; i < 3; i++) await stream.step(ndarray("i32", [1, 1], Int32Array.of(idAt(i))));
    const ms = await time(async () => {
      for (let i = 0; i < STEPS; i++) await stream.step(ndarray("i32", [1, 1], Int32Array.of(idAt(i))));
    });
    await stream.dispose();
    return ms / STEPS;
  },
};
for (const precision of precisions) {
  const decoder = await ArDecoder.open({ backend, checkpoint, config, encoder, precision });
  entries[`${precision} transformer`] = async () => {
    const stream = await decoder.start([prompt, prompt], { room: tokens, opened: true });
    const features = entry === "vq" ? undefined : ndarray("f32", [2, 1, config.featureWidth]);
    const step = (/** @type {number} */ i) => {
      const id = config.textVocabSize + 8 + idAt(i);
      return stream.next(Int32Array.of(id, id), features);
    };
    for (let i = 0; i < 3; i++) await step(i);
    const ms = await time(async () => {
      for (let i = 0; i < STEPS; i++) await step(i);
    });
    await stream.dispose();
    return ms / STEPS;
  };
  for (const [when, from] of /** @type {const} */ ([
    ["early", 3],
    ["late", tokens - STEPS - 1],
  ])) {
    entries[`${precision} both, ${when}`] = async () => {
      const stream = await arPictureDecoder(decoder).start([prompt], true);
      await stream.next(undefined);
      const step = (/** @type {number} */ i) => stream.next(Int32Array.of(idAt(i), idAt(i)));
      for (let i = 0; i < from; i++) await step(i);
      const ms = await time(async () => {
        for (let i = 0; i < STEPS; i++) await step(from + i);
      });
      await stream.dispose();
      return ms / STEPS;
    };
  }
}

const results = await interleave(entries, { rounds, warmup: 1 });
console.log(
  `entry ${entry}, ${width} x ${depth}, ${tokens} ids, ${threads} threads, load ${loadavg()[0]?.toFixed(1)}\n`,
);
const own = entry === "vq" ? { median: 0 } : results.encoder;
printTable(
  ["", "ms an id", "best", "of both apart"],
  Object.entries(results).map(([name, { median, best }]) => {
    const apart = (own?.median ?? 0) + (results[`${name.split(" ")[0]} transformer`]?.median ?? 0);
    return [name, median.toFixed(2), best.toFixed(2), name.includes("both") ? (median / apart).toFixed(2) : ""];
  }),
);
await backend.dispose();
process.exit(0);
