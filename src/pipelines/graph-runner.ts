/**
 * The graphs of a loaded model on a backend: each is compiled when it is first run, so that asking for ids never reads the
 * rest of a checkpoint.
 */
import { concatRows, type LongCallOptions, rows, ToklipError, throwIfAborted } from "../core/index.ts";
import { type Checkpoint, readTensor } from "../files/checkpoint.ts";
import { type GraphName, gridOf, type ToklipConfig, traceGraph } from "../models/index.ts";
import {
  accelerateConvolutions,
  type Backend,
  checkpointWeights,
  type Feeds,
  type Fetches,
  type Program,
  quantizeProgram,
  type Session,
} from "../runtime/index.ts";
import type { LoadOptions, Precision } from "./model.ts";

/** Tokens in one run on a CPU: image tokens, or text tokens. */
const TOKENS_OF_RUN = 256;

/** The form of the linear layers at each precision. */
export const LINEAR_SCHEMES = { fp32: undefined, int8: "block", "int8-fast": "row" } as const satisfies Record<
  Precision,
  "block" | "row" | undefined
>;

/** @throws ARGUMENT_INVALID for a precision that there is not. */
export function checkPrecision(precision: Precision = "fp32"): void {
  if (!Object.hasOwn(LINEAR_SCHEMES, precision)) {
    const known = Object.keys(LINEAR_SCHEMES).join(", ");
    throw new ToklipError("ARGUMENT_INVALID", `precision "${precision}": expected ${known}`);
  }
}

/** What a runner is made of. */
export interface RunnerParts {
  readonly backend: Backend;
  readonly checkpoint: Checkpoint;
  readonly config: ToklipConfig;
  /** What the checkpoint can be run for. */
  readonly graphs: readonly GraphName[];
  readonly options: Pick<LoadOptions, "device" | "precision" | "onProgress">;
}

/** Compiles graphs when they are first run, and runs them. */
export class GraphRunner {
  private readonly parts: RunnerParts;
  private readonly sessions = new Map<GraphName, Promise<Session>>();
  private disposed = false;

  constructor(parts: RunnerParts) {
    this.parts = parts;
  }

  /** Runs a graph over all rows, a few at a time: `rowsOfRun` says how many. */
  async run(graph: GraphName, feeds: Feeds, options: LongCallOptions): Promise<Fetches> {
    const session = await this.session(graph, options);
    const count = Object.values(feeds)[0]!.shape[0]!;
    const size = this.rowsOfRun(graph);
    const parts: Fetches[] = [];
    for (let begin = 0; begin < count; begin += size) {
      throwIfAborted(options.signal, graph);
      const end = Math.min(begin + size, count);
      const part = Object.entries(feeds).map(([name, array]) => [name, rows(array, begin, end)]);
      parts.push(await session.run(Object.fromEntries(part), { signal: options.signal }));
      options.onProgress?.({
        stage: graph,
        done: end,
        total: count,
        unit: graph === "text_encoder" ? "texts" : "images",
      });
    }
    if (parts.length === 1) return parts[0]!;
    const names = Object.keys(parts[0] ?? {});
    return Object.fromEntries(names.map((name) => [name, concatRows(parts.map((part) => part[name]!))]));
  }

  /**
   * On a CPU more tokens at once are no faster, but leave its caches and take memory: measured, a batch of four pictures
   * of 256 tokens runs 10 to 25 % slower a picture than one.
   */
  private rowsOfRun(graph: GraphName): number {
    const { device = "cpu" } = this.parts.options;
    const tokens =
      graph === "text_encoder" ? this.parts.config.text.contextLength : gridOf(this.parts.config.trunk).tokens;
    return device === "cpu" ? Math.max(1, Math.floor(TOKENS_OF_RUN / tokens)) : Number.POSITIVE_INFINITY;
  }

  /**
   * The compiled graph.
   * @throws DISPOSED; ARGUMENT_INVALID when the checkpoint was opened without what the graph reads
   */
  session(graph: GraphName, { onProgress = this.parts.options.onProgress }: LongCallOptions): Promise<Session> {
    if (this.disposed) return Promise.reject(new ToklipError("DISPOSED", "this model has been disposed of"));
    // The incremental encoder reads what the whole one reads.
    const needed = graph === "token_encoder_step" ? "token_encoder" : graph;
    if (!this.parts.graphs.includes(needed)) {
      const why = `${this.parts.checkpoint.name} was opened without what ${needed.replace("_", " ")} needs`;
      return Promise.reject(new ToklipError("ARGUMENT_INVALID", why));
    }
    let session = this.sessions.get(graph);
    if (session === undefined) {
      session = this.parts.backend.compile(this.program(graph), { onProgress });
      this.sessions.set(graph, session);
      session.catch(() => this.sessions.delete(graph));
    }
    return session;
  }

  private program(name: GraphName): Program {
    const { checkpoint, options } = this.parts;
    const { precision = "fp32", device = "cpu" } = options;
    const read = (parameter: string) => readTensor(checkpoint.tensors.get(parameter)!);
    const plain = { name, graph: traceGraph(name, this.parts.config), weight: checkpointWeights(checkpoint) };
    // The fast form leans on a layout that only the CPU provider has.
    const program = device === "cpu" ? accelerateConvolutions(plain, read) : plain;
    const scheme = LINEAR_SCHEMES[precision];
    // The VQ is never quantised: its ids would change.
    return scheme === undefined
      ? program
      : quantizeProgram(program, read, (parameter) => (parameter.includes(".vq.") ? undefined : scheme));
  }

  /** Lets the run under way end, then frees everything. */
  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    await this.parts.backend.dispose();
    await this.parts.checkpoint.close();
  }
}
