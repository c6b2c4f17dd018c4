/** What a backend does: holds the weights of one graph and runs it. Interfaces only; the platforms bring one each. */
import type { DType, LongCallOptions, NDArray } from "../core/index.ts";
import type { Graph } from "../graph/index.ts";

/** Arrays for the inputs of a graph, by name. */
export type Feeds = Readonly<Record<string, NDArray>>;
/** The outputs of a run, by name. */
export type Fetches = Record<string, NDArray>;

/** A weight as a backend takes it: fed with each run, in memory, or in a file that the backend can read itself. */
export type Weight =
  | { readonly kind: "fed" }
  | { readonly kind: "array"; readonly value: NDArray }
  | {
      readonly kind: "file";
      readonly dtype: DType;
      readonly path: string;
      readonly offset: number;
      readonly length: number;
    };

/** A graph and where its weights are. */
export interface Program {
  readonly name: string;
  readonly graph: Graph;
  /** The weight of a parameter. */
  weight(name: string): Promise<Weight>;
}

/**
 * After a run, slice i of the leading axis of an output is written into the state's array `arrays[i]`, from `at`
 * onwards along `axis` (an axis of that array).
 */
export interface StateWrite {
  readonly output: string;
  readonly arrays: readonly string[];
  readonly axis: number;
  readonly at: number;
}

/** Arrays that stay with the backend between runs and are fed to each: a cache that is not sent back and forth. */
export interface SessionState {
  /** Frees the arrays. */
  dispose(): Promise<void>;
}

/** How one run goes. */
export interface RunOptions extends LongCallOptions {
  /**
   * Arrays that are fed without being copied, by input: their elements move to the backend for the time of the run, in
   * which they are empty, and come back into new arrays of this record. Each has a buffer of its own.
   */
  readonly lent?: Record<string, NDArray>;
  readonly state?: SessionState;
  /** Outputs that are kept in the state instead of being returned. */
  readonly writes?: readonly StateWrite[];
}

/** A compiled graph with its weights loaded. */
export interface Session {
  /**
   * Runs the graph once. Arrays in `lent` are replaced there by the same elements in new arrays when the run has ended,
   * well or not.
   * @throws ABORTED at once when the signal fires (a run under way ends by itself), DISPOSED, RUNTIME_FAILED,
   * OUT_OF_MEMORY
   */
  run(feeds: Feeds, options?: RunOptions): Promise<Fetches>;
  /** Zeroed f32 arrays of the given shapes, by the names of the inputs they feed. */
  createState(shapes: Readonly<Record<string, readonly number[]>>): Promise<SessionState>;
  /** Frees the graph and its weights. */
  dispose(): Promise<void>;
}

/** Makes sessions. */
export interface Backend {
  /** Loads a program's weights and makes it ready to run. */
  compile(program: Program, options?: LongCallOptions): Promise<Session>;
  /** Frees every session. */
  dispose(): Promise<void>;
}
