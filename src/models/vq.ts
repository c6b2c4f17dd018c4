/**
 * The VQGAN image tokenizer of LlamaGen (arXiv 2406.06525; VQ-16 and VQ-8), after Taming Transformers (arXiv 2012.09841).
 * Parameter names are those of the released checkpoints (`encoder.conv_blocks.0.res.0.conv1.weight`, ...).
 *
 * Follows LlamaGen's `tokenizer_image/vq_model.py` as TokLIP uses it. Differs in returning ids and codebook rows
 * separately instead of the straight-through sum, which equals the rows up to fp32 rounding; training has that sum by
 * `quantizeForTraining`. The losses are in `losses/`.
 *
 * Dim letters: B batch, C channels, H W pixels, h w grid, K codebook size.
 */
import {
  add,
  argmax,
  boundary,
  dimProduct,
  gather,
  gemm,
  l2Normalize,
  matmul,
  mul,
  pad,
  reshape,
  softmax,
  straightThrough,
  type Tensor,
  transpose,
  upsampleNearest,
} from "../graph/index.ts";
import { conv2d, conv3x3, groupNorm, type Scope, swish } from "../nn/index.ts";
import type { VqConfig } from "./config.ts";

/** norm, swish, 3x3, twice, and a skip that is 1x1 where the channels change. (B, C, H, W) -> (B, O, H, W) */
function resnetBlock(scope: Scope, x: Tensor, outChannels: number): Tensor {
  const first = conv3x3(scope.at("conv1"), swish(groupNorm(scope.at("norm1"), x)), outChannels);
  const second = conv3x3(scope.at("conv2"), swish(groupNorm(scope.at("norm2"), first)), outChannels);
  const skip = x.shape[1] === outChannels ? x : conv2d(scope.at("nin_shortcut"), x, outChannels, 1);
  return boundary(add(skip, second));
}

/** Single-head self-attention over the positions of a picture. (B, C, h, w) -> the same. */
function attentionBlock(scope: Scope, x: Tensor): Tensor {
  const [batch, channels, height, width] = x.shape as [string, number, number, number];
  const normal = groupNorm(scope.at("norm"), x);
  const project = (name: string) =>
    reshape(conv2d(scope.at(name), normal, channels, 1), [batch, channels, height * width]); // (B, C, h, w) -> (B, C, N)
  const [q, k, v] = [project("q"), project("k"), project("v")];
  const scores = matmul(transpose(mul(q, channels ** -0.5), [0, 2, 1]), k); // (B, N, C) (B, C, N) -> (B, N, N)
  const mixed = matmul(v, transpose(softmax(scores), [0, 2, 1])); // (B, C, N) (B, N, N) -> (B, C, N)
  const out = conv2d(scope.at("proj_out"), reshape(mixed, [batch, channels, height, width]), channels, 1);
  return boundary(add(x, out));
}

/** The middle of both halves: block, attention, block. */
function middle(scope: Scope, x: Tensor): Tensor {
  const channels = x.shape[1] as number;
  const first = resnetBlock(scope.at("mid.0"), x, channels);
  return resnetBlock(scope.at("mid.2"), attentionBlock(scope.at("mid.1"), first), channels);
}

/** A level of blocks, each followed by attention where asked. */
function level(scope: Scope, x: Tensor, channels: number, blocks: number, attention: boolean): Tensor {
  let out = x;
  for (let j = 0; j < blocks; j++) {
    out = resnetBlock(scope.at(`res.${j}`), out, channels);
    if (attention) out = attentionBlock(scope.at(`attn.${j}`), out);
  }
  return out;
}

/** Halves a picture: one row and column of zeros at the bottom and right, then a 3x3 convolution of stride 2. */
function downsample(scope: Scope, x: Tensor): Tensor {
  const padded = pad(x, [0, 0, 0, 0], [0, 0, 1, 1]);
  return conv2d(scope.at("downsample.conv"), padded, x.shape[1] as number, 3, { stride: [2, 2] });
}

/** Doubles a picture: nearest neighbour, then a 3x3 convolution. */
function upsample(scope: Scope, x: Tensor): Tensor {
  return conv3x3(scope.at("upsample.conv"), upsampleNearest(x), x.shape[1] as number);
}

/** The first layer: LlamaGen's 3x3 convolution, or whole patches. (B, 3, H, W) -> (B, ch, H/stem, W/stem) */
function stemIn(scope: Scope, pixels: Tensor, { ch, stem = 1 }: VqConfig): Tensor {
  return stem === 1 ? conv3x3(scope, pixels, ch) : conv2d(scope, pixels, ch, stem, { stride: [stem, stem] });
}

/** The last layer: a 3x3 convolution that gives each place its pixel, or its patch. (B, C, H, W) -> (B, 3, H*stem, W*stem) */
function stemOut(scope: Scope, x: Tensor, { stem = 1 }: VqConfig): Tensor {
  const patches = conv3x3(scope, x, 3 * stem * stem);
  if (stem === 1) return patches;
  const [batch, , height, width] = x.shape as [string, number, number, number];
  const apart = reshape(patches, [batch, 3, stem, stem, height, width]);
  const ordered = transpose(apart, [0, 1, 4, 2, 5, 3]); // (B, 3, s, s, H, W) -> (B, 3, H, s, W, s)
  return reshape(ordered, [batch, 3, height * stem, width * stem]);
}

