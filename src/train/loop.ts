/**
 * The loop that drives a trainer: batch, step, check, log, evaluate, save; in a folder from which it can go on as if it
 * had never stopped. It holds nothing that decides a result and is not in its checkpoints.
 *
 * With several processes all take every step together; rank 0 alone writes.
 */
import { type ErrorCode, messageOf, ToklipError } from "../core/index.ts";
import type { DataPosition } from "../data/dataset.ts";
import { BatchStream } from "./batch-stream.ts";
import { type BestEvaluation, type ProcessState, readCheckpoint, stringify } from "./checkpoint.ts";
import type { Communicator } from "./communicator.ts";
import { MetricsLog } from "./metrics-log.ts";
import { Pace } from "./pace.ts";
import { anywhere, gatherTexts } from "./process-group.ts";
import type { RunFolder } from "./run-folder.ts";
import { locate, type PictureWriter } from "./run-storage.ts";
import type { StepReport, Trainer } from "./trainer.ts";

/** A batch that knows where in the data it ends. */
export interface Positioned {
  /** Right after the batch's last sample. */
  readonly position: DataPosition;
  /** The images of the step, over all processes, where batches have different numbers of them. */
  readonly images?: number;
}

/** Which evaluation is the best. */
export interface BestRule {
  /** The name of one of its values. */
  readonly metric: string;
  readonly mode: "min" | "max";
}

/** A run. Everything that is "every" so many steps happens at the last step too; 0 is never. */
export interface TrainingOptions<Batch extends Positioned> {
  readonly trainer: Trainer<Batch>;
  /** The training batches from a position on, without end. */
  readonly batches: (from: DataPosition | undefined) => AsyncIterable<Batch>;
  /** The held-out batches, from the first to the last. No evaluation where it is absent. */
  readonly evaluationBatches?: (() => AsyncIterable<Batch>) | undefined;
  readonly totalSteps: number;
  /** Images of one step, over all processes. */
  readonly imagesPerStep: number;
  readonly logEvery: number;
  readonly evaluateEvery: number;
  /** Pictures of the first evaluation batch, or else of the step's own, where the trainer makes some. */
  readonly samplesEvery: number;
  readonly checkpointEvery: number;
  /** How many of the last checkpoints are kept, besides the best. At least 1. */
  readonly keepLast: number;
  /** Default: the lowest `loss`. A checkpoint is written at each evaluation that is the best so far. */
  readonly best?: BestRule | undefined;
  /** From `openRunFolder`. */
  readonly folder: RunFolder;
  readonly pictures: PictureWriter;
  readonly communicator: Communicator;
  /** Ends the run after the step or evaluation under way, with a checkpoint. */
  readonly signal?: AbortSignal | undefined;
  /** Seconds since 1970. */
  readonly now: () => number;
  /** Is told how the run goes. */
  readonly onEvent?: ((event: TrainingEvent) => void) | undefined;
}

/** What a run tells while it goes. Steps are counted from 1. */
export type TrainingEvent =
  | { readonly type: "started"; readonly step: number; readonly totalSteps: number; readonly resumedFrom?: string }
  | {
      readonly type: "step";
      readonly step: number;
      readonly totalSteps: number;
      readonly report: StepReport;
      readonly imagesPerSecond: number;
      readonly secondsLeft?: number;
    }
  | {
      readonly type: "evaluation";
      readonly step: number;
      readonly values: Readonly<Record<string, number>>;
      readonly isBest: boolean;
    }
  | { readonly type: "checkpoint"; readonly step: number; readonly path: string }
  | { readonly type: "stopping" }
  | { readonly type: "warning"; readonly message: string };

/** How a run ended. */
export interface TrainingSummary {
  readonly steps: number;
  /** Seconds, those of earlier sessions included. */
  readonly seconds: number;
  /** The path of the last checkpoint. */
  readonly checkpoint: string;
  readonly best: BestEvaluation | null;
}

const LOWEST_LOSS: BestRule = { metric: "loss", mode: "min" };

