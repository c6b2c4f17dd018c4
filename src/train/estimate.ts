/** What a run will need, from its graphs alone: nothing is loaded and nothing runs. */
import { sizeOf } from "../core/index.ts";
import { formatShape, type Graph, multiplyAdds, peakBytes, simplifyGraph } from "../graph/index.ts";
import { type ToklipConfig, traceGraph, vqOf } from "../models/index.ts";
import { type GivenEncoder, isTrainedInAr } from "./ar-assembly.ts";
import { countedLosses } from "./ar-feeds.ts";
import { arTrainingGraph, picturesPerRow } from "./ar-objective.ts";
import { tokenFeatureGraph } from "./ar-pictures.ts";
import type { ContrastiveObjective } from "./contrastive-objective.ts";
import { towerGraph, wholeBatchGraph } from "./contrastive-step.ts";
import type { RunConfig, RunConfigs, TrainingKind } from "./run-config.ts";
import { teacherObjective } from "./teacher-objective.ts";
import { toklipObjective } from "./toklip-objective.ts";
import { isTrainedInToklip } from "./towers-trainer.ts";
import { isDiscriminatorParameter, isVqParameter, type VqLossOptions, vqTrainingGraph } from "./vq-objective.ts";

/** What a training needs, per process. */
export interface TrainingEstimate {
  /** What one part of a batch feeds, by input: dtype and shape. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly trainedParameters: number;
  readonly frozenParameters: number;
  /** Bytes by what they are for, and their sum. */
  readonly bytes: {
    readonly parameters: number;
    readonly gradients: number;
    readonly moments: number;
    readonly average: number;
    readonly frozen: number;
    readonly activations: number;
    readonly total: number;
  };
  /** Floating-point operations of one step, the optimizer's aside. */
  readonly stepFlop: number;
  /** Seconds of one step, at the given speed. */
  readonly stepSeconds: number;
}

/** What an estimate is made for. */
export interface EstimateOptions {
  readonly config: RunConfig;
  /** Of the kinds that are trained on pictures. */
  readonly model?: ToklipConfig | undefined;
  /** Of a unified transformer. */
  readonly ar?: GivenEncoder | undefined;
  readonly teacher?: ToklipConfig | undefined;
  readonly vqLoss?: VqLossOptions | undefined;
  /** Samples of this process in one step. */
  readonly batchSize: number;
  /** What the machine does in floating-point operations a second when it only multiplies matrices. */
  readonly matmulFlops: number;
}

/** The share of a machine's bare matrix product that a training step reaches (bench/train-step.mjs). */
const EFFICIENCY = 0.75;

interface Work {
  /** The graph of one part of the batch. */
  readonly graph: Graph;
  readonly trained: (name: string) => boolean;
  /** Multiply-adds of one step besides: frozen parts, and towers that run twice. */
  readonly otherMultiplyAdds: number;
  readonly frozen: readonly Graph[];
}

function towersWork(
  objective: ContrastiveObjective,
  trained: (name: string) => boolean,
  frozen: readonly Graph[],
  { config, batchSize }: EstimateOptions,
  partSize: number,
): Work {
  const again = partSize < batchSize ? multiplyAdds(towerGraph(objective, partSize)) * (batchSize / partSize) : 0;
  const before = frozen.reduce((sum, graph) => sum + multiplyAdds(graph, { B: batchSize }), 0);
  const graph = wholeBatchGraph(objective, partSize, trained, config.recompute);
  return { graph, trained, otherMultiplyAdds: again + before, frozen };
}

const notRun = () => Promise.reject(new Error("not run"));
const noEncoders = { pictures: notRun, texts: notRun, dispose: async () => {} };

type WorkOf<K extends TrainingKind> = (config: RunConfigs[K], options: EstimateOptions, partSize: number) => Work;