/** Pixels (B, 3, H, W) in [-1, 1] -> (B, zChannels, h, w). */
export function vqEncoder(scope: Scope, pixels: Tensor, config: VqConfig): Tensor {
  const { ch, chMult, numResBlocks, zChannels } = config;
  let x = boundary(stemIn(scope.at("conv_in"), pixels, config));
  chMult.forEach((mult, i) => {
    const last = i === chMult.length - 1;
    const at = scope.at(`conv_blocks.${i}`);
    x = level(at, x, ch * mult, numResBlocks, last);
    if (!last) x = downsample(at, x);
  });
  x = middle(scope, x);
  return conv3x3(scope.at("conv_out"), swish(groupNorm(scope.at("norm_out"), x)), zChannels);
}

/** (B, zChannels, h, w) -> pixels (B, 3, H, W), about [-1, 1], not clamped. `conv_blocks.0` is the deepest level. */
export function vqDecoder(scope: Scope, z: Tensor, config: VqConfig): Tensor {
  const { ch, chMult, numResBlocks } = config;
  let x = middle(scope, boundary(conv3x3(scope.at("conv_in"), z, ch * chMult.at(-1)!)));
  [...chMult].reverse().forEach((mult, i) => {
    const at = scope.at(`conv_blocks.${i}`);
    x = level(at, x, ch * mult, numResBlocks + 1, i === 0);
    if (i < chMult.length - 1) x = upsample(at, x);
  });
  return stemOut(scope.at("conv_out"), swish(groupNorm(scope.at("norm_out"), x)), config);
}

/** The codebook with rows of unit length, (K, embedDim). The stored rows need not be. */
export function normalizedCodebook(scope: Scope, { codebookSize, embedDim }: VqConfig): Tensor {
  return l2Normalize(scope.parameter("quantize.embedding.weight", [codebookSize, embedDim]));
}

/**
 * The nearest code of each vector, z (B, embedDim, h, w) -> ids i32 (B*h*w), beside the vectors and the codebook they
 * were found with. Both are normalised, so the nearest by distance is the largest inner product; the first on ties.
 */
function nearestCodes(scope: Scope, z: Tensor, config: VqConfig) {
  const [batch, width, height, columns] = z.shape;
  const rows = reshape(transpose(z, [0, 2, 3, 1]), [dimProduct([batch!, height!, columns!]), width!]); // -> (B*h*w, embedDim)
  const vectors = l2Normalize(rows);
  const codebook = normalizedCodebook(scope, config);
  return { vectors, codebook, nearest: argmax(gemm(vectors, codebook, undefined, { transB: true })) };
}

/** The nearest code of each vector, z (B, embedDim, h, w) -> ids i32 (B, h, w). */
export function quantize(scope: Scope, z: Tensor, config: VqConfig): Tensor {
  const [batch, , height, columns] = z.shape;
  return reshape(nearestCodes(scope, z, config).nearest, [batch!, height!, columns!]); // (B*h*w) -> (B, h, w)
}

/** What quantisation gives to training; the last three are what its losses are made of. */
export interface TrainingQuantization {
  /** i32 (B, h, w). */
  readonly ids: Tensor;
  /** (B, embedDim, h, w): the codes forwards; backwards the gradient goes on to `vectors`, and none to the codebook. */
  readonly quantized: Tensor;
  /** The vectors, (B*h*w, embedDim), of unit length. */
  readonly vectors: Tensor;
  /** The codebook row of each, (B*h*w, embedDim). */
  readonly codes: Tensor;
  /** (codebookSize, embedDim), rows of unit length. */
  readonly codebook: Tensor;
}

/**
 * Quantises z (B, embedDim, h, w) with a straight-through gradient: z + sg(e - z) for the unit vectors z and their codes
 * e (arXiv 1711.00937, section 3.2).
 */
export function quantizeForTraining(scope: Scope, z: Tensor, config: VqConfig): TrainingQuantization {
  const [batch, width, height, columns] = z.shape;
  const { vectors, codebook, nearest } = nearestCodes(scope, z, config);
  const codes = gather(codebook, nearest);
  const straight = reshape(straightThrough(codes, vectors), [batch!, height!, columns!, width!]);
  return {
    ids: reshape(nearest, [batch!, height!, columns!]),
    quantized: transpose(straight, [0, 3, 1, 2]), // (B, h, w, embedDim) -> (B, embedDim, h, w)
    vectors,
    codes,
    codebook,
  };
}

/** Pixels (B, 3, H, W) in [-1, 1] -> the vectors before quantisation, (B, embedDim, h, w). */
export function encodeVectors(scope: Scope, pixels: Tensor, config: VqConfig): Tensor {
  return conv2d(scope.at("quant_conv"), vqEncoder(scope.at("encoder"), pixels, config), config.embedDim, 1);
}

/** Pixels (B, 3, H, W) in [-1, 1] -> ids i32 (B, h, w). */
export function encodeIds(scope: Scope, pixels: Tensor, config: VqConfig): Tensor {
  return quantize(scope, encodeVectors(scope, pixels, config), config);
}

/** Quantised vectors (B, embedDim, h, w) -> pixels (B, 3, H, W). */
export function decodeVectors(scope: Scope, quantized: Tensor, config: VqConfig): Tensor {
  return vqDecoder(scope.at("decoder"), conv2d(scope.at("post_quant_conv"), quantized, config.zChannels, 1), config);
}

/** Ids i32 (B, h, w) -> pixels (B, 3, H, W). */
export function decodeIds(scope: Scope, ids: Tensor, config: VqConfig): Tensor {
  const vectors = gather(normalizedCodebook(scope, config), ids); // (B, h, w) -> (B, h, w, embedDim)
  return decodeVectors(scope, transpose(vectors, [0, 3, 1, 2]), config); // -> (B, embedDim, h, w)
}