/**
 * Trains until `totalSteps` steps are done, from the folder's checkpoint on if it has one. The trainer stays the
 * caller's, to be disposed.
 * @throws TRAINING_DIVERGED naming the step, the value that is no number and the last checkpoint; nothing of that step is
 *   saved. ABORTED after an interruption, DATA_EMPTY when the batches end, and whatever else they throw, each after a
 *   checkpoint that the message names. RESUME_MISMATCH; FILE_WRITE_FAILED, the checkpoints before it are whole then.
 *   PEER_LOST; whatever the trainer throws.
 */
export async function runTraining<Batch extends Positioned>(options: TrainingOptions<Batch>): Promise<TrainingSummary> {
  checkNumbers(options);
  const loop = new TrainingLoop(options);
  const onAbort = (): void => options.onEvent?.({ type: "stopping" });
  options.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    await loop.train(await loop.begin());
    return await loop.end();
  } finally {
    options.signal?.removeEventListener("abort", onAbort);
    await loop.close();
  }
}

/** The least that each number may be. */
const LEAST = {
  totalSteps: 1,
  imagesPerStep: 1,
  keepLast: 1,
  logEvery: 0,
  evaluateEvery: 0,
  samplesEvery: 0,
  checkpointEvery: 0,
};

function checkNumbers(options: Readonly<Record<keyof typeof LEAST, number>>): void {
  for (const [name, bound] of Object.entries(LEAST)) {
    const value = options[name as keyof typeof LEAST];
    if (Number.isSafeInteger(value) && value >= bound) continue;
    throw new ToklipError("ARGUMENT_INVALID", `${name}: expected a whole number from ${bound}, got ${value}`);
  }
}

class TrainingLoop<Batch extends Positioned> {
  private readonly options: TrainingOptions<Batch>;
  private readonly pace: Pace;
  /** Rank 0 only. */
  private log: MetricsLog | undefined;
  /** Steps done. */
  private step = 0;
  private position: DataPosition | undefined;
  private best: BestEvaluation | null = null;
  private secondsBefore = 0;
  /** The last whole checkpoint. */
  private saved: { readonly step: number; readonly path: string } | undefined;

  constructor(options: TrainingOptions<Batch>) {
    this.options = options;
    this.pace = new Pace(options.now, options.imagesPerStep);
  }

  /** Goes to where the run stands. @returns the batches from there on */
  async begin(): Promise<AsyncIterable<Batch>> {
    const { folder, batches, communicator, pictures, now, totalSteps, keepLast } = this.options;
    for (const { path, reason } of folder.skipped) this.warn(`${path} was skipped: ${reason}`);
    if (folder.resumeFrom !== undefined) await this.restore(folder.resumeFrom.folder);
    const source = batches(this.position); // asked for before anything is written: it may refuse
    await folder.begin?.();
    if (communicator.rank === 0) {
      this.log = await MetricsLog.open({ storage: folder.storage, pictures, step: this.step, now });
    }
    await communicator.barrier(); // the others have read the checkpoint before it can be removed
    await folder.checkpoints?.prune(keepLast, this.best); // a killed run may not have come to it
    const resumedFrom = this.saved && { resumedFrom: this.saved.path };
    this.options.onEvent?.({ type: "started", step: this.step, totalSteps, ...resumedFrom });
    return source;
  }

  private async restore(folder: string): Promise<void> {
    const { trainer, communicator, totalSteps } = this.options;
    const { storage, configHash } = this.options.folder;
    const path = locate(storage, folder);
    const { run, files } = await readCheckpoint(storage, folder);
    const mine = run.processes[communicator.rank];
    const mismatch = (message: string): ToklipError => new ToklipError("RESUME_MISMATCH", `${path}: ${message}`);
    if (run.configHash !== configHash) throw mismatch("was written with another configuration");
    if (mine === undefined || run.processes.length !== communicator.size) {
      throw mismatch(`was written by ${run.processes.length} processes, now there are ${communicator.size}`);
    }
    if (run.step > totalSteps) throw mismatch(`${run.step} steps are done, more than the ${totalSteps} asked for`);
    await trainer.restore({ files, json: mine.trainer });
    this.step = run.step;
    this.position = mine.position;
    this.best = run.best;
    this.secondsBefore = run.seconds;
    this.saved = { step: run.step, path };
  }

