/**
 * Sequences of the unified transformer under way: prompts enter in one step, then ids one by one. Shorter prompts are padded
 * at their beginning, so that the next id of every row has the same place in the cache; padding is never seen.
 *
 * Dim letters: B rows, S positions of the longest prompt, F width of token features, V vocabulary.
 */
import { type LongCallOptions, type NDArray, ndarray, ToklipError } from "../core/index.ts";
import { AR_CONTROL, type ArConfig } from "../models/index.ts";
import { ArCache, type ArSessions } from "./ar-cache.ts";
import type { PromptIds } from "./ar-prompt.ts";

/** What a stream is begun with. */
export interface ArStreamStart {
  readonly prompts: readonly PromptIds[];
  /** Token features of the pictures in the prompts, f32 (pictures, N, F) in their order; absent where none are read. */
  readonly features?: NDArray<"f32"> | undefined;
  /** Positions that may follow, and the places of the cache that they are to have; by default as many. */
  readonly room: number;
  readonly places?: number;
}

/** The features of the prompts' pictures where their ids are, f32 (B, S, F). */
function placed({ prompts, features }: ArStreamStart, length: number): NDArray<"f32"> | undefined {
  if (features === undefined) return undefined;
  const [, tokens, width] = features.shape as [number, number, number];
  const out = ndarray("f32", [prompts.length, length, width]);
  const size = tokens * width;
  let picture = 0;
  prompts.forEach(({ ids, pictures }, row) => {
    for (const { start } of pictures) {
      const to = (row * length + length - ids.length + start) * width;
      out.data.set(features.data.subarray(picture * size, ++picture * size), to);
    }
  });
  return out;
}

/** Rows that grow behind their prompts. */
export class ArStream {
  /** Logits f32 (B * V) of what follows the prompts. */
  readonly first: Float32Array;
  readonly cache: ArCache;
  /** The padding before each prompt: places of the cache that its row never sees. */
  readonly padding: readonly number[];

  private constructor(cache: ArCache, padding: readonly number[], first: Float32Array) {
    this.cache = cache;
    this.padding = padding;
    this.first = first;
  }

  /** @throws ARGUMENT_INVALID where prompts and what follows pass the context */
  static async start(
    sessions: ArSessions,
    config: ArConfig,
    start: ArStreamStart,
    options: LongCallOptions = {},
  ): Promise<ArStream> {
    const { prompts, room, places = room } = start;
    const length = Math.max(...prompts.map(({ ids }) => ids.length));
    if (length + room > config.contextLength) {
      const what = `${length} ids and ${room} that are to follow`;
      throw new ToklipError("ARGUMENT_INVALID", `prompt: ${what} pass the context of ${config.contextLength}`);
    }
    const padding = prompts.map(({ ids }) => length - ids.length);
    const ids = ndarray("i32", [prompts.length, length]);
    const positions = ndarray("i32", ids.shape);
    ids.data.fill(AR_CONTROL.pad);
    prompts.forEach((prompt, row) => {
      const begin = row * length + padding[row]!;
      ids.data.set(prompt.ids, begin);
      for (let i = 0; i < prompt.ids.length; i++) positions.data[begin + i] = i;
    });
    const cache = await ArCache.create(sessions, config, prompts.length, length + places);
    try {
      const entering = {
        ids,
        positions,
        features: placed(start, length),
        seesNew: (row: number, i: number, j: number) => j < i && j >= padding[row]!,
        seesPlace: () => false,
      };
      const first = await cache.logits(entering, [length - 1], options);
      cache.keep(length);
      return new ArStream(cache, padding, first);
    } catch (thrown) {
      await cache.dispose();
      throw thrown;
    }
  }

  /** The position that the next id of a row has. */
  position(row: number): number {
    return this.cache.end - this.padding[row]!;
  }

  /**
   * Logits f32 (B * V) after one id more of each row.
   * @param ids in the transformer's vocabulary
   * @param features f32 (B, 1, F), where the ids are of pictures
   */
  async next(
    ids: Int32Array<ArrayBuffer>,
    features?: NDArray<"f32">,
    options: LongCallOptions = {},
  ): Promise<Float32Array> {
    const { rows } = this.cache;
    const positions = Int32Array.from({ length: rows }, (_, row) => this.position(row));
    const entering = {
      ids: ndarray("i32", [rows, 1], ids),
      positions: ndarray("i32", [rows, 1], positions),
      features,
      seesNew: () => false,
      seesPlace: (row: number, _: number, place: number) => place >= this.padding[row]!,
    };
    const logits = await this.cache.logits(entering, [0], options);
    this.cache.keep(1);
    return logits;
  }

  /** Frees the cache. */
  dispose(): Promise<void> {
    return this.cache.dispose();
  }
}
