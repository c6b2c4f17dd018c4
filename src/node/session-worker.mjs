// The worker thread that holds ONNX Runtime: `run` blocks its thread, and this way it is not the caller's.
// JavaScript, so that the same file starts from the sources and from the build. Its peer is ort-backend.ts.
import { parentPort } from "node:worker_threads";
import ort from "onnxruntime-node";

// What goes wrong is thrown, and thrown errors are ours to word.
ort.env.logLevel = "fatal";

/** @typedef {{ type: string, data: any, dims: readonly number[] }} Wire an ONNX Runtime tensor in a message */

/** @type {Map<number, ort.InferenceSession>} */
const sessions = new Map();
/** @type {Map<number, Record<string, ort.Tensor>>} */
const states = new Map();

/** @param {Wire} wire */
const toTensor = ({ type, data, dims }) => new ort.Tensor(/** @type {any} */ (type), data, dims);

/**
 * Copies slice i of the leading axis of `source` into `arrays[i]`, from `at` onwards along `axis`.
 * @param {ort.Tensor} source
 * @param {readonly ort.Tensor[]} arrays
 * @param {number} axis
 * @param {number} at
 */
function writeState(source, arrays, axis, at) {
  const from = /** @type {Float32Array} */ (source.data);
  const span = from.length / arrays.length;
  arrays.forEach((array, index) => {
    const to = /** @type {Float32Array} */ (array.data);
    const inner = array.dims.slice(axis + 1).reduce((product, dim) => product * dim, 1);
    const run = /** @type {number} */ (source.dims[axis + 1]) * inner;
    const stride = /** @type {number} */ (array.dims[axis]) * inner;
    for (let start = 0, row = at * inner; start < span; start += run, row += stride) {
      to.set(from.subarray(index * span + start, index * span + start + run), row);
    }
  });
}

/** @type {Record<string, (message: any) => Promise<{ result?: any, transfer?: ArrayBuffer[] }>>} */
const handlers = {
  async create({ session, bytes, options }) {
    sessions.set(session, await ort.InferenceSession.create(bytes, options));
    return {};
  },
  async run({ session, feeds, lent, state, writes }) {
    const held = states.get(state) ?? {};
    const inputs = { ...held };
    for (const [name, wire] of Object.entries(feeds)) inputs[name] = toTensor(wire);
    /** @type {{ fetched: Record<string, Wire>, returned: Record<string, Wire>, error?: string }} */
    const result = { fetched: {}, returned: {} };
    const transfer = [];
    for (const name of lent) {
      result.returned[name] = feeds[name];
      transfer.push(feeds[name].data.buffer);
    }
    try {
      const outputs = await /** @type {ort.InferenceSession} */ (sessions.get(session)).run(inputs);
      for (const { output, arrays, axis, at } of writes) {
        writeState(
          /** @type {ort.Tensor} */ (outputs[output]),
          arrays.map((/** @type {string} */ name) => held[name]),
          axis,
          at,
        );
      }
      const kept = new Set(writes.map((/** @type {{ output: string }} */ write) => write.output));
      for (const [name, { type, data, dims }] of Object.entries(outputs)) {
        if (kept.has(name)) continue;
        result.fetched[name] = { type, data, dims };
        transfer.push(/** @type {ArrayBuffer} */ (/** @type {Float32Array} */ (data).buffer));
      }
    } catch (thrown) {
      result.error = thrown instanceof Error ? thrown.message : String(thrown);
    }
    return { result, transfer };
  },
  async createState({ state, shapes }) {
    /** @type {Record<string, ort.Tensor>} */
    const held = {};
    for (const [name, dims] of Object.entries(shapes)) {
      const size = dims.reduce((/** @type {number} */ product, /** @type {number} */ dim) => product * dim, 1);
      held[name] = new ort.Tensor("float32", new Float32Array(size), dims);
    }
    states.set(state, held);
    return {};
  },
  async releaseState({ state }) {
    states.delete(state);
    return {};
  },
  async release({ session }) {
    await sessions.get(session)?.release();
    sessions.delete(session);
    return {};
  },
};

parentPort?.on("message", async ({ kind, ...message }) => {
  try {
    const { result, transfer } = await /** @type {any} */ (handlers[kind])(message);
    parentPort?.postMessage({ result }, transfer);
  } catch (thrown) {
    parentPort?.postMessage({ error: thrown instanceof Error ? thrown.message : String(thrown) });
  }
});
