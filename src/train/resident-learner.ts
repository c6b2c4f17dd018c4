/**
 * Parameters that live with the backend: loss, gradients and update are one graph, whose results are its next inputs. On
 * a device with memory of its own only batches, losses and the norm of the gradients travel; a checkpoint fetches the
 * rest. Old and new parameters and moments are there at once, so that a step of which a number is not finite can be
 * taken back: 6 numbers a parameter, 8 with an average, and the gradients.
 *
 * Not here: batches in parts, several processes (host-learner.ts does both on any device).
 */
import { type NDArray, ToklipError } from "../core/index.ts";
import { add, type Graph, mul, type Tensor } from "../graph/index.ts";
import type {
  Backend,
  Carry,
  Feeds,
  Fetches,
  Program,
  Session,
  SessionState,
  StateArray,
  Weight,
} from "../runtime/index.ts";
import { appendUpdate, type UpdateCounts, updateFeeds } from "./adamw-graph.ts";
import type { LossAndGradients } from "./contrastive-step.ts";
import { type Evaluation, type Learner, type LearnerReport, LOGIT_SCALE } from "./learner.ts";
import { fileOf, ParameterUpdate, type ParameterUpdateOptions, restoreParameters } from "./parameter-update.ts";
import type { TrainerState } from "./trainer.ts";
import { outputsNamed, type Parameters, partsOf } from "./training-graph.ts";

/** What a learner with the backend is made of. */
export interface ResidentLearnerOptions {
  readonly backend: Backend;
  /** Where they begin. */
  readonly parameters: Parameters;
  /** Makes a graph with outputs `part.<name>` and `d.<parameter>`, for each trained parameter. */
  readonly graph: () => Graph;
  readonly update: ParameterUpdateOptions;
  /** The weights of parameters that are not trained. */
  readonly frozen: (name: string) => Promise<Weight>;
}

const NORM = "gradient_norm";
const CHECK = "check";
const SCALE = "before.logit_scale";

/**
 * Replaces the gradients among the outputs of a training graph by what the update makes of them: `next.<array>`,
 * `gradient_norm`, and `check`, which is finite where the loss and the norm are. The logit scale is an output, too.
 */
export function withUpdate(graph: Graph, options: ParameterUpdateOptions): { graph: Graph; carry: Carry } {
  const outputs = [...graph.outputs];
  const named = (prefix: string) => outputs.filter(([name]) => name.startsWith(prefix));
  const gradients = new Map(named("d.").map(([name, tensor]) => [name.slice("d.".length), tensor]));
  const loss = named("part.")
    .map(([, tensor]) => tensor)
    .reduce(add);
  const { norm, arrays } = appendUpdate(graph, gradients, options);
  for (const name of gradients.keys()) graph.outputs.delete(`d.${name}`);
  const results: readonly (readonly [string, Tensor])[] = [
    ...[...arrays].map(([array, tensor]) => [`next.${array}`, tensor] as const),
    [NORM, norm],
    [CHECK, add(norm, mul(loss, 0))],
  ];
  const scale = graph.parameters.get(LOGIT_SCALE);
  if (scale !== undefined) graph.output(SCALE, scale);
  for (const [name, tensor] of results) graph.output(name, tensor);
  return {
    graph,
    carry: {
      arrays: Object.fromEntries([...arrays.keys()].map((array) => [`next.${array}`, array])),
      onlyIfFinite: CHECK,
    },
  };
}

/** The learner. */
export class ResidentLearner implements Learner {
  private readonly options: ResidentLearnerOptions;
  private readonly training: Session;
  private arrays: SessionState;
  private counts: UpdateCounts = { steps: 0, averages: 0 };
  private readonly sessions = new Map<string, Promise<Session>>();

  private constructor(options: ResidentLearnerOptions, training: Session, arrays: SessionState) {
    this.options = options;
    this.training = training;
    this.arrays = arrays;
  }

  /** Compiles the step. @throws ARGUMENT_INVALID, GRAPH_INVALID, CHECKPOINT_MISMATCH, OUT_OF_MEMORY */
  static async create(options: ResidentLearnerOptions): Promise<ResidentLearner> {
    const { backend, parameters, graph, update } = options;
    const start = startOf(parameters, new ParameterUpdate(parameters, update), update);
    const training = await backend.compile(programOf(options, "train_step", withUpdate(graph(), update)));
    return new ResidentLearner(options, training, await training.createState(start));
  }

  async step(feeds: Feeds, learningRate: number): Promise<LearnerReport> {
    const scalars = updateFeeds(this.options.update, learningRate, this.counts);
    const fetched = await this.training.run({ ...feeds, ...scalars }, { state: this.arrays });
    const parts = partsOf(fetched);
    const { steps, averages } = this.counts;
    if (Number.isFinite(numberOf(fetched, CHECK))) this.counts = { steps: steps + 1, averages: averages + 1 };
    const finite = Object.values(parts).every(Number.isFinite);
    const logitScale = fetched[SCALE] && numberOf(fetched, SCALE);
    return { parts, gradientNorm: finite ? numberOf(fetched, NORM) : Number.NaN, logitScale };
  }

