// A network for feature distances as an ONNX file, of weights that npm has: the trunks of nsfwjs' InceptionV3 (2048 features)
// and MobileNetV2 (1280). `node feature-network.mjs inception_v3 inception.onnx`, then
//
//     toklip eval reconstruction DATA --network inception.onnx --network-mean 0,0,0 --network-std 1,1,1
//
// They were trained on ImageNet, then fine-tuned on another task, and are stored in 8 bits: distances on them compare models
// with one another, and with no published FID. With --check PICTURE the file is held against TensorFlow.js on one picture.
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { writeOnnx } from "../../dist/onnx/index.js";
import { writeWhole } from "./files.mjs";
import { trunkOf } from "./keras-network.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { nsfwjs: { type: "string", default: "node_modules/nsfwjs" }, check: { type: "string" } },
});
const [name, out] = positionals;
if (name === undefined || out === undefined)
  throw new Error("usage: feature-network.mjs inception_v3|mobilenet_v2 FILE");

const require = createRequire(import.meta.url);
const folder = resolve(values.nsfwjs, "dist/models", name);
/** @type {import("./keras-network.mjs").KerasModel} */
const keras = require(join(folder, "model.min.js"));
const pieces = keras.weightsManifest.flatMap(({ paths }) => paths);
const weights = Buffer.concat(pieces.map((piece) => Buffer.from(require(join(folder, `${piece}.min.js`)), "base64")));
const bytes = writeOnnx(trunkOf(name, keras, weights));
await writeWhole(out, bytes);
process.stdout.write(`${out}: ${name}, ${(bytes.length / 1e6).toFixed(1)} MB\n`);
if (values.check !== undefined) process.stdout.write(`${await differenceFromTensorFlow(values.check)}\n`);

/** The largest difference of a feature between ONNX Runtime and TensorFlow.js. @param {string} picture */
async function differenceFromTensorFlow(picture) {
  const [{ default: sharp }, ort, tf] = await Promise.all([
    import("sharp"),
    import("onnxruntime-node"),
    import(/** @type {string} */ ("@tensorflow/tfjs")),
  ]);
  const specs = keras.weightsManifest.flatMap((group) => group.weights);
  const weightData = new Uint8Array(weights).buffer;
  const artifacts = { modelTopology: keras.modelTopology, weightSpecs: specs, weightData };
  const model = await tf.loadLayersModel(tf.io.fromMemory(artifacts));
  const flatten = model.layers.find((/** @type {any} */ layer) => layer.getClassName() === "Flatten");
  const size = model.inputs[0].shape[1];
  const rgb = await sharp(picture)
    .resize(size, size, { fit: "fill" })
    .removeAlpha()
    .toColourspace("srgb")
    .raw()
    .toBuffer();
  const pixels = Float32Array.from(rgb, (byte) => byte / 255);
  const expected = await tf
    .model({ inputs: model.inputs, outputs: flatten.output })
    .predict(tf.tensor4d(pixels, [1, size, size, 3]))
    .data();
  const area = size * size;
  const planes = Float32Array.from(pixels, (_, i) => pixels[(i % area) * 3 + Math.floor(i / area)] ?? 0);
  const session = await ort.InferenceSession.create(bytes);
  const { features } = await session.run({ pixels: new ort.Tensor("float32", planes, [1, 3, size, size]) });
  const found = /** @type {Float32Array} */ (features?.data);
  const difference = found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
  const largest = expected.reduce(
    (/** @type {number} */ most, /** @type {number} */ value) => Math.max(most, Math.abs(value)),
    0,
  );
  return `${picture}: differs by at most ${difference.toExponential(1)} from TensorFlow.js, of ${found.length} features up to ${largest.toFixed(2)}`;
}
