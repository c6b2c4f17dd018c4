/**
 * Adversarial losses over a discriminator's logits, any shape; results are scalars (). They are VQGAN's (Taming
 * Transformers, arXiv 2012.09841), as LlamaGen trains with them.
 *
 * LlamaGen's own non-saturating loss passes logits and targets to its cross entropy in each other's place, which makes
 * it linear in the logits. Here it is the loss of Goodfellow et al. (arXiv 1406.2661, section 3): its numbers differ
 * from LlamaGen's on purpose. LeCAM regularisation is not here.
 */
import {
  add,
  div,
  gradients,
  minimum,
  mul,
  neg,
  relu,
  softplus,
  sqrt,
  square,
  stopGradient,
  sub,
  type Tensor,
} from "../graph/index.ts";
import { meanOf, sumOf } from "./reduction.ts";

/** The names of the adversarial losses. */
export type AdversarialLoss = "hinge" | "vanilla" | "non-saturating";

/** Both sides of an adversarial loss. */
export interface AdversarialTerms {
  /** What the generator minimises, given the logits of its own pictures. */
  generator(fake: Tensor): Tensor;
  /** What the discriminator minimises. */
  discriminator(real: Tensor, fake: Tensor): Tensor;
}

const half = (real: Tensor, fake: Tensor): Tensor => mul(add(meanOf(real), meanOf(fake)), 0.5);

/** (mean relu(1 - real) + mean relu(1 + fake)) / 2. */
const hinge = (real: Tensor, fake: Tensor): Tensor => half(relu(sub(1, real)), relu(add(fake, 1)));
/** (mean -log sigmoid(real) + mean -log(1 - sigmoid(fake))) / 2. */
const crossEntropy = (real: Tensor, fake: Tensor): Tensor => half(softplus(neg(real)), softplus(fake));
const linear = (fake: Tensor): Tensor => neg(meanOf(fake));

/** The adversarial losses by name. VQGAN's `vanilla` has the generator of `hinge`, -mean(fake). */
export const ADVERSARIAL_LOSSES: Readonly<Record<AdversarialLoss, AdversarialTerms>> = {
  hinge: { generator: linear, discriminator: hinge },
  vanilla: { generator: linear, discriminator: crossEntropy },
  "non-saturating": { generator: (fake) => meanOf(softplus(neg(fake))), discriminator: crossEntropy },
};

/** Keeps the division defined where the discriminator has no gradient. */
const ADAPTIVE_EPS = 1e-4;
const LARGEST_ADAPTIVE_WEIGHT = 1e4;

/** The Euclidean norm of all elements, a scalar (). */
function normOf(x: Tensor): Tensor {
  return sqrt(sumOf(square(x)));
}

/**
 * The weight that makes the adversarial term pull the last layer as hard as the other terms do, a scalar ():
 * |d nll / d w| / (|d generator / d w| + 1e-4), clamped to [0, 1e4]. No gradient goes through it.
 * @param nll what the generator minimises without the adversarial term: reconstruction and perceptual loss, weighted
 * @param generator the adversarial term, not yet weighted
 * @param lastWeight the weight of the decoder's last layer, `decoder.conv_out.weight`
 * @see https://arxiv.org/abs/2012.09841 equation 7
 */
export function adaptiveWeight(nll: Tensor, generator: Tensor, lastWeight: Tensor): Tensor {
  const [pull, push] = [nll, generator].map((loss) => normOf(gradients(loss, [lastWeight])[0]!));
  return stopGradient(minimum(div(pull!, add(push!, ADAPTIVE_EPS)), LARGEST_ADAPTIVE_WEIGHT));
}
