/** Trains a VQGAN: the tokenizer that TokLIP keeps as it is. */
import { concatRows, type NDArray, ndarray, rows, ToklipError } from "../core/index.ts";
import type { Graph } from "../graph/index.ts";
import { fromPixels, psnr, ssim } from "../image/index.ts";
import type { VqConfig } from "../models/index.ts";
import type { Backend, Fetches, Weight } from "../runtime/index.ts";
import { CodebookWatch } from "./codebook-watch.ts";
import { type Communicator, singleProcess } from "./communicator.ts";
import {
  evaluatedParameters,
  fileOf,
  ParameterUpdate,
  type ParameterUpdateOptions,
  restoreParameters,
} from "./parameter-update.ts";
import { sumOverProcesses } from "./process-group.ts";
import type { Schedule } from "./schedule.ts";
import type { SamplePicture, StepReport, TensorMap, Trainer, TrainerState } from "./trainer.ts";
import { accumulateGradients, FedSession, outputsNamed, type Parameters, partsOf } from "./training-graph.ts";
import {
  isDiscriminatorParameter,
  isTrainedVqParameter,
  isVqParameter,
  type TrainedVqPart,
  type VqLossOptions,
  vqEvaluationGraph,
  vqTrainingGraph,
} from "./vq-objective.ts";

/** Pictures. */
export interface PixelBatch {
  /** f32 (B, 3, H, W) in [-1, 1]. */
  readonly pixels: NDArray<"f32">;
}

/** The numbers of an optimizer, the groups of parameters aside. */
export type UpdateOptions = Omit<ParameterUpdateOptions, "groups" | "ema" | "clamps">;

/** What the training of a VQ is made of. */
export interface VqTrainerOptions {
  readonly backend: Backend;
  readonly config: VqConfig;
  readonly imageSize: number;
  readonly loss: VqLossOptions;
  /** Default `"all"`. With `"decoder"` the codebook is left alone too. */
  readonly trained?: TrainedVqPart;
  /** The VQ's and the discriminator's parameters at their start; the trainer takes them over. */
  readonly parameters: Parameters;
  /** The weights of the perceptual network. */
  readonly frozen?: (name: string) => Promise<Weight>;
  readonly update: UpdateOptions;
  /** Sorts parameters into groups of one weight decay. */
  readonly weightDecay: (names: Parameters) => ParameterUpdateOptions["groups"];
  readonly ema?: ParameterUpdateOptions["ema"];
  readonly schedule: Schedule;
  readonly codebook: { readonly patience: number; readonly reviveEvery: number };
  readonly seed: number;
  /** Samples of this process in one step. */
  readonly batchSize: number;
  /** Samples that are taken at once; the gradients of a step are the mean over the parts. Default all. */
  readonly partSize?: number;
  readonly recompute?: boolean;
  readonly communicator?: Communicator;
}

/** What one step computed, before anything is updated. */
export interface VqGradients {
  readonly parts: Record<string, number>;
  readonly gradients: Map<string, Float32Array>;
  /** i32 (L*h*w): the ids of this process's pictures. */
  readonly ids: Int32Array;
  /** f32 (L*h*w, embedDim). */
  readonly vectors: NDArray<"f32">;
}

const CODEBOOK = "quantize.embedding.weight";

/** The trainer. */
export class VqTrainer implements Trainer<PixelBatch> {
  private readonly options: VqTrainerOptions;
  private readonly parameters: Parameters;
  private readonly generator: ParameterUpdate;
  private readonly discriminator: ParameterUpdate | undefined;
  private readonly watch: CodebookWatch;
  private readonly sessions = new Map<string, Promise<FedSession>>();

  /** @throws ARGUMENT_INVALID, OUT_OF_MEMORY */
  constructor(options: VqTrainerOptions) {
    const { batchSize, partSize = batchSize, parameters, update, weightDecay, ema, loss, config, seed } = options;
    if (batchSize % partSize !== 0) {
      throw new ToklipError(
        "ARGUMENT_INVALID",
        `a part of ${partSize} samples does not divide a batch of ${batchSize}`,
      );
    }
    this.options = options;
    this.parameters = parameters;
    const own = selected(parameters, (name) => this.isTrained(name));
    this.generator = new ParameterUpdate(own, { ...update, groups: weightDecay(own), ema });
    if (loss.discriminator) {
      const judge = selected(parameters, isDiscriminatorParameter);
      this.discriminator = new ParameterUpdate(judge, { ...update, groups: weightDecay(judge) });
    }
    this.watch = new CodebookWatch({ codebookSize: config.codebookSize, ...options.codebook, seed });
  }

