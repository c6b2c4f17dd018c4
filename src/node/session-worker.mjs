// The worker thread that holds ONNX Runtime: `run` blocks its thread, and this way it is not the caller's.
// JavaScript, so that the same file starts from the sources and from the build. Its peer is ort-backend.ts.
import process from "node:process";
import { parentPort } from "node:worker_threads";
import ort from "onnxruntime-node";

// What goes wrong is thrown, and thrown errors are ours to word.
ort.env.logLevel = "fatal";

/** @typedef {{ type: string, data: any, dims: readonly number[] }} Wire an ONNX Runtime tensor in a message */

/**
 * As in runtime/session.ts, and where the outputs must be.
 * @typedef {{ arrays: Record<string, string>, onlyIfFinite?: string, location: string }} Carry
 */

/** @type {Map<number, { session: ort.InferenceSession, carry?: Carry }>} */
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

/**
 * Puts outputs into a state, in the place of the arrays that the run was fed; or drops them where their condition fails.
 * @param {Carry} carry
 * @param {Record<string, ort.Tensor>} outputs
 * @param {Record<string, ort.Tensor>} held
 */
function carryOver({ arrays, onlyIfFinite, location }, outputs, held) {
  const moved = Object.keys(arrays).find((output) => outputs[output]?.location !== location);
  if (moved !== undefined) throw new Error(`output ${moved} is in ${outputs[moved]?.location}, not in ${location}`);
  const condition = onlyIfFinite === undefined ? undefined : outputs[onlyIfFinite];
  const holds = condition === undefined || Number.isFinite(/** @type {Float32Array} */ (condition.data)[0]);
  for (const [output, array] of Object.entries(arrays)) {
    const [made, fed] = /** @type {[ort.Tensor, ort.Tensor]} */ ([outputs[output], held[array]]);
    held[array] = holds ? made : fed;
    (holds ? fed : made).dispose();
  }
}

/**
 * The elements of a tensor, which stays as it is, in an array of their own.
 * @param {ort.Tensor} tensor
 * @param {number} download the session that copies one from the device
 */
async function elementsOf(tensor, download) {
  if (tensor.location === "cpu") return /** @type {Float32Array} */ (tensor.data).slice();
  const flat = ort.Tensor.fromGpuBuffer(tensor.gpuBuffer, { dataType: "float32", dims: [tensor.size] });
  const { y } = await sessionOf(download).session.run({ x: flat });
  return /** @type {Float32Array} */ (/** @type {ort.Tensor} */ (y).data);
}

/** @param {number} id */
function sessionOf(id) {
  return /** @type {{ session: ort.InferenceSession, carry?: Carry }} */ (sessions.get(id));
}

/** @type {Record<string, (message: any) => Promise<{ result?: any, transfer?: ArrayBuffer[] }>>} */
const handlers = {
  async create({ session, bytes, options, carry }) {
    sessions.set(session, { session: await ort.InferenceSession.create(bytes, options), carry });
    return {};
  },
  async run({ session: id, feeds, lent, state, aliases, writes }) {
    const { session, carry } = sessionOf(id);
    const held = states.get(state) ?? {};
    const inputs = { ...held };
    for (const [name, array] of Object.entries(aliases)) inputs[name] = /** @type {ort.Tensor} */ (held[array]);
    for (const [name, wire] of Object.entries(feeds)) inputs[name] = toTensor(wire);
    /** @type {{ fetched: Record<string, Wire>, returned: Record<string, Wire>, error?: string }} */
    const result = { fetched: {}, returned: {} };
    const transfer = [];
    for (const name of lent) {
      result.returned[name] = feeds[name];
      transfer.push(feeds[name].data.buffer);
    }
    try {
      const outputs = await session.run(inputs);
      for (const { output, arrays, axis, at } of writes) {
        writeState(
          /** @type {ort.Tensor} */ (outputs[output]),
          arrays.map((/** @type {string} */ name) => held[name]),
          axis,
          at,
        );
      }
      if (carry) carryOver(carry, outputs, held);
      const written = writes.map((/** @type {{ output: string }} */ write) => write.output);
      const kept = new Set([...written, ...Object.keys(carry?.arrays ?? {})]);
      for (const [name, output] of Object.entries(outputs)) {
        if (kept.has(name)) continue;
        const { type, data, dims } = output;
        result.fetched[name] = { type, data, dims };
        transfer.push(/** @type {ArrayBuffer} */ (/** @type {Float32Array} */ (data).buffer));
      }
    } catch (thrown) {
      result.error = thrown instanceof Error ? thrown.message : String(thrown);
    }
    return { result, transfer };
  },
  async createState({ state, arrays }) {
    states.set(state, Object.fromEntries(Object.entries(arrays).map(([name, wire]) => [name, toTensor(wire)])));
    return {};
  },
  async readState({ state, names, download }) {
    const held = states.get(state) ?? {};
    /** @type {Record<string, Wire>} */
    const result = {};
    for (const name of names) {
      const tensor = /** @type {ort.Tensor} */ (held[name]);
      result[name] = { type: tensor.type, data: await elementsOf(tensor, download), dims: tensor.dims };
    }
    return { result, transfer: Object.values(result).map(({ data }) => data.buffer) };
  },
  async releaseState({ state }) {
    for (const tensor of Object.values(states.get(state) ?? {})) tensor.dispose();
    states.delete(state);
    return {};
  },
  async release({ session }) {
    await sessions.get(session)?.session.release();
    sessions.delete(session);
    return {};
  },
  async end() {
    process.exit();
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
// ONNX Runtime is loaded.
parentPort?.postMessage({});