  /** Takes all steps. */
  async train(batches: AsyncIterable<Batch>): Promise<void> {
    const { signal, totalSteps, communicator } = this.options;
    if (this.step >= totalSteps) return;
    const stream = new BatchStream(batches, signal);
    try {
      while (this.step < totalSteps) {
        this.pace.ask();
        const next = await stream.next();
        this.pace.got();
        const reason = "reason" in next ? next.reason : undefined;
        if (await anywhere(communicator, reason !== undefined)) throw await this.naming(this.stopped(reason));
        if ("batch" in next) await this.naming(this.take(next.batch));
      }
    } finally {
      await stream.close();
    }
  }

  /** One step and all that is due after it. */
  private async take(batch: Batch): Promise<void> {
    const { trainer, communicator, totalSteps: total, checkpointEvery } = this.options;
    communicator.mark({ step: this.step, ...(this.saved && { checkpoint: this.saved.path }) });
    const report = await trainer.step(batch, { step: this.step, total });
    await this.checkFinite(`step ${this.step + 1}`, [
      ...Object.entries(report.parts), // before their sum: what went wrong is one of them
      ["loss", report.loss],
      ["the gradient norm", report.gradientNorm],
    ]);
    this.step++;
    this.position = batch.position;
    this.pace.stepped(batch.images);
    await this.record(report);
    const isBest = await this.evaluate();
    await this.drawSamples(batch);
    if (isBest || this.isDue(checkpointEvery) || this.step === total) await this.save();
  }

  private isDue(every: number): boolean {
    return every > 0 && (this.step % every === 0 || this.step === this.options.totalSteps);
  }

  private async checkFinite(when: string, values: readonly (readonly [name: string, value: number])[]): Promise<void> {
    const bad = values.find(([, value]) => !Number.isFinite(value));
    if (!(await anywhere(this.options.communicator, bad !== undefined))) return;
    const what = bad === undefined ? "a value of another process is no number" : `${bad[0]} is ${bad[1]}`;
    throw new ToklipError("TRAINING_DIVERGED", `training: ${when}: ${what}`);
  }

  private async record(report: StepReport): Promise<void> {
    const { totalSteps, logEvery, onEvent } = this.options;
    const secondsLeft = this.pace.left(totalSteps - this.step);
    const { imagesPerSecond } = this.pace;
    const left = secondsLeft === undefined ? {} : { secondsLeft };
    onEvent?.({ type: "step", step: this.step, totalSteps, report, imagesPerSecond, ...left });
    if (!this.isDue(logEvery)) return;
    await this.log?.step({ ...report, step: this.step, time: this.seconds, ...this.pace.since() });
  }

  /** @returns whether it was the best evaluation so far */
  private async evaluate(): Promise<boolean> {
    const { trainer, evaluationBatches, evaluateEvery, communicator, onEvent } = this.options;
    if (evaluationBatches === undefined || !this.isDue(evaluateEvery)) return false;
    const values = await trainer.evaluate(evaluationBatches());
    // Other values may be infinite by right: the PSNR of equal pictures.
    if (values.loss !== undefined) {
      await this.checkFinite(`evaluation after step ${this.step}`, [["the evaluation's loss", values.loss]]);
    }
    await this.log?.evaluation({ step: this.step, time: this.seconds, evaluation: values });
    await this.drawCurve();
    const isBest = (await communicator.broadcast(String(this.judge(values)))) === "true";
    onEvent?.({ type: "evaluation", step: this.step, values, isBest });
    return isBest;
  }

  /** Whether an evaluation is the best so far; keeps it if so. */
  private judge(values: Readonly<Record<string, number>>): boolean {
    const { metric, mode } = this.options.best ?? LOWEST_LOSS;
    const value = Object.hasOwn(values, metric) ? values[metric]! : Number.NaN;
    if (!Number.isFinite(value)) {
      this.warn(`the evaluation has no number called ${metric} to choose the best checkpoint by`);
      return false;
    }
    if (this.best !== null && (mode === "min" ? value >= this.best.value : value <= this.best.value)) return false;
    this.best = { step: this.step, value };
    return true;
  }