const WORK: { readonly [K in TrainingKind]: WorkOf<K> } = {
  toklip: ({ loss, patch_dropout: share = 0, seed }, options, partSize) => {
    const { teacher } = options;
    const model = options.model!;
    const weights = {
      contrastive: loss.contrastive,
      distillation: teacher ? loss.distillation : 0,
      tokenDistillation: teacher ? loss.token_distillation : 0,
    };
    const frozen = [
      traceGraph("vq_encoder", model),
      ...(weights.contrastive > 0 ? [traceGraph("text_encoder", model)] : []),
      ...(teacher ? [traceGraph("pixel_encoder", teacher)] : []),
    ];
    const objective = toklipObjective(model, noEncoders, weights, { share, seed });
    return towersWork(objective, isTrainedInToklip, frozen, options, partSize);
  },
  teacher: ({ loss, patch_dropout: share = 0, seed }, options, partSize) => {
    const objective = teacherObjective(options.model!, loss.type, { share, seed });
    return towersWork(objective, () => true, [], options, partSize);
  },
  ar: ({ recompute, loss }, { ar, batchSize }, partSize) => {
    const { model, toklip, tokenEncoder } = ar!;
    const encoder = tokenEncoder === "trained" ? toklip?.config : undefined;
    const part = { model, encoder, partSize, losses: countedLosses(loss) };
    const reads = model.entry !== "vq" && encoder === undefined;
    const frozen = reads ? [tokenFeatureGraph(toklip!.config)] : [];
    const pictures = { B: picturesPerRow(model) * batchSize };
    return {
      graph: arTrainingGraph(part, { trained: isTrainedInAr, recompute }),
      trained: isTrainedInAr,
      otherMultiplyAdds: frozen.reduce((sum, graph) => sum + multiplyAdds(graph, pictures), 0),
      frozen,
    };
  },
  vq: ({ recompute }, { model, vqLoss }, partSize) => ({
    graph: vqTrainingGraph(vqOf(model!), vqLoss!, {
      partSize,
      share: 1,
      adversarial: vqLoss!.discriminator !== undefined,
      recompute,
      imageSize: model!.trunk.imageSize,
    }),
    trained: (name) => isVqParameter(name) || isDiscriminatorParameter(name),
    otherMultiplyAdds: 0,
    frozen: [],
  }),
};

function elements(graph: Graph, wanted: (name: string) => boolean): number {
  const shapes = [...graph.parameters].filter(([name]) => wanted(name));
  return shapes.reduce((sum, [, { shape }]) => sum + sizeOf(shape as number[]), 0);
}

/** Estimates what a run needs. @throws CONFIG_INVALID, GRAPH_INVALID as building the trainer would */
export function estimateTraining(options: EstimateOptions): TrainingEstimate {
  const { config, batchSize, matmulFlops } = options;
  const partSize = Math.min(config.part_size ?? batchSize, batchSize);
  const { graph, trained, otherMultiplyAdds, frozen } = (WORK[config.kind] as WorkOf<TrainingKind>)(
    config,
    options,
    partSize,
  );
  const simple = simplifyGraph(graph);
  const trainedParameters = elements(simple, trained);
  const frozenParameters =
    elements(simple, (name) => !trained(name)) + frozen.reduce((sum, other) => sum + elements(other, () => true), 0);
  const stepFlop = 2 * (multiplyAdds(simple) * (batchSize / partSize) + otherMultiplyAdds);
  const bytes = {
    parameters: 4 * trainedParameters,
    gradients: 4 * trainedParameters * (partSize < batchSize ? 2 : 1),
    moments: 8 * trainedParameters,
    average: config.ema ? 4 * trainedParameters : 0,
    frozen: 4 * frozenParameters,
    activations: peakBytes(simple) - 4 * trainedParameters,
  };
  const total = Object.values(bytes).reduce((sum, part) => sum + part, 0);
  return {
    inputs: Object.fromEntries(
      [...simple.inputs].map(([name, { dtype, shape }]) => [name, `${dtype} ${formatShape(shape)}`]),
    ),
    trainedParameters,
    frozenParameters,
    bytes: { ...bytes, total },
    stepFlop,
    stepSeconds: stepFlop / (matmulFlops * EFFICIENCY),
  };
}
