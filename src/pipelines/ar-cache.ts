/**
 * Keys and values of B rows that stay with the engine, and steps over them. Who sees whom is the caller's to say, so that
 * the places of the cache may hold sequences, padding, or the branches of a tree.
 *
 * Dim letters: B rows, P places of the cache, S new positions, W wanted ones, F width of token features, V vocabulary.
 */
import { type LongCallOptions, type NDArray, ndarray } from "../core/index.ts";
import { AR_STEP, type ArConfig } from "../models/index.ts";
import type { Feeds, Session, SessionState } from "../runtime/index.ts";

/** The compiled graphs. That of scores is compiled when it is first asked for. */
export interface ArSessions {
  readonly step: Session;
  /** The graph of scores, compiled when it is first asked for. */
  score(options: LongCallOptions): Promise<Session>;
}

/** New positions of each row, and what they see beside themselves. */
export interface NewPositions {
  /** i32 (B, S), in the transformer's vocabulary. */
  readonly ids: NDArray<"i32">;
  /** i32 (B, S), each below the context's length. */
  readonly positions: NDArray<"i32">;
  /** f32 (B, S, F), for entries that read features: anything where there is no id of a picture. Absent: there is none. */
  readonly features?: NDArray<"f32"> | undefined;
  /** Whether new position i of a row sees new position j. */
  seesNew(row: number, i: number, j: number): boolean;
  /** Whether new position i of a row sees what is in a place of the cache. */
  seesPlace(row: number, i: number, place: number): boolean;
}

/** f32 (B, 1, S, columns): 0 where something is seen, -Infinity elsewhere. */
function maskOf(
  [rows, length, columns]: readonly [number, number, number],
  isSeen: (row: number, i: number, column: number) => boolean,
): NDArray<"f32"> {
  const mask = ndarray("f32", [rows, 1, length, columns]);
  let at = 0;
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < length; i++) {
      for (let column = 0; column < columns; column++, at++) {
        if (!isSeen(row, i, column)) mask.data[at] = Number.NEGATIVE_INFINITY;
      }
    }
  }
  return mask;
}

/** The cache of some rows. */
export class ArCache {
  readonly rows: number;
  private readonly places: number;
  private readonly config: ArConfig;
  private readonly sessions: ArSessions;
  private readonly state: SessionState;
  private readonly names: Readonly<Record<"keys" | "values", readonly string[]>>;
  private used = 0;

  private constructor(
    parts: Pick<ArCache, "rows"> & {
      places: number;
      config: ArConfig;
      sessions: ArSessions;
      state: SessionState;
      names: ArCache["names"];
    },
  ) {
    this.rows = parts.rows;
    this.places = parts.places;
    this.config = parts.config;
    this.sessions = parts.sessions;
    this.state = parts.state;
    this.names = parts.names;
  }

  /** An empty cache of so many places for each row. */
  static async create(sessions: ArSessions, config: ArConfig, rows: number, places: number): Promise<ArCache> {
    const blocks = Array.from({ length: config.depth }, (_, block) => block);
    const names = { keys: blocks.map(AR_STEP.keys), values: blocks.map(AR_STEP.values) };
    const shape = [rows, config.numKvHeads, places, config.width / config.numHeads];
    const shapes = Object.fromEntries([...names.keys, ...names.values].map((name) => [name, shape]));
    const state = await sessions.step.createState(shapes);
    return new ArCache({ rows, places, config, sessions, state, names });
  }

  /** The first place that is free: where the next positions are written. */
  get end(): number {
    return this.used;
  }

  /** Keeps the last positions that were written, the first `count` of them; what is not kept is written over. */
  keep(count: number): void {
    this.used += count;
  }

  /** Logits f32 (B * W * V) after the wanted of some new positions, which are written behind `end`. */
  async logits(
    positions: NewPositions,
    wanted: readonly number[],
    options: LongCallOptions = {},
  ): Promise<Float32Array> {
    const feeds = {
      ...this.feeds(positions),
      [AR_STEP.wanted]: ndarray("i32", [wanted.length], Int32Array.from(wanted)),
    };
    return this.run(this.sessions.step, feeds, AR_STEP.logits, options);
  }

  /** The logarithm of the probability of each target i32 (B, S) after its new position, f32 (B * S). */
  async scores(positions: NewPositions, targets: NDArray<"i32">, options: LongCallOptions = {}): Promise<Float32Array> {
    const feeds = { ...this.feeds(positions), [AR_STEP.targets]: targets };
    return this.run(await this.sessions.score(options), feeds, AR_STEP.scores, options);
  }

  /** Frees it. */
  dispose(): Promise<void> {
    return this.state.dispose();
  }

  private feeds({ ids, positions, features, seesNew, seesPlace }: NewPositions): Feeds {
    const [rows, length] = ids.shape as [number, number];
    const { entry, featureWidth } = this.config;
    return {
      [AR_STEP.ids]: ids,
      [AR_STEP.positions]: positions,
      ...(entry !== "vq" && { [AR_STEP.features]: features ?? ndarray("f32", [rows, length, featureWidth]) }),
      [AR_STEP.newMask]: maskOf([rows, length, length], (row, i, j) => i === j || seesNew(row, i, j)),
      [AR_STEP.cacheMask]: maskOf(
        [rows, length, this.places],
        (row, i, place) => place < this.used && seesPlace(row, i, place),
      ),
    };
  }

  private async run(
    session: Session,
    feeds: Feeds,
    output: string,
    { signal }: LongCallOptions,
  ): Promise<Float32Array> {
    const at = this.used;
    const writes = [
      { output: AR_STEP.newKeys, arrays: this.names.keys, axis: 2, at },
      { output: AR_STEP.newValues, arrays: this.names.values, axis: 2, at },
    ];
    const outputs = await session.run(feeds, { signal, state: this.state, writes });
    return outputs[output]!.data as Float32Array;
  }
}
