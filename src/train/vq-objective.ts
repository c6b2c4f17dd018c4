/**
 * The training objective of a VQGAN: reconstruction, a perceptual distance, the quantiser's own terms, and a
 * discriminator that learns beside it (Taming Transformers, arXiv 2012.09841; LlamaGen, arXiv 2406.06525).
 *
 * Follows LlamaGen's `vq_loss.py`: the generator's and the discriminator's gradients come from the same reconstruction,
 * made before either is updated, so one graph has both. Differs in that before its start the discriminator is not run at
 * all (upstream runs it with weight 0), and in that adaptive weight, entropy and batch normalisation are those of a part
 * of the batch where it is taken in parts.
 *
 * Dim letters: M samples of one part, H W pixels.
 */
import { ToklipError } from "../core/index.ts";
import { add, Graph, mul, stopGradient, type Tensor } from "../graph/index.ts";
import {
  ADVERSARIAL_LOSSES,
  type AdversarialLoss,
  adaptiveWeight,
  meanOf,
  quantizationLosses,
  RECONSTRUCTION_LOSSES,
  type ReconstructionLoss,
} from "../losses/index.ts";
import {
  lpips,
  type PatchDiscriminatorConfig,
  type PatchJudgement,
  patchDiscriminator,
  runningStatistics,
  type VqConfig,
  vq,
} from "../models/index.ts";
import { Scope } from "../nn/index.ts";
import { type OtherLoss, type TracedLoss, trainingGraph } from "./training-graph.ts";

/** A perceptual distance between pictures (B, 3, H, W) in [-1, 1], as a tensor (B). Its weights lie below the scope. */
export type PerceptualDistance = (scope: Scope, a: Tensor, b: Tensor) => Tensor;

/** The adversarial part of the loss. */
export interface DiscriminatorOptions extends PatchDiscriminatorConfig {
  readonly loss: AdversarialLoss;
  readonly weight: number;
  /** The step, from 1, that it begins with. */
  readonly start: number;
  /** Weigh its term so that it pulls the last layer as hard as the others do. */
  readonly adaptive: boolean;
}

/** What is minimised. Weights of 0 leave a term out. */
export interface VqLossOptions {
  readonly reconstruction: ReconstructionLoss;
  readonly reconstructionWeight: number;
  readonly perceptualWeight: number;
  readonly perceptual?: PerceptualDistance | undefined;
  readonly beta: number;
  readonly entropyRatio: number;
  readonly entropyTemperature: number;
  readonly discriminator?: DiscriminatorOptions | undefined;
}

/** The prefixes of what only training has. */
export const VQ_TRAINING_PREFIXES = { discriminator: "discriminator.", perceptual: "perceptual." } as const;

/** Whether a parameter is the VQ's own. */
export function isVqParameter(name: string): boolean {
  return !Object.values(VQ_TRAINING_PREFIXES).some((prefix) => name.startsWith(prefix));
}

/** What of a VQ is trained: with the decoder alone, ids and all that reads them stay what they were. */
export type TrainedVqPart = "all" | "decoder";

const DECODER = /^(?:decoder|post_quant_conv)\./;

/** Whether a parameter is of the part of the VQ that is trained. */
export function isTrainedVqParameter(name: string, part: TrainedVqPart): boolean {
  return part === "all" ? isVqParameter(name) : DECODER.test(name);
}

/** Whether a parameter is one of the discriminator that its optimizer moves. */
export function isDiscriminatorParameter(name: string): boolean {
  return name.startsWith(VQ_TRAINING_PREFIXES.discriminator) && !isRunningStatistic(name);
}

/** Whether a parameter is a running mean or variance of the discriminator. */
export function isRunningStatistic(name: string): boolean {
  return /^discriminator\..*\.running_(mean|var)$/.test(name);
}

/** How one part of a batch is computed. */
export interface VqGraphOptions {
  /** Samples of the part, M. */
  readonly partSize: number;
  /** The share of the part in the whole batch: losses and gradients of all parts add up to those of the batch. */
  readonly share: number;
  /** Whether the discriminator has begun. */
  readonly adversarial: boolean;
  readonly recompute: boolean;
  readonly imageSize: number;
  /** Default `"all"`. */
  readonly trained?: TrainedVqPart | undefined;
}

/**
 * The graph of one part: input `pixels` f32 (M, 3, H, W); outputs `part.*`, `d.*`, `statistic.<running statistic>`,
 * `ids` i32 (M, h, w) and `vectors` f32 (M*h*w, embedDim), the encoder's vectors at unit length.
 */
