/**
 * Which codes of a codebook are in use, and new places for those that are not: a code that no vector has chosen for a long
 * time gets no gradient either, and stays dead until it is put where vectors are (Jukebox, arXiv 2005.00341, section 3).
 */
import { type NDArray, ndarray, Random, ToklipError } from "../core/index.ts";
import type { TensorMap } from "./trainer.ts";

/** When a code counts as dead, and what happens then. */
export interface CodebookWatchOptions {
  readonly codebookSize: number;
  /** A code unused for this many steps is dead. */
  readonly patience: number;
  /** Dead codes are moved every so many steps; 0 is never. */
  readonly reviveEvery: number;
  readonly seed: number;
}

/** Remembers when each code was last used. */
export class CodebookWatch {
  private readonly options: CodebookWatchOptions;
  private readonly lastUsed: Int32Array<ArrayBuffer>;

  constructor(options: CodebookWatchOptions) {
    this.options = options;
    this.lastUsed = new Int32Array(options.codebookSize);
  }

  /** Notes the ids of a step, counted from 0. Gives the share of codes in use, and the perplexity of this step's ids. */
  note(ids: Int32Array, step: number): { readonly codebook_usage: number; readonly perplexity: number } {
    const counts = new Map<number, number>();
    for (const id of ids) {
      this.lastUsed[id] = step + 1;
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    let entropy = 0;
    for (const count of counts.values()) entropy -= (count / ids.length) * Math.log(count / ids.length);
    const used = this.options.codebookSize - this.dead(step).length;
    return { codebook_usage: used / this.options.codebookSize, perplexity: Math.exp(entropy) };
  }

  /** The codes to move after a step, if it is one for that. */
  toRevive(step: number): readonly number[] {
    const { reviveEvery } = this.options;
    return reviveEvery > 0 && (step + 1) % reviveEvery === 0 ? this.dead(step) : [];
  }

  /**
   * Moves codes to vectors of the present step, chosen at random by seed and step.
   * @param vectors (M, D), the same in every process
   */
  revive(codes: readonly number[], codebook: NDArray<"f32">, vectors: NDArray<"f32">, step: number): void {
    const [count, width] = vectors.shape as [number, number];
    const random = new Random((this.options.seed ^ Math.imul(step + 1, 0x9e3779b1)) >>> 0);
    for (const code of codes) {
      const from = random.integer(count) * width;
      codebook.data.set(vectors.data.subarray(from, from + width), code * width);
      this.lastUsed[code] = step + 1;
    }
  }

  /** i32 (codebookSize): the step, from 1, that each code was last used or moved at; 0 for never. */
  state(): TensorMap {
    return new Map([["last_used", ndarray("i32", [this.lastUsed.length], this.lastUsed)]]);
  }

  /** @throws CHECKPOINT_MISMATCH */
  restore(tensors: TensorMap): void {
    const found = tensors.get("last_used");
    if (found?.dtype !== "i32" || found.data.length !== this.lastUsed.length) {
      throw new ToklipError("CHECKPOINT_MISMATCH", `codebook: expected last_used i32 [${this.lastUsed.length}]`);
    }
    this.lastUsed.set(found.data as Int32Array);
  }

  private dead(step: number): number[] {
    const dead: number[] = [];
    this.lastUsed.forEach((last, code) => {
      if (step + 1 - last >= this.options.patience) dead.push(code);
    });
    return dead;
  }
}