  async step(
    { pixels }: PixelBatch,
    { step, total }: { readonly step: number; readonly total: number },
  ): Promise<StepReport> {
    const learningRate = this.options.schedule(step, total);
    const { parts, gradients, ids, vectors } = await this.gradients(pixels, step);
    const { discriminator, ...generator } = parts;
    const loss = Object.values(generator).reduce((sum, part) => sum + part, 0);
    if (!Number.isFinite(loss + (discriminator ?? 0))) {
      return { loss, parts, learningRate, gradientNorm: Number.NaN };
    }
    const gradientNorm = this.generator.step(
      this.parameters,
      only(gradients, (name) => this.isTrained(name)),
      learningRate,
    );
    const judged = only(gradients, isDiscriminatorParameter);
    const judgeNorm = judged.size > 0 ? this.discriminator!.step(this.parameters, judged, learningRate) : undefined;
    const norms = judgeNorm === undefined ? {} : { discriminator_gradient_norm: judgeNorm };
    const use = await this.tendCodebook(ids, vectors, step);
    return { loss, parts: { ...parts, ...norms, ...use }, learningRate, gradientNorm };
  }

  /** Losses by part and all gradients at a step (from 0), without an update, over all processes. */
  async gradients(pixels: NDArray<"f32">, step: number): Promise<VqGradients> {
    const { batchSize, partSize = batchSize, communicator = singleProcess } = this.options;
    const session = await this.trainingSession(step);
    const parts: Record<string, number> = {};
    const gradients = new Map<string, Float32Array>();
    const made: Fetches[] = [];
    for (let start = 0; start < batchSize; start += partSize) {
      const fetched = await session.run(this.parameters, { pixels: rows(pixels, start, start + partSize) });
      for (const [name, value] of Object.entries(partsOf(fetched))) parts[name] = (parts[name] ?? 0) + value;
      accumulateGradients(gradients, outputsNamed("d.", fetched));
      for (const [name, data] of outputsNamed("statistic.", fetched)) this.parameters.get(name)!.data.set(data);
      made.push(fetched);
    }
    const ids = concatRows(made.map((fetched) => fetched.ids!)) as NDArray<"i32">;
    const vectors = concatRows(made.map((fetched) => fetched.vectors!)) as NDArray<"f32">;
    await sumOverProcesses(communicator, gradients, parts);
    return { parts, gradients, ids: ids.data, vectors };
  }

