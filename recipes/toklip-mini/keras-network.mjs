// A Keras network as TensorFlow.js stores it (a topology, weights in 8 bits) as an ONNX model, from its input to its last
// pooling: the trunk that makes features. Batch normalisations and zero paddings become part of the convolutions. Only the
// layers of MobileNetV2 and InceptionV3 are here; any other is an error.
//
// Axes: Keras has pictures (B, H, W, C) and kernels (h, w, in, out); ONNX (B, C, H, W) and (out, in, h, w).

/** @typedef {import("../../src/onnx/model.ts").OnnxModel} OnnxModel */
/** @typedef {import("../../src/onnx/model.ts").OnnxAttribute} OnnxAttribute */
/** @typedef {{ name: string, class_name: string, config: Record<string, any>, inbound_nodes: [string, ...unknown[]][][] }} Layer */
/** @typedef {{ name: string, shape: number[], quantization?: { min: number, scale: number, dtype: string } }} WeightSpec */
/** @typedef {{ modelTopology: any, weightsManifest: { paths: string[], weights: WeightSpec[] }[] }} KerasModel */
/** @typedef {{ name: string, channels: number, pads: number[] }} Value Of `channels` channels, with pads [top, left, bottom, right] still to add. */

/** The trunk of a network. @param {string} name @param {KerasModel} model @param {Uint8Array} bytes its weights @returns {OnnxModel} */
export function trunkOf(name, { modelTopology, weightsManifest }, bytes) {
  const specs = weightsManifest.flatMap(({ weights }) => weights);
  const builder = new Builder(readWeights(specs, bytes));
  const { layers } = (modelTopology.model_config ?? modelTopology).config;
  for (const layer of layers) {
    builder.add(layer);
    if (layer.class_name === "Flatten") return builder.model(name);
  }
  throw new Error(`${name}: has no Flatten after its pooling`);
}

/**
 * The weights by name, as floats: min + scale * byte.
 * @param {readonly WeightSpec[]} specs @param {Uint8Array} bytes @returns {Map<string, Float32Array>}
 */
export function readWeights(specs, bytes) {
  const weights = new Map();
  let at = 0;
  for (const { name, shape, quantization } of specs) {
    const count = shape.reduce((product, size) => product * size, 1);
    const { min = 0, scale = 1, dtype = "float32" } = quantization ?? {};
    if (dtype !== "uint8" && dtype !== "float32") throw new Error(`${name}: weights of ${dtype} are not known here`);
    const end = at + count * (dtype === "uint8" ? 1 : 4);
    if (end > bytes.length) throw new Error(`${name}: the file ends at ${bytes.length}`);
    const own = bytes.slice(at, end);
    weights.set(
      name,
      dtype === "uint8" ? Float32Array.from(own, (byte) => min + scale * byte) : new Float32Array(own.buffer),
    );
    at = end;
  }
  if (at !== bytes.length) throw new Error(`weights: ${bytes.length - at} bytes are left over`);
  return weights;
}

/** One row a layer. @type {Readonly<Record<string, (builder: Builder, layer: Layer, inputs: Value[]) => Value>>} */
const LAYERS = {
  InputLayer: (builder, { config }) => builder.input(config.batch_input_shape),
  Conv2D: (builder, layer, [x]) => builder.convolution(layer, defined(x), "kernel"),
  DepthwiseConv2D: (builder, layer, [x]) => builder.convolution(layer, defined(x), "depthwise_kernel"),
  BatchNormalization: (builder, layer, [x]) => builder.foldNormalization(layer, defined(x)),
  ReLU: (builder, { name, config }, [x]) => {
    const limits = [0, config.max_value].map((limit, i) =>
      builder.constant(`${name}.${i}`, [], Float32Array.of(limit)),
    );
    return builder.node("Clip", name, defined(x), limits);
  },
  Activation: (builder, { name, config }, [x]) => {
    if (config.activation !== "relu") throw new Error(`${name}: ${config.activation} is not known here`);
    return builder.node("Relu", name, defined(x));
  },
  ZeroPadding2D: (_, { config }, [x]) => {
    const [[top, bottom], [left, right]] = config.padding;
    return { ...defined(x), pads: [top, left, bottom, right] };
  },
  MaxPooling2D: (builder, layer, [x]) => builder.node("MaxPool", layer.name, defined(x), [], windowOf(layer)),
  AveragePooling2D: (builder, layer, [x]) => builder.node("AveragePool", layer.name, defined(x), [], windowOf(layer)),
  Add: (builder, { name }, [x, y]) => builder.node("Add", name, defined(x), [defined(y).name]),
  Concatenate: (builder, { name }, [x, ...others]) => ({
    ...builder.node(
      "Concat",
      name,
      defined(x),
      others.map((value) => value.name),
      { axis: 1 },
    ),
    channels: [defined(x), ...others].reduce((sum, { channels }) => sum + channels, 0),
  }),
  Flatten: (builder, _, [x]) => builder.node("Flatten", "features", defined(x), [], { axis: 1 }),
};

/** @template T @param {T | undefined} value @returns {T} */
function defined(value) {
  if (value === undefined) throw new Error("a layer lacks an input or a weight");
  return value;
}

/** Edge lengths, strides and pads of a window. @param {Layer} layer @param {number[]} [kernel] @returns {Record<string, number[]>} */
function windowOf({ name, config }, kernel = config.pool_size) {
  const { strides, padding } = config;
  if (padding === "same" && strides.some((/** @type {number} */ step) => step !== 1)) {
    throw new Error(`${name}: "same" padding with steps is not known here`);
  }
  const before = kernel.map((size) => (padding === "same" ? (size - 1) >> 1 : 0));
  const after = kernel.map((size) => (padding === "same" ? size >> 1 : 0));
  return { kernel_shape: kernel, strides, pads: [...before, ...after] };
}

