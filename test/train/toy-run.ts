/** A trainer of a few numbers, its data, and a run of both: quick, deterministic, and sensitive to every lost bit. */
import { type DataOf, type NDArray, ndarray, Random, type RandomState } from "../../src/core/index.ts";
import type { DataPosition } from "../../src/data/dataset.ts";
import { singleProcess } from "../../src/train/communicator.ts";
import { type Positioned, runTraining, type TrainingOptions } from "../../src/train/loop.ts";
import { openRunFolder } from "../../src/train/run-folder.ts";
import type { PictureWriter, RunStorage } from "../../src/train/run-storage.ts";
import type { SamplePicture, StepReport, Trainer, TrainerState } from "../../src/train/trainer.ts";

export interface ToyBatch extends Positioned {
  readonly value: number;
}

const EPOCH = 7;

/** Batches that go on from any position; `value` depends on the epoch and the place in it. */
export async function* toyBatches(from: DataPosition | undefined): AsyncGenerator<ToyBatch> {
  let { epoch, index } = (from ?? { epoch: 0, index: 0 }) as { epoch: number; index: number };
  for (;;) {
    const value = Math.fround(Math.sin(epoch * 12.9898 + index * 78.233));
    index++;
    if (index === EPOCH) [epoch, index] = [epoch + 1, 0];
    yield { value, position: { epoch, index } };
  }
}

export async function* toyEvaluation(): AsyncGenerator<ToyBatch> {
  for (const value of [0.25, -0.5]) yield { value, position: { epoch: 0 } };
}

/** Each step moves the weights towards the batch's value with momentum and noise from its own generator. */
export class ToyTrainer implements Trainer<ToyBatch> {
  weights: DataOf<"f32">;
  moments: DataOf<"f32">;
  private random = new Random(7);
  private count = 0n;
  /** Called at each step; may give another report. */
  onStep: (step: number, report: StepReport) => StepReport | Promise<StepReport> = (_, report) => report;

  constructor(size = 16) {
    this.weights = new Float32Array(size);
    this.moments = new Float32Array(size);
  }

  async step({ value }: ToyBatch, { step, total }: { step: number; total: number }): Promise<StepReport> {
    const learningRate = 0.1 * (1 - step / total);
    let [loss, norm] = [0, 0];
    for (let i = 0; i < this.weights.length; i++) {
      const gradient = this.weights[i]! - value + (i < 4 ? 0.01 * this.random.normal() : 0);
      this.moments[i] = 0.9 * this.moments[i]! + gradient;
      this.weights[i]! -= learningRate * this.moments[i]!;
      loss += gradient ** 2;
      norm += gradient ** 2;
    }
    this.count++;
    const parts = { near: loss * 0.75, far: loss * 0.25 };
    return this.onStep(step, { loss, parts, learningRate, gradientNorm: Math.sqrt(norm) });
  }

  async evaluate(batches: AsyncIterable<ToyBatch>): Promise<Record<string, number>> {
    let loss = 0;
    for await (const { value } of batches) loss += (this.weights[0]! - value) ** 2;
    return { loss, psnr: loss === 0 ? Number.POSITIVE_INFINITY : -10 * Math.log10(loss) };
  }

  async samples({ value }: ToyBatch): Promise<readonly SamplePicture[]> {
    return [{ name: "a/b 1", pixels: ndarray("f32", [3, 2, 2], new Float32Array(12).fill(value)) }];
  }

  state(): TrainerState {
    const model = new Map<string, NDArray>([["weights", ndarray("f32", [this.weights.length], this.weights)]]);
    const optimizer = new Map<string, NDArray>([
      ["moments", ndarray("f32", [4, this.moments.length / 4], this.moments)],
      ["count", ndarray("i64", [], BigInt64Array.of(this.count))],
    ]);
    const { words, spare } = this.random.state;
    return { files: { model, optimizer }, json: { words: [...words], spare } };
  }

  restore({ files, json }: TrainerState): void {
    this.weights = files.model!.get("weights")!.data as DataOf<"f32">;
    this.moments = files.optimizer!.get("moments")!.data as DataOf<"f32">;
    this.count = (files.optimizer!.get("count")!.data as BigInt64Array)[0]!;
    this.random = new Random(json as unknown as RandomState);
  }

  async dispose(): Promise<void> {}
}

export const fakePictures: PictureWriter = {
  encodePng: async ({ width, height }) => Uint8Array.of(0x89, width, height),
  renderSvg: async (svg) => Uint8Array.of(0x89, svg.length & 255),
};

export type ToyRun = Partial<Omit<TrainingOptions<ToyBatch>, "folder">> & {
  readonly storage: RunStorage;
  readonly resume?: boolean;
  readonly config?: Parameters<typeof openRunFolder>[0]["config"];
};

/** Opens the folder and trains. */
export async function runToy({ storage, resume = false, config, ...options }: ToyRun) {
  const communicator = options.communicator ?? singleProcess;
  const totalSteps = options.totalSteps ?? 20;
  const folder = await openRunFolder({
    storage,
    config: config ?? { name: "toy", steps: totalSteps, optimizer: { lr: 0.1 } },
    mayDiffer: ["steps"],
    resume,
    communicator,
  });
  return runTraining({
    trainer: new ToyTrainer(),
    batches: toyBatches,
    evaluationBatches: toyEvaluation,
    totalSteps,
    imagesPerStep: 4,
    logEvery: 1,
    evaluateEvery: 4,
    samplesEvery: 10,
    checkpointEvery: 3,
    keepLast: 2,
    pictures: fakePictures,
    communicator,
    now: () => 1_700_000_000,
    ...options,
    folder,
  });
}