  /**
   * Over held-out pictures: the reconstruction loss (`loss`), PSNR in dB, SSIM, and the share of codes that occur at all.
   */
  async evaluate(batches: AsyncIterable<PixelBatch>): Promise<Readonly<Record<string, number>>> {
    const parameters = this.evaluated();
    const sums = { loss: 0, psnr: 0, ssim: 0 };
    const codes = new Set<number>();
    let samples = 0;
    for await (const { pixels } of batches) {
      const { ids, reconstruction } = await this.reconstruct(parameters, pixels);
      for (const id of ids.data) codes.add(id);
      const count = pixels.shape[0]!;
      sums.loss += meanDifference(pixels.data, reconstruction.data, this.options.loss.reconstruction) * count;
      for (let i = 0; i < count; i++) {
        const [picture, made] = [fromPixels(pixels, i), fromPixels(reconstruction, i)];
        sums.psnr += psnr(picture, made);
        sums.ssim += Math.min(picture.width, picture.height) < 11 ? Number.NaN : ssim(picture, made);
      }
      samples += count;
    }
    const means = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / samples]));
    return { ...means, codebook_usage: codes.size / this.options.config.codebookSize };
  }

  /** The first pictures of a batch, each beside its reconstruction. */
  async samples({ pixels }: PixelBatch): Promise<readonly SamplePicture[]> {
    const shown = rows(pixels, 0, Math.min(8, pixels.shape[0]!));
    const { reconstruction } = await this.reconstruct(this.evaluated(), shown);
    return Array.from({ length: shown.shape[0]! }, (_, i) => ({
      name: `reconstruction-${i}`,
      pixels: sideBySide(shown, reconstruction, i),
    }));
  }

  /** What a checkpoint holds of the training. */
  state(): TrainerState {
    const own = this.generator.state();
    const judge = this.discriminator?.state("discriminator_");
    return {
      files: {
        model: selected(this.parameters, isVqParameter),
        ...own.files,
        ...(judge && { discriminator: selected(this.parameters, (name) => !isVqParameter(name)), ...judge.files }),
        codebook: this.watch.state(),
      },
      json: { generator: own.json, discriminator: judge?.json ?? null },
    };
  }

  restore({ files, json }: TrainerState): void {
    const states = (json ?? {}) as { readonly [key: string]: TrainerState["json"] };
    const judge = this.discriminator ? fileOf(files, "discriminator") : new Map();
    restoreParameters(this.parameters, new Map([...fileOf(files, "model"), ...judge]));
    this.generator.restore(files, states.generator ?? null);
    this.discriminator?.restore(files, states.discriminator ?? null, "discriminator_");
    this.watch.restore(fileOf(files, "codebook"));
  }

  /** The VQ's parameters as they are, or averaged where an average is kept. */
  trained(weights: "last" | "ema" = "last"): TensorMap {
    const averages = weights === "ema" ? this.generator.averages() : undefined;
    return evaluatedParameters(selected(this.parameters, isVqParameter), averages);
  }

  async dispose(): Promise<void> {
    for (const session of this.sessions.values()) await (await session).dispose();
  }

  private isTrained(name: string): boolean {
    return isTrainedVqParameter(name, this.options.trained ?? "all");
  }

  private evaluated(): Parameters {
    return evaluatedParameters(this.parameters, this.generator.averages());
  }

  private async reconstruct(parameters: Parameters, pixels: NDArray<"f32">) {
    const { config, imageSize, batchSize, partSize = batchSize } = this.options;
    const session = await this.session("evaluation", () => vqEvaluationGraph(config, imageSize));
    const made: Fetches[] = [];
    for (let start = 0; start < pixels.shape[0]!; start += partSize) {
      const part = rows(pixels, start, Math.min(start + partSize, pixels.shape[0]!));
      made.push(await session.run(parameters, { pixels: part }));
    }
    return {
      ids: concatRows(made.map(({ ids }) => ids!)) as NDArray<"i32">,
      reconstruction: concatRows(made.map(({ reconstruction }) => reconstruction!)) as NDArray<"f32">,
    };
  }

  private trainingSession(step: number): Promise<FedSession> {
    const { config, loss, batchSize, partSize = batchSize, imageSize, recompute = false, trained } = this.options;
    const { communicator = singleProcess } = this.options;
    const adversarial = loss.discriminator !== undefined && step + 1 >= loss.discriminator.start;
    const share = partSize / (batchSize * communicator.size);
    const sizes = { partSize, share, adversarial, recompute, imageSize, trained };
    return this.session(adversarial ? "with discriminator" : "alone", () => vqTrainingGraph(config, loss, sizes));
  }

  private session(name: string, trace: () => Graph): Promise<FedSession> {
    let session = this.sessions.get(name);
    if (session === undefined) {
      const { backend, frozen = noWeight } = this.options;
      session = FedSession.compile(backend, `vq ${name}`, trace(), this.parameters, frozen);
      this.sessions.set(name, session);
    }
    return session;
  }

  /** Notes which codes are used, in all processes, and moves dead ones. */
  private async tendCodebook(ids: Int32Array, vectors: NDArray<"f32">, step: number) {
    const { communicator = singleProcess } = this.options;
    const use = this.watch.note(await communicator.allGather(ids), step);
    const dead = this.isTrained(CODEBOOK) ? this.watch.toRevive(step) : [];
    if (dead.length > 0) {
      const all = await communicator.allGather(vectors.data);
      const codebook = this.parameters.get(CODEBOOK)!;
      const width = vectors.shape[1]!;
      this.watch.revive(
        dead,
        codebook,
        ndarray("f32", [all.length / width, width], all as Float32Array<ArrayBuffer>),
        step,
      );
      this.generator.replaceRows(CODEBOOK, codebook, dead);
    }
    return { ...use, codes_revived: dead.length };
  }
}

function noWeight(name: string): Promise<Weight> {
  return Promise.reject(new ToklipError("CHECKPOINT_MISMATCH", `parameter ${name} has no value`));
}

function selected(parameters: Parameters, wanted: (name: string) => boolean): Parameters {
  return new Map([...parameters].filter(([name]) => wanted(name)));
}

function only(gradients: ReadonlyMap<string, Float32Array>, wanted: (name: string) => boolean) {
  return new Map([...gradients].filter(([name]) => wanted(name)));
}

function meanDifference(a: Float32Array, b: Float32Array, kind: "l1" | "l2"): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += kind === "l1" ? Math.abs(a[i]! - b[i]!) : (a[i]! - b[i]!) ** 2;
  return sum / a.length;
}

/** Picture i of each of two batches (B, 3, H, W) as one (3, H, 2W). */
export function sideBySide(a: NDArray<"f32">, b: NDArray<"f32">, i: number): NDArray<"f32"> {
  const [, , height, width] = a.shape as [number, number, number, number];
  const out = ndarray("f32", [3, height, 2 * width]);
  for (const [half, { data }] of [rows(a, i, i + 1), rows(b, i, i + 1)].entries()) {
    for (let line = 0; line < 3 * height; line++) {
      out.data.set(data.subarray(line * width, (line + 1) * width), (2 * line + half) * width);
    }
  }
  return out;
}