export function vqTrainingGraph(config: VqConfig, loss: VqLossOptions, options: VqGraphOptions): Graph {
  const { partSize, imageSize, recompute, trained = "all" } = options;
  const trace = (graph: Graph): TracedLoss => {
    const scope = new Scope(graph);
    const pixels = graph.input("pixels", "f32", [partSize, 3, imageSize, imageSize]);
    const quantized = vq.quantizeForTraining(scope, vq.encodeVectors(scope, pixels, config), config);
    const reconstruction = vq.decodeVectors(scope, quantized.quantized, config);
    const nll = pictureTerms(scope, pixels, reconstruction, loss);
    const own = trained === "all" ? quantizerTerms(quantized, loss) : {};
    const judged = options.adversarial ? adversarialTerms(scope, pixels, reconstruction, nll, loss) : undefined;
    return {
      parts: shared({ ...nll, ...own, ...judged?.generator }, options.share),
      others: judged ? [{ ...judged.discriminator, parts: shared(judged.discriminator.parts, options.share) }] : [],
      outputs: { ...judged?.statistics, ids: quantized.ids, vectors: quantized.vectors },
    };
  };
  return trainingGraph(trace, { trained: (name) => isTrainedVqParameter(name, trained), recompute });
}

/** The VQ run over pictures, without losses: `pixels` (B, 3, H, W) -> `ids`, `reconstruction`. */
export function vqEvaluationGraph(config: VqConfig, imageSize: number): Graph {
  const graph = new Graph();
  const scope = new Scope(graph);
  const pixels = graph.input("pixels", "f32", ["B", 3, imageSize, imageSize]);
  const ids = vq.encodeIds(scope, pixels, config);
  graph.output("ids", ids);
  graph.output("reconstruction", vq.decodeIds(scope, ids, config));
  return graph;
}

function shared(parts: Readonly<Record<string, Tensor>>, share: number): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(parts).map(([name, tensor]) => [name, mul(tensor, share)]));
}

function quantizerTerms(quantized: vq.TrainingQuantization, loss: VqLossOptions): Record<string, Tensor> {
  const { beta, entropyRatio, entropyTemperature: temperature } = loss;
  const { total: _, ...terms } = quantizationLosses(quantized, { beta, entropyRatio, temperature });
  return terms;
}

function pictureTerms(
  scope: Scope,
  pixels: Tensor,
  reconstruction: Tensor,
  loss: VqLossOptions,
): Record<string, Tensor> {
  const { perceptualWeight, perceptual = lpips } = loss;
  const difference = RECONSTRUCTION_LOSSES[loss.reconstruction](reconstruction, pixels);
  const terms = { reconstruction: mul(difference, loss.reconstructionWeight) };
  if (perceptualWeight === 0) return terms;
  const distance = meanOf(perceptual(scope.at("perceptual"), pixels, reconstruction));
  return { ...terms, perceptual: mul(distance, perceptualWeight) };
}

interface Adversarial {
  readonly generator: Readonly<Record<string, Tensor>>;
  readonly discriminator: OtherLoss;
  readonly statistics: Readonly<Record<string, Tensor>>;
}

function adversarialTerms(
  scope: Scope,
  pixels: Tensor,
  reconstruction: Tensor,
  nll: Readonly<Record<string, Tensor>>,
  { discriminator: options }: VqLossOptions,
): Adversarial {
  if (options === undefined) throw new ToklipError("CONFIG_INVALID", "loss: there is no discriminator to begin");
  const { generator, discriminator } = ADVERSARIAL_LOSSES[options.loss];
  const at = scope.at("discriminator");
  const judge = (picture: Tensor): PatchJudgement => patchDiscriminator(at, picture, options, { training: true });
  const judged = judge(reconstruction);
  const term = generator(judged.logits);
  const lastWeight = scope.graph.parameters.get("decoder.conv_out.weight")!;
  const weight = options.adaptive
    ? mul(adaptiveWeight(Object.values(nll).reduce(add), term, lastWeight), options.weight)
    : options.weight;
  const [real, fake] = [judge(pixels), judge(stopGradient(reconstruction))];
  const judgement = mul(discriminator(real.logits, fake.logits), options.weight);
  const statistics = [...runningStatistics(at, [judged, real, fake])];
  return {
    generator: { adversarial: mul(term, weight) },
    discriminator: { parts: { discriminator: judgement }, trained: isDiscriminatorParameter },
    statistics: Object.fromEntries(statistics.map(([name, tensor]) => [`statistic.${name}`, tensor])),
  };
}
