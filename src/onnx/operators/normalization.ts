/** Normalisation operators of ONNX. */
import { ndarray } from "../../core/index.ts";
import * as g from "../../graph/index.ts";
import type { Row } from "./call.ts";

/** A number for each channel, (C), laid over (B, C, ...). */
function perChannel(x: g.Tensor, values: g.Tensor): g.Tensor {
  return g.reshape(values, [values.shape[0]!, ...x.shape.slice(2).map(() => 1)]);
}

/** As in inference: (x - mean) scale / sqrt(variance + eps) + bias, with all but x known for each channel. */
const batchNormalization: Row = (call) => {
  if (call.int("training_mode", 0) === 1) call.refuse("the statistics of the batch");
  if (call.int("spatial", 1) === 0) call.refuse("spatial 0");
  const x = call.tensor(0);
  const [scale, bias, mean, variance] = [1, 2, 3, 4].map((index) => call.tensor(index)) as [
    g.Tensor,
    g.Tensor,
    g.Tensor,
    g.Tensor,
  ];
  const factor = g.div(scale, g.sqrt(g.add(variance, call.float("epsilon", 1e-5))));
  const shift = g.sub(bias, g.mul(mean, factor));
  return g.add(g.mul(x, perChannel(x, factor)), perChannel(x, shift));
};

function filled(graph: g.Graph, size: number, value: number): g.Tensor {
  return g.expand(graph.constant(ndarray("f32", [1], Float32Array.of(value))), [size]);
}

/** The axes from `axis` on as one, so that it is the last axis that is normalised. */
const layerNormalization: Row = (call) => {
  const x = call.tensor(0);
  const axis = g.resolveAxis(call.int("axis", -1), x.shape.length);
  const width = g.dimProduct(x.shape.slice(axis));
  if (!g.isStatic(width)) return call.refuse(`normalising ${g.formatShape(x.shape)} from axis ${axis} on`);
  const flat = g.reshape(x, [...x.shape.slice(0, axis), width]);
  const weight = g.reshape(call.tensor(1), [width]);
  const bias = call.has(2) ? g.reshape(call.tensor(2), [width]) : filled(call.graph, width, 0);
  return g.reshape(g.layerNorm(flat, weight, bias, call.float("epsilon", 1e-5)), x.shape);
};

/** Group normalisation of (B, C, ...) with as many groups as channels. */
const instanceNormalization: Row = (call) => {
  const x = call.tensor(0);
  const [batch, channels, ...places] = x.shape;
  const area = g.dimProduct(places);
  if (!g.isStatic(channels ?? "") || !g.isStatic(area)) return call.refuse(`the shape ${g.formatShape(x.shape)}`);
  const planes = g.reshape(x, [batch!, channels!, area, 1]);
  const eps = call.float("epsilon", 1e-5);
  return g.reshape(g.groupNorm(planes, call.tensor(1), call.tensor(2), channels as number, eps), x.shape);
};

/** Scale and shift are for each channel since version 21, for each group before. */
const groupNormalization: Row = (call) => {
  const x = call.picture(0);
  const groups = call.int("num_groups", 0);
  const channels = x.shape[1] as number;
  if (groups < 1 || channels % groups !== 0) return call.refuse(`${groups} groups of ${channels} channels`);
  const spread = (values: g.Tensor) => {
    if (values.shape[0] === channels) return values;
    return g.reshape(g.expand(g.reshape(values, [groups, 1]), [groups, channels / groups]), [channels]);
  };
  return g.groupNorm(x, spread(call.tensor(1)), spread(call.tensor(2)), groups, call.float("epsilon", 1e-5));
};

/** Lines divided by their Euclidean norm. */
const lpNormalization: Row = (call) => {
  if (call.int("p", 2) !== 2) call.refuse("a norm other than the Euclidean");
  const x = call.tensor(0);
  const axis = g.resolveAxis(call.int("axis", -1), x.shape.length);
  return g.div(x, g.sqrt(g.reduceSum(g.square(x), [axis])));
};

export const normalizationOperators: Readonly<Record<string, Row>> = {
  BatchNormalization: batchNormalization,
  GroupNormalization: groupNormalization,
  InstanceNormalization: instanceNormalization,
  LayerNormalization: layerNormalization,
  LpNormalization: lpNormalization,
};