  async lossAndGradients(feeds: Feeds): Promise<LossAndGradients> {
    const session = await this.session("gradients", this.options.graph);
    const fetched = await session.run(feeds, { state: this.arrays });
    return { parts: partsOf(fetched), gradients: outputsNamed("d.", fetched) };
  }

  evaluation(): Evaluation {
    const { parameters, update } = this.options;
    const averages = update.ema ? [...parameters.keys()].map((name) => [name, `${name}.ema`]) : [];
    const options = { state: this.arrays, aliases: Object.fromEntries(averages) };
    return { run: async (name, graph, feeds) => (await this.session(name, graph)).run(feeds, options) };
  }

  async trained(weights: "last" | "ema"): Promise<ReadonlyMap<string, NDArray>> {
    return this.read(weights === "ema" && this.options.update.ema ? ".ema" : "");
  }

  async state(): Promise<TrainerState> {
    const { steps, averages } = this.counts;
    const { ema, groups } = this.options.update;
    const names = steps > 0 ? groups.flatMap(({ shapes }) => [...shapes.keys()]) : [];
    const moments = await this.arrays.read(names.flatMap((name) => MOMENTS.map((moment) => `${name}${moment}`)));
    const optimizer = new Map(Object.entries(moments));
    const files = { model: await this.read(""), optimizer, ...(ema && { ema: await this.read(".ema") }) };
    const made = { steps: Object.fromEntries(names.map((name) => [name, steps])) };
    return { files, json: { optimizer: made, ema: ema ? { updates: averages } : null } };
  }

  async restore({ files, json }: TrainerState): Promise<void> {
    const { parameters, update } = this.options;
    // The checks of the other learner are good for this one.
    const restored: Parameters = new Map(parameters);
    restoreParameters(restored, fileOf(files, "model"));
    const host = new ParameterUpdate(restored, update);
    host.restore(files, json);
    const counts = countsOf(host, this.names);
    const arrays = await this.training.createState(startOf(restored, host, update));
    await this.arrays.dispose();
    this.arrays = arrays;
    this.counts = counts;
  }

  /** Frees the graphs and what is kept on the device. */
  async dispose(): Promise<void> {
    for (const session of this.sessions.values()) await (await session).dispose();
    await this.arrays.dispose();
    await this.training.dispose();
  }

  private get names(): readonly string[] {
    return [...this.options.parameters.keys()];
  }

  /** One array of each parameter, by the parameters' names. */
  private async read(suffix: string): Promise<Map<string, NDArray>> {
    const arrays = await this.arrays.read(this.names.map((name) => `${name}${suffix}`));
    return new Map(this.names.map((name) => [name, arrays[`${name}${suffix}`]!]));
  }

  private session(name: string, graph: () => Graph): Promise<Session> {
    let session = this.sessions.get(name);
    if (session === undefined) {
      session = this.options.backend.compile(programOf(this.options, name, { graph: graph() }));
      this.sessions.set(name, session);
    }
    return session;
  }
}

const MOMENTS = [".exp_avg", ".exp_avg_sq"] as const;

/** A graph over the parameters that are trained, fed from the state, and the others. */
function programOf(
  { parameters, frozen }: ResidentLearnerOptions,
  name: string,
  parts: Pick<Program, "graph" | "carry">,
): Program {
  return {
    name,
    ...parts,
    weight: async (parameter) => (parameters.has(parameter) ? { kind: "fed" } : frozen(parameter)),
  };
}

/** All arrays at the start: those of the parameters and what an update in JavaScript knows, zeros where it knows nothing. */
function startOf(
  parameters: Parameters,
  host: ParameterUpdate,
  options: ParameterUpdateOptions,
): Record<string, StateArray> {
  const { files } = host.state();
  const moments = files.optimizer!;
  const start: Record<string, StateArray> = {};
  for (const [name, value] of parameters) {
    start[name] = value;
    for (const moment of MOMENTS)
      start[`${name}${moment}`] = (moments.get(`${name}${moment}`) as NDArray<"f32">) ?? value.shape;
    if (options.ema) start[`${name}.ema`] = files.ema!.get(name) as NDArray<"f32">;
  }
  return start;
}

/** The counts of a restored update. @throws CHECKPOINT_MISMATCH when parameters have made different numbers of steps */
function countsOf(host: ParameterUpdate, names: readonly string[]): UpdateCounts {
  const { optimizer, ema } = host.state().json as unknown as SavedCounts;
  const counts = new Set(names.map((name) => optimizer.steps[name] ?? 0));
  const [steps = 0, ...others] = counts;
  if (others.length === 0) return { steps, averages: ema?.updates ?? steps };
  const why = `parameters have made ${steps} and ${others[0]} steps, but can only be updated together here`;
  throw new ToklipError("CHECKPOINT_MISMATCH", `optimizer: ${why}`);
}

interface SavedCounts {
  readonly optimizer: { readonly steps: Readonly<Record<string, number>> };
  readonly ema: { readonly updates: number } | null;
}

function numberOf(fetched: Fetches, name: string): number {
  return fetched[name]!.data[0] as number;
}