  private async drawSamples(batch: Batch): Promise<void> {
    const { trainer, samplesEvery, evaluationBatches } = this.options;
    if (this.log === undefined || trainer.samples === undefined || !this.isDue(samplesEvery)) return;
    const shown = evaluationBatches === undefined ? batch : ((await firstOf(evaluationBatches())) ?? batch);
    await this.log.samples(this.step, await trainer.samples(shown));
  }

  /** Writes a checkpoint of the present step. */
  private async save(): Promise<void> {
    const { trainer, communicator, folder, keepLast, onEvent } = this.options;
    const { files, json } = await trainer.state();
    const mine = { position: this.position!, trainer: json } satisfies ProcessState;
    const states = await gatherTexts(communicator, stringify(mine, "the state of the trainer"));
    if (folder.checkpoints !== undefined) {
      await folder.storage.confirm();
      await this.log?.sync();
      const processes = states.map((state) => JSON.parse(state) as ProcessState);
      const run = { step: this.step, seconds: this.seconds, best: this.best, configHash: folder.configHash, processes };
      const path = await folder.checkpoints.save({ run, files }, keepLast);
      onEvent?.({ type: "checkpoint", step: this.step, path });
      this.saved = { step: this.step, path };
    }
    const path = await communicator.broadcast(this.saved?.path ?? "");
    this.saved = { step: this.step, path };
  }

  /** Adds to a failure where the run can go on from. */
  private async naming<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (thrown) {
      if (!(thrown instanceof ToklipError)) throw thrown;
      const path = this.saved?.path;
      if (path !== undefined && thrown.reason.includes(path)) throw thrown; // a communicator names it too
      throw new ToklipError(thrown.code, `${thrown.reason}; ${this.lastGood(thrown.code)}`, { cause: thrown });
    }
  }

  /** The last good checkpoint. Weights that diverge in their first step were no good when they were saved. */
  private lastGood(code: ErrorCode): string {
    const { saved, step } = this;
    const { checkpoints } = this.options.folder;
    if (saved === undefined) return "there is no checkpoint yet";
    const isSuspect = code === "TRAINING_DIVERGED" && saved.step === step && checkpoints !== undefined;
    if (!isSuspect) return `the last good checkpoint is ${saved.path}`;
    const before = checkpoints.before(step);
    const good = before === undefined ? "there is none before it" : `the last good checkpoint is ${before}`;
    return `${saved.path} holds the weights that failed, ${good}`;
  }

  /** Saves a run that has to stop between two steps. Gives the error to end with. */
  private async stopped(reason: ToklipError | undefined): Promise<ToklipError> {
    const { code, reason: why } = reason ?? new ToklipError("PEER_LOST", "training: another process stopped");
    if (this.step > (this.saved?.step ?? 0)) await this.save();
    const done = `after step ${this.step} of ${this.options.totalSteps}`;
    const where = this.saved ? `saved in ${this.saved.path}, --resume continues` : "there was nothing to save";
    return new ToklipError(code, `${why} ${done}; ${where}`, { cause: reason });
  }

  /** Draws the curves and tells how it went. */
  async end(): Promise<TrainingSummary> {
    await this.drawCurve();
    await this.log?.sync();
    await this.options.communicator.barrier();
    return { steps: this.step, seconds: this.seconds, checkpoint: this.saved!.path, best: this.best };
  }

  async close(): Promise<void> {
    await this.log?.close();
  }

  private async drawCurve(): Promise<void> {
    await this.log?.curve((problem) => this.warn(`loss-curve.png was not made: ${messageOf(problem)}`));
  }

  private get seconds(): number {
    return this.secondsBefore + this.pace.elapsed;
  }

  private warn(message: string): void {
    this.options.onEvent?.({ type: "warning", message });
  }
}

async function firstOf<T>(items: AsyncIterable<T>): Promise<T | undefined> {
  for await (const item of items) return item;
  return undefined;
}