/** A model that is being made. */
class Builder {
  /** @param {ReadonlyMap<string, Float32Array>} weights */
  constructor(weights) {
    this.weights = weights;
    /** @type {Map<string, Value>} */
    this.values = new Map();
    /** @type {OnnxModel["nodes"][number][]} */
    this.nodes = [];
    /** @type {OnnxModel["initializers"][number][]} */
    this.initializers = [];
    /** Weights and biases of the convolutions, by the names of their values. @type {Map<string, { weight: Float32Array, bias: Float32Array }>} */
    this.convolutions = new Map();
    /** @type {(string | number)[]} */
    this.inputShape = [];
    /** @type {Value | undefined} */
    this.last = undefined;
  }

  /** @param {Layer} layer */
  add(layer) {
    const make = LAYERS[layer.class_name];
    if (make === undefined) throw new Error(`${layer.name}: the layer ${layer.class_name} is not known here`);
    const inputs = (layer.inbound_nodes[0] ?? []).map(([name]) => defined(this.values.get(name)));
    this.last = make(this, layer, inputs);
    this.values.set(layer.name, this.last);
  }

  /** @param {[null, number, number, number]} shape */
  input([, height, width, channels]) {
    this.inputShape = ["B", channels, height, width];
    return { name: "pixels", channels, pads: [0, 0, 0, 0] };
  }

  /** @param {string} name @param {number[]} shape @param {Float32Array} data */
  constant(name, shape, data) {
    this.initializers.push({ name, dtype: "f32", shape, data: new Uint8Array(data.buffer) });
    return name;
  }

  /**
   * @param {string} opType @param {string} name @param {Value} x @param {readonly string[]} [others]
   * @param {Record<string, OnnxAttribute>} [attributes] @returns {Value}
   */
  node(opType, name, x, others = [], attributes = {}) {
    if (x.pads.some((pad) => pad > 0) && opType !== "Conv") throw new Error(`${name}: padding before ${opType}`);
    this.nodes.push({ name, opType, domain: "", inputs: [x.name, ...others], outputs: [name], attributes });
    return { ...x, name, pads: [0, 0, 0, 0] };
  }

  /** @param {Layer} layer @param {Value} x @param {"kernel" | "depthwise_kernel"} kind @returns {Value} */
  convolution(layer, x, kind) {
    const { name, config } = layer;
    if (
      config.activation !== "linear" ||
      config.use_bias ||
      config.dilation_rate.some((/** @type {number} */ d) => d !== 1)
    ) {
      throw new Error(`${name}: activations, biases and dilations are not known here`);
    }
    const isDepthwise = kind === "depthwise_kernel";
    const [inputs, outputs] = isDepthwise ? [1, x.channels] : [x.channels, config.filters];
    const shape = [outputs, inputs, ...config.kernel_size];
    const kernel = defined(this.weights.get(`${name}/${kind}`));
    const weight = isDepthwise ? transposed(kernel, 1, outputs) : transposed(kernel, inputs, outputs);
    const bias = new Float32Array(outputs);
    const others = [this.constant(`${name}.weight`, shape, weight), this.constant(`${name}.bias`, [outputs], bias)];
    const { pads, ...window } = windowOf(layer, config.kernel_size);
    const attributes = {
      ...window,
      pads: defined(pads).map((pad, i) => pad + defined(x.pads[i])),
      ...(isDepthwise && { group: outputs }),
    };
    this.convolutions.set(name, { weight, bias });
    return { ...this.node("Conv", name, x, others, attributes), channels: outputs };
  }

  /** y = gamma (x - mean) / sqrt(variance + epsilon) + beta of a convolution's result x. @param {Layer} layer @param {Value} x */
  foldNormalization({ name, config }, x) {
    const { weight, bias } = defined(this.convolutions.get(x.name));
    this.convolutions.delete(x.name); // once only
    const of = (/** @type {string} */ part) => this.weights.get(`${name}/${part}`);
    const [mean, variance] = [defined(of("moving_mean")), defined(of("moving_variance"))];
    const each = weight.length / bias.length;
    for (let c = 0; c < bias.length; c++) {
      const scale = (of("gamma")?.[c] ?? 1) / Math.sqrt(defined(variance[c]) + config.epsilon);
      bias[c] = (of("beta")?.[c] ?? 0) - defined(mean[c]) * scale;
      for (let i = c * each; i < (c + 1) * each; i++) weight[i] = defined(weight[i]) * scale;
    }
    return x;
  }

  /** @param {string} name @returns {OnnxModel} */
  model(name) {
    const { channels } = defined(this.last);
    return {
      name,
      nodes: this.nodes,
      initializers: this.initializers,
      inputs: [{ name: "pixels", dtype: "f32", shape: this.inputShape }],
      outputs: [{ name: "features", dtype: "f32", shape: ["B", channels] }],
      metadata: { pixels: "RGB, values in [0, 1]", origin: "nsfwjs (MIT), weights of 8 bits" },
      opsets: { "": 17 },
    };
  }
}

/** (h, w, in, out) -> (out, in, h, w). @param {Float32Array} kernel @param {number} inputs @param {number} outputs */
function transposed(kernel, inputs, outputs) {
  const places = kernel.length / inputs / outputs;
  const weight = new Float32Array(kernel.length);
  for (let place = 0; place < places; place++) {
    for (let i = 0; i < inputs; i++) {
      for (let o = 0; o < outputs; o++) {
        weight[(o * inputs + i) * places + place] = defined(kernel[(place * inputs + i) * outputs + o]);
      }
    }
  }
  return weight;
}
