// What a step of the optimizer costs, in milliseconds per million parameters: AdamW, its average of parameters, the norm
// of the gradients and their accumulation; for thirty tensors of a million, and for thousands of small ones.
//   node bench/optimizer.mjs [--rounds 7] [--peer "python interop/peer_optimizer.py"]
import { AdamW } from "../dist/train/adamw.js";
import { Ema } from "../dist/train/ema.js";
import { addInto, measureGradients } from "../dist/train/gradient-norm.js";
import { decayGroups } from "../dist/train/parameter-groups.js";
import { interleave, option, printTable, startPeer, time } from "./measure.mjs";

/** @type {Record<string, number[][]>} */
const SETS = {
  "30 tensors of 1 M": Array.from({ length: 30 }, () => [1000, 1000]),
  "4000 tensors of 32 to 2048": Array.from({ length: 4000 }, (_, i) => [32 << (i % 7)]),
};
const rounds = Number(option("rounds", "7"));
const peerCommand = option("peer");
const peer = peerCommand === undefined ? undefined : startPeer(peerCommand);
const settings = { betas: /** @type {const} */ ([0.9, 0.95]), eps: 1e-6 };

/** @param {ReadonlyMap<string, readonly number[]>} shapes */
const randomTensors = (shapes) =>
  new Map(
    [...shapes].map(([name, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return [name, Float32Array.from({ length: size }, () => Math.random() - 0.5)];
    }),
  );

const rows = [];
for (const [title, list] of Object.entries(SETS)) {
  const shapes = new Map(list.map((shape, i) => [`p${i}`, shape]));
  const millions = list.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0) / 1e6;
  const parameters = randomTensors(shapes);
  const gradients = randomTensors(shapes);
  const adamw = new AdamW(decayGroups(shapes, 0.1), settings);
  const ema = new Ema(shapes, parameters, { decay: 0.999 });
  const plain = new AdamW(decayGroups(shapes, 0.1), { ...settings, simd: false });

  /** @type {Record<string, () => void>} */
  const ours = {
    adamw: () => adamw.step(parameters, gradients, { learningRate: 1e-3, gradientScale: 0.5 }),
    "adamw + ema": () => {
      adamw.step(parameters, gradients, { learningRate: 1e-3, gradientScale: 0.5 });
      ema.update(parameters);
    },
    "gradient norm": () => {
      measureGradients(gradients);
    },
    "add gradients": () => {
      for (const [name, gradient] of gradients) addInto(/** @type {Float32Array} */ (parameters.get(name)), gradient);
    },
    "adamw, plain loops": () => plain.step(parameters, gradients, { learningRate: 1e-3 }),
  };
  /** @type {Record<string, () => Promise<number>>} */
  const entries = {};
  for (const [name, act] of Object.entries(ours)) {
    entries[name] = () => time(async () => act());
    if (peer && !name.includes("plain")) entries[`torch ${name}`] = () => peer.ask(`${name}|${JSON.stringify(list)}`);
  }
  const times = await interleave(entries, { rounds, warmup: 2 });
  const per = (/** @type {number | undefined} */ ms) => (ms === undefined ? "-" : (ms / millions).toFixed(2));
  for (const name of Object.keys(ours)) {
    const [mine, theirs] = [times[name], times[`torch ${name}`]];
    rows.push([
      title,
      name,
      `${per(mine?.median)} (${per(mine?.best)})`,
      theirs === undefined ? "-" : `${per(theirs.median)} (${per(theirs.best)})`,
      mine === undefined || theirs === undefined ? "-" : `${(mine.median / theirs.median).toFixed(2)}x`,
    ]);
  }
}
console.log(`ms per million parameters, median (best) of ${rounds}\n`);
printTable(["tensors", "what", "toklip", "torch", "toklip/torch"], rows);
peer?.stop();
