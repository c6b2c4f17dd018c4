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

/** Outputs that are not returned but replace arrays of the state that the run was given: the next run is fed them. */
export interface Carry {
  /** The arrays' names by output. Each array feeds the input of its name. */
  readonly arrays: Readonly<Record<string, string>>;
  /** An output of one f32 element: where it is no finite number, the state stays as it was. */
  readonly onlyIfFinite?: string;
}

/** A graph and where its weights are. */
export interface Program {
  readonly name: string;
  readonly graph: Graph;
  /** The weight of a parameter. */
  weight(name: string): Promise<Weight>;
  /** What each run keeps in its state, which it then needs. On devices with a memory of their own it stays there. */
  readonly carry?: Carry;
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

/** An array of a state at its start: its elements, or the shape of so many zeros. */
export type StateArray = NDArray<"f32"> | readonly number[];

/**
 * Arrays that stay with the backend between runs and are fed to each: a cache or trained parameters, which are not sent
 * back and forth. Any session of the backend may be given it.
 */
export interface SessionState {
  /** Copies of some arrays. @throws ARGUMENT_INVALID for a name that it does not have */
  read(names: readonly string[]): Promise<Record<string, NDArray<"f32">>>;
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
  /** Inputs that are fed an array of the state of another name. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Outputs that are kept in the state instead of being returned. */
  readonly writes?: readonly StateWrite[];
}

/** A compiled graph with its weights loaded. */
export interface Session {
  /**
   * Runs the graph once. Arrays in `lent` are replaced there by the same elements in new arrays when the run has ended,
   * well or not.
   * @throws ABORTED at once when the signal fires (a run under way ends by itself), DISPOSED, RUNTIME_FAILED,
   * OUT_OF_MEMORY; ARGUMENT_INVALID without the state that the program carries over
   */
  run(feeds: Feeds, options?: RunOptions): Promise<Fetches>;
  /** f32 arrays by the names of the inputs they feed. */
  createState(arrays: Readonly<Record<string, StateArray>>): Promise<SessionState>;
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
