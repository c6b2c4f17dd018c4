/** The training of a VQ, put together from a configuration and checkpoints. */
import { ToklipError } from "../core/index.ts";
import type { Checkpoint } from "../files/index.ts";
import type { VqConfig } from "../models/index.ts";
import type { Weight } from "../runtime/index.ts";
import { checkWeights, initialParameters, weightsOf } from "./initial-weights.ts";
import { decayGroups } from "./parameter-groups.ts";
import type { PerceptualNetwork } from "./perceptual-network.ts";
import {
  isTrainedVqParameter,
  isVqParameter,
  VQ_TRAINING_PREFIXES,
  type VqLossOptions,
  vqTrainingGraph,
} from "./vq-objective.ts";
import { VqTrainer, type VqTrainerOptions } from "./vq-trainer.ts";

/** What the training of a VQ needs. */
export interface VqTrainingOptions extends Omit<VqTrainerOptions, "parameters" | "frozen" | "weightDecay" | "update"> {
  /** Where weights begin, names as LlamaGen's (`encoder.conv_in.weight`); what none of them has begins at random. */
  readonly checkpoints: readonly Checkpoint[];
  /**
   * The weights of the perceptual distance: LPIPS's as a checkpoint (`net.slice1.0.weight`, `lin0.model.1.weight`), or
   * those of another network, whose distance is `loss.perceptual`.
   */
  readonly perceptualWeights?: Checkpoint | PerceptualNetwork["weight"] | undefined;
  readonly optimizer: {
    readonly betas: readonly [number, number];
    readonly eps: number;
    readonly weightDecay: number;
    readonly clipNorm?: number | undefined;
  };
}

type Shapes = Map<string, readonly number[]>;

/** The shapes of the parameters that the training holds, the VQ's and the discriminator's; and those of the perceptual network. */
export function vqShapes(
  config: VqConfig,
  loss: VqLossOptions,
  imageSize: number,
): { readonly held: Shapes; readonly perceptual: Shapes } {
  const adversarial = loss.discriminator !== undefined;
  const graph = vqTrainingGraph(config, loss, { partSize: 1, share: 1, adversarial, recompute: false, imageSize });
  const [held, perceptual]: [Shapes, Shapes] = [new Map(), new Map()];
  const { perceptual: prefix } = VQ_TRAINING_PREFIXES;
  for (const [name, { shape }] of graph.parameters) {
    if (name.startsWith(prefix)) perceptual.set(name.slice(prefix.length), shape as readonly number[]);
    else held.set(name, shape as readonly number[]);
  }
  return { held, perceptual };
}

/** Trains a VQ. @throws CHECKPOINT_MISMATCH, ARGUMENT_INVALID, OUT_OF_MEMORY */
export async function createVqTrainer(
  options: VqTrainingOptions,
): Promise<{ readonly trainer: VqTrainer; readonly fresh: readonly string[] }> {
  const { checkpoints, perceptualWeights, optimizer, ...rest } = options;
  const { config, loss, imageSize, seed, trained = "all" } = options;
  const shapes = vqShapes(config, loss, imageSize);
  const frozen = perceptualWeight(perceptualWeights, shapes.perceptual);
  const kept = [...shapes.held].filter(([name]) => isVqParameter(name) && !isTrainedVqParameter(name, trained));
  checkWeights("what makes the ids", new Map(kept), checkpoints);
  const { parameters, fresh } = await initialParameters(shapes.held, checkpoints, { seed });
  const trainer = new VqTrainer({
    ...rest,
    parameters,
    frozen,
    update: { betas: optimizer.betas, eps: optimizer.eps, clipNorm: optimizer.clipNorm },
    weightDecay: (held) =>
      decayGroups(new Map([...held].map(([name, { shape }]) => [name, shape])), optimizer.weightDecay),
  });
  return { trainer, fresh };
}

const PERCEPTUAL = "the perceptual network";

/** The weights of the perceptual network by their names in the training graph. @throws CHECKPOINT_MISMATCH */
function perceptualWeight(
  weights: VqTrainingOptions["perceptualWeights"],
  shapes: Shapes,
): (name: string) => Promise<Weight> {
  if (typeof weights === "function") {
    return async (name) => {
      const value = weights(name);
      if (value !== undefined) return { kind: "array", value };
      throw new ToklipError("CHECKPOINT_MISMATCH", `${PERCEPTUAL} has no ${name}`);
    };
  }
  const network = weights ? [weights] : [];
  checkWeights(PERCEPTUAL, shapes, network);
  const weight = weightsOf(network, PERCEPTUAL);
  return (name) => weight(name.slice(VQ_TRAINING_PREFIXES.perceptual.length));
}
