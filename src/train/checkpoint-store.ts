/**
 * The checkpoints of a run: which there are, which of them is whole, and which are kept: the last few and the best.
 */
import { messageOf, ToklipError } from "../core/index.ts";
import {
  type BestEvaluation,
  CHECKPOINTS,
  type CheckpointContent,
  type CheckpointManifest,
  checkpointFolder,
  checkSizes,
  checkSums,
  removeCheckpoint,
  stepOfFolder,
  writeCheckpoint,
} from "./checkpoint.ts";
import { locate, type RunStorage } from "./run-storage.ts";

/** A folder that is no usable checkpoint, and why. */
export interface SkippedCheckpoint {
  readonly path: string;
  readonly reason: string;
}

/** A whole checkpoint. */
export interface CheckpointPlace {
  readonly step: number;
  /** Relative to the run's folder. */
  readonly folder: string;
}

interface Found extends CheckpointPlace {
  readonly manifest: CheckpointManifest;
}

/** The checkpoints in a run's folder. */
export class CheckpointStore {
  /** What was found and could not be used, newest first. */
  readonly skipped: SkippedCheckpoint[] = [];
  private readonly storage: RunStorage;
  /** Whole ones by step. */
  private readonly steps = new Set<number>();
  private found: Found[] = [];
  private unfinished: string[] = [];
  private damaged: SkippedCheckpoint | undefined;

  private constructor(storage: RunStorage) {
    this.storage = storage;
  }

  /** Looks at every checkpoint's manifest and sizes. Changes nothing. @throws FILE_READ_FAILED */
  static async open(storage: RunStorage): Promise<CheckpointStore> {
    const store = new CheckpointStore(storage);
    const steps = (await storage.list(CHECKPOINTS)).map(stepOfFolder).filter((step) => step !== undefined);
    for (const step of steps.sort((a, b) => b - a)) await store.look(step);
    return store;
  }

  private async look(step: number): Promise<void> {
    const folder = checkpointFolder(step);
    try {
      const manifest = await checkSizes(this.storage, folder);
      if (manifest === undefined) {
        this.unfinished.push(folder);
        this.skipped.push({ path: locate(this.storage, folder), reason: "was not finished" });
      } else {
        this.found.push({ step, folder, manifest });
        this.steps.add(step);
      }
    } catch (thrown) {
      this.skipDamaged(folder, thrown);
    }
  }

  private skipDamaged(folder: string, thrown: unknown): void {
    const damaged = { path: locate(this.storage, folder), reason: messageOf(thrown) };
    this.damaged ??= damaged;
    this.skipped.push(damaged);
  }

  /**
   * The last checkpoint whose bytes are all as they were written. Damaged ones before it are reported in `skipped`.
   * @returns undefined where the run has not come to its first checkpoint
   * @throws FILE_CORRUPT where there are checkpoints and none can be used
   */
  async latest(): Promise<CheckpointPlace | undefined> {
    for (const { step, folder, manifest } of this.found) {
      try {
        await checkSums(this.storage, folder, manifest);
        return { step, folder };
      } catch (thrown) {
        this.steps.delete(step);
        this.skipDamaged(folder, thrown);
      }
    }
    if (this.damaged === undefined) return undefined;
    const { path, reason } = this.damaged;
    throw new ToklipError("FILE_CORRUPT", `${path}: the run has no checkpoint that can be used: ${reason}`);
  }

  /** Removes what killed runs left half written. @throws FILE_WRITE_FAILED */
  async clean(): Promise<void> {
    for (const folder of this.unfinished) await removeCheckpoint(this.storage, folder);
    this.unfinished = [];
  }

  /**
   * Writes a checkpoint, then removes those that need not be kept.
   * @returns its path, for messages
   * @throws FILE_WRITE_FAILED; the checkpoints before it are untouched then
   */
  async save(content: CheckpointContent, keepLast: number): Promise<string> {
    const { step, best } = content.run;
    this.steps.delete(step);
    const folder = await writeCheckpoint(this.storage, content);
    this.steps.add(step);
    await this.prune(keepLast, best);
    return locate(this.storage, folder);
  }

  /** The path of the last whole checkpoint before a step's, for messages. */
  before(step: number): string | undefined {
    const earlier = [...this.steps].filter((held) => held < step);
    return earlier.length === 0 ? undefined : locate(this.storage, checkpointFolder(Math.max(...earlier)));
  }

  /** Removes all whole checkpoints but the last `keepLast` and the best. @throws FILE_WRITE_FAILED */
  async prune(keepLast: number, best: BestEvaluation | null): Promise<void> {
    const kept = new Set([...this.steps].sort((a, b) => b - a).slice(0, keepLast));
    if (best !== null) kept.add(best.step);
    for (const old of [...this.steps].filter((held) => !kept.has(held))) {
      this.steps.delete(old);
      await removeCheckpoint(this.storage, checkpointFolder(old));
    }
  }
}
