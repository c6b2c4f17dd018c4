/**
 * The PatchGAN discriminator (pix2pix, arXiv 1611.07004, section 3.2.2): a small convolutional network whose every
 * output judges one patch of a picture. The VQ trainer uses it; no other model does.
 *
 * Follows LlamaGen's, which is Taming Transformers' `NLayerDiscriminator`; parameter names are theirs below the scope
 * (`main.0.weight`, `main.3.running_mean`, ...). Differs in how running statistics are kept: a graph changes nothing, so
 * training mode gives the statistics of its batch, and `runningStatistics` folds them into the running ones. PyTorch's
 * counter `num_batches_tracked` is not kept, since the momentum does not depend on it. Spectral norm and ActNorm are not
 * here.
 *
 * Dim letters: B batch, C channels, H W pixels.
 */
import {
  add,
  conv2d,
  div,
  leakyRelu,
  mul,
  reduceMean,
  reshape,
  sqrt,
  square,
  sub,
  type Tensor,
} from "../graph/index.ts";
import type { Scope } from "../nn/index.ts";

/** The size of a discriminator. */
export interface PatchDiscriminatorConfig {
  /** Channels of the first layer. */
  readonly ndf: number;
  /** Layers of stride 2. */
  readonly numLayers: number;
}

/** LlamaGen's discriminator: patches of 70 x 70 pixels. */
export const PATCH_DISCRIMINATOR: PatchDiscriminatorConfig = { ndf: 64, numLayers: 3 };

/** What one batch normalisation saw. */
export interface BatchStatistics {
  /** The layer below the discriminator's scope, such as `main.3`. */
  readonly layer: string;
  /** The mean of each channel, (C). */
  readonly mean: Tensor;
  /** The unbiased variance of each channel, (C). */
  readonly variance: Tensor;
}

/** Logits (B, 1, H', W'), positive for pictures taken to be real, and what the normalisations saw in training mode. */
export interface PatchJudgement {
  readonly logits: Tensor;
  readonly statistics: readonly BatchStatistics[];
}

const EPS = 1e-5;
const MOMENTUM = 0.1;
const SLOPE = 0.2;

/** The moments that x (B, C, H, W) is normalised by, each (1, C, 1, 1). */
interface Moments {
  readonly mean: Tensor;
  readonly variance: Tensor;
}

function batchMoments(x: Tensor): Moments {
  const mean = reduceMean(x, [0, 2, 3]);
  return { mean, variance: reduceMean(square(sub(x, mean)), [0, 2, 3]) };
}

function runningMoments(scope: Scope, channels: number): Moments {
  const moment = (name: string) => reshape(scope.parameter(name, [channels]), [1, channels, 1, 1]);
  return { mean: moment("running_mean"), variance: moment("running_var") };
}

/** Normalises each channel of (B, C, H, W), then scales and shifts it (Ioffe and Szegedy 2015). */
function batchNorm(scope: Scope, x: Tensor, { mean, variance }: Moments): Tensor {
  const channels = x.shape[1] as number;
  const parameter = (name: string) => reshape(scope.parameter(name, [channels]), [1, channels, 1, 1]);
  const normal = div(sub(x, mean), sqrt(add(variance, EPS)));
  return add(mul(normal, parameter("weight")), parameter("bias"));
}

/** The moments of x as PyTorch keeps them: the variance with n - 1 for n. */
function statisticsOf(layer: string, x: Tensor, { mean, variance }: Moments): BatchStatistics {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const count = batch * height * width;
  return {
    layer,
    mean: reshape(mean, [channels]),
    variance: reshape(mul(variance, count / Math.max(count - 1, 1)), [channels]),
  };
}

/** A 4x4 convolution with a border of one zero, below `main`. */
function patchConv(
  scope: Scope,
  x: Tensor,
  outChannels: number,
  { stride, bias }: { readonly stride: number; readonly bias: boolean },
): Tensor {
  const weight = scope.parameter("weight", [outChannels, x.shape[1] as number, 4, 4]);
  const shift = bias ? scope.parameter("bias", [outChannels]) : undefined;
  return conv2d(x, weight, shift, { stride: [stride, stride], pads: [1, 1, 1, 1] });
}

/**
 * Judges pixels (B, 3, H, W) in [-1, 1]. In training mode the batch, whose size is then static, is normalised by its own
 * moments; otherwise the running ones are used and no statistics are given.
 * @throws SHAPE_MISMATCH for pictures smaller than a patch.
 */
export function patchDiscriminator(
  scope: Scope,
  pixels: Tensor,
  { ndf, numLayers }: PatchDiscriminatorConfig,
  { training }: { readonly training: boolean },
): PatchJudgement {
  const main = scope.at("main");
  const statistics: BatchStatistics[] = [];
  let x = leakyRelu(patchConv(main.at(0), pixels, ndf, { stride: 2, bias: true }), SLOPE);
  for (let n = 1; n <= numLayers; n++) {
    const index = 3 * n - 1; // convolution, normalisation, activation
    x = patchConv(main.at(index), x, ndf * Math.min(2 ** n, 8), { stride: n < numLayers ? 2 : 1, bias: false });
    const norm = main.at(index + 1);
    const moments = training ? batchMoments(x) : runningMoments(norm, x.shape[1] as number);
    if (training) statistics.push(statisticsOf(`main.${index + 1}`, x, moments));
    x = leakyRelu(batchNorm(norm, x, moments), SLOPE);
  }
  return { logits: patchConv(main.at(3 * numLayers + 2), x, 1, { stride: 1, bias: true }), statistics };
}

/**
 * The running statistics after calls in training mode, in their order: running <- 0.9 running + 0.1 batch. Keys are the
 * full names of the parameters that the values replace (`main.3.running_mean`, ...).
 */
export function runningStatistics(scope: Scope, calls: readonly PatchJudgement[]): ReadonlyMap<string, Tensor> {
  const running = new Map<string, Tensor>();
  const fold = (layer: Scope, name: string, batch: Tensor) => {
    const before = running.get(`${layer.prefix}${name}`) ?? layer.parameter(name, batch.shape as readonly number[]);
    running.set(`${layer.prefix}${name}`, add(mul(before, 1 - MOMENTUM), mul(batch, MOMENTUM)));
  };
  for (const { layer, mean, variance } of calls.flatMap(({ statistics }) => statistics)) {
    fold(scope.at(layer), "running_mean", mean);
    fold(scope.at(layer), "running_var", variance);
  }
  return running;
}
