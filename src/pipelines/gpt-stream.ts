/**
 * Sequences of a GPT under way: the embedded condition enters in one step, then ids one by one, over keys and values that
 * stay with the engine.
 *
 * Dim letters: B rows (twice the pictures where they are guided), T condition positions, P positions, D width,
 * V vocabulary.
 */
import { type NDArray, ndarray, ToklipError } from "../core/index.ts";
import { GPT_STEP, type GptConfig, gptLength } from "../models/index.ts";
import type { Session, SessionState } from "../runtime/index.ts";
import type { IdStream } from "./generate.ts";

/** The inputs that are caches, by what they hold. */
function cacheNames({ depth }: GptConfig) {
  const blocks = Array.from({ length: depth }, (_, block) => block);
  return { keys: blocks.map(GPT_STEP.keys), values: blocks.map(GPT_STEP.values) };
}

/** What the positions of the condition see of each other: those before that are no padding, and themselves. (B, 1, T, T) */
function conditionMask(rows: number, tokens: number, valid: NDArray<"f32"> | undefined): NDArray<"f32"> {
  const mask = ndarray("f32", [rows, 1, tokens, tokens]);
  let at = 0;
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < tokens; i++) {
      for (let j = 0; j < tokens; j++, at++) {
        const isSeen = j === i || (j < i && valid?.data[row * tokens + j] !== 0);
        if (!isSeen) mask.data[at] = Number.NEGATIVE_INFINITY;
      }
    }
  }
  return mask;
}

/** Which positions of the cache are seen, f32 (B, 1, 1, P) to add to scores: none yet. */
class CacheMask {
  readonly array: NDArray<"f32">;
  private readonly valid: NDArray<"f32"> | undefined;

  constructor(rows: number, length: number, valid: NDArray<"f32"> | undefined) {
    this.array = ndarray("f32", [rows, 1, 1, length]);
    this.array.data.fill(Number.NEGATIVE_INFINITY);
    this.valid = valid;
  }

  /** Shows some positions, all but padding. */
  show(from: number, count: number): void {
    const { shape, data } = this.array;
    const [rows, , , length] = shape as [number, number, number, number];
    const tokens = this.valid?.shape[1] ?? 0;
    for (let row = 0; row < rows; row++) {
      for (let i = from; i < from + count; i++) {
        const isPadding = i < tokens && this.valid?.data[row * tokens + i] === 0;
        if (!isPadding) data[row * length + i] = 0;
      }
    }
  }
}

/**
 * Starts sequences at position 0.
 * @param session runs the graph `gpt_step`
 * @param embedded the condition, f32 (B, T, D)
 * @param valid f32 (B, T), 0 where the condition has padding; absent: there is none
 */
export async function startGptStream(
  session: Session,
  config: GptConfig,
  embedded: NDArray<"f32">,
  valid: NDArray<"f32"> | undefined,
): Promise<IdStream> {
  const [rows, tokens, width] = embedded.shape as [number, number, number];
  const caches = cacheNames(config);
  const shape = [rows, config.numKvHeads, gptLength(config), width / config.numHeads];
  const shapes = Object.fromEntries([...caches.keys, ...caches.values].map((name) => [name, shape]));
  const state: SessionState = await session.createState(shapes);
  const mask = new CacheMask(rows, gptLength(config), valid);
  const noRows = ndarray("f32", [rows, 1, width]);
  const allSeen = ndarray("f32", [rows, 1, 1, 1]);
  let position = 0;
  return {
    async next(ids, { signal } = {}) {
      if ((ids === undefined) !== (position === 0) || (ids && ids.length !== rows)) {
        throw new ToklipError("ARGUMENT_INVALID", `next: expected ${position ? `${rows} ids` : "the condition alone"}`);
      }
      const [at, length] = [position, ids ? 1 : tokens];
      const feeds = {
        [GPT_STEP.ids]: ndarray("i32", [rows, length], ids ?? new Int32Array(rows * length).fill(-1)),
        [GPT_STEP.embedded]: ids ? noRows : embedded,
        [GPT_STEP.positions]: ndarray(
          "i32",
          [length],
          Int32Array.from({ length }, (_, i) => at + i),
        ),
        [GPT_STEP.cacheMask]: mask.array,
        [GPT_STEP.newMask]: ids ? allSeen : conditionMask(rows, tokens, valid),
      };
      const writes = [
        { output: GPT_STEP.newKeys, arrays: caches.keys, axis: 2, at },
        { output: GPT_STEP.newValues, arrays: caches.values, axis: 2, at },
      ];
      const outputs = await session.run(feeds, { signal, state, writes });
      mask.show(at, length);
      position += length;
      return outputs[GPT_STEP.logits]!.data as Float32Array;
    },
    dispose: () => state.dispose(),
  };
}
