/**
 * Random weights for a configuration: what a training starts from and what a benchmark needs.
 *
 * Linear and convolution weights are uniform with variance 1/fan_in (LeCun 1998), biases zero, norms one; embeddings and
 * positions have a standard deviation of 0.02; codebook rows are random directions, as LlamaGen begins. Transformers that
 * generate ids begin as LlamaGen's do: linear layers and embeddings N(0, 0.02), the output layer zero, so that the first
 * loss is that of all ids being equally likely. Each tensor has a random stream of its own, found from the seed and its
 * name, so that parts of a model can be made alone.
 */
import { fnv1a, Random, sizeOf } from "../core/index.ts";
import type { ToklipConfig } from "./config.ts";

type Fill = (out: Float32Array, random: Random, shape: readonly number[]) => void;

const constant =
  (value: number): Fill =>
  (out) =>
    void out.fill(value);

/** Uniform numbers of this standard deviation: about five times faster than normal ones, and as good a start. */
function uniform(out: Float32Array, random: Random, deviation: number): void {
  const scale = (2 * Math.sqrt(3) * deviation) / 2 ** 32;
  for (let i = 0; i < out.length; i++) out[i] = (random.uint32() - 2 ** 31) * scale;
}

/** The discriminator's own rule (Taming Transformers): weights N(0, 0.02), those of its normalisation N(1, 0.02). */
const discriminatorWeight: Fill = (out, random, shape) => {
  const mean = shape.length === 1 ? 1 : 0;
  for (let i = 0; i < out.length; i++) out[i] = mean + 0.02 * random.normal();
};

/** N(0, deviation). */
function normal(out: Float32Array, random: Random, deviation: number): void {
  for (let i = 0; i < out.length; i++) out[i] = deviation * random.normal();
}

const fanIn: Fill = (out, random, shape) => uniform(out, random, Math.sqrt(1 / sizeOf(shape.slice(1))));

/** PatchGAN's start (arXiv 1703.10593, appendix): a deviation of 0.02, around 1 for the scales of normalisations. */
const patchWeight: Fill = (out, random, { length: rank }) => {
  uniform(out, random, 0.02);
  if (rank === 1) for (let i = 0; i < out.length; i++) out[i]! += 1;
};

/** The first rule whose pattern fits a parameter's name. */
const RULES: readonly (readonly [RegExp, Fill])[] = [
  [/^discriminator\..*\.running_mean$/, constant(0)],
  [/^discriminator\..*\.running_var$/, constant(1)],
  [/^discriminator\..*\.weight$/, discriminatorWeight],
  [/(norm\d?|norm_out|ln_\w+|norm)\.weight$/, constant(1)],
  [/bias$/, constant(0)],
  [/^output\.weight$/, constant(0)],
  [
    /^(tok_embeddings|semantic_embeddings|image_projection|cls_embedding|layers\.\d+\.(attention|feed_forward))\..*weight$/,
    (out, random) => normal(out, random, 0.02),
  ],
  // What stands for no caption: of length 1 a row, as LlamaGen draws it.
  [/^cls_embedding\.uncond_embedding$/, (out, random, shape) => normal(out, random, shape[1]! ** -0.5)],
  [/\bmain\.\d+\.weight$/, patchWeight],
  [/\brunning_mean$/, constant(0)],
  [/\brunning_var$/, constant(1)],
  [
    /(pos_embed|positional_embedding|(token|id)_embedding\.weight|latent)$/,
    (out, random) => uniform(out, random, 0.02),
  ],
  [/quantize\.embedding\.weight$/, (out, random) => uniform(out, random, 1)],
  [/text_projection$/, (out, random, shape) => uniform(out, random, Math.sqrt(1 / shape[0]!))],
  [/./, fanIn],
];

/** The random numbers of one parameter, in pieces that are continued until the tensor is full. */
export function* initialPieces(
  name: string,
  shape: readonly number[],
  seed: number,
  pieceLength = 1 << 20,
): Generator<Float32Array> {
  const fill = RULES.find(([pattern]) => pattern.test(name))![1];
  const random = new Random((fnv1a(name) ^ Math.imul(seed, 0x9e3779b1)) >>> 0);
  for (let left = sizeOf(shape); left > 0; left -= pieceLength) {
    const piece = new Float32Array(Math.min(left, pieceLength));
    fill(piece, random, shape);
    yield piece;
  }
}

/** `logit_scale` = ln(1/0.07) (arXiv 2103.00020, section 2.5), and `logit_bias` where the configuration has one. */
export function initialScalars({ initLogitBias }: ToklipConfig): Readonly<Record<string, number>> {
  return { logit_scale: Math.log(1 / 0.07), ...(initLogitBias !== undefined && { logit_bias: initLogitBias }) };
}
