/**
 * The exponential moving average of parameters, which evaluates better than the last step's:
 * `average = decay * average + (1 - decay) * parameter` after each step, beginning at the parameters themselves.
 * With warm-up the decay at update n (from 0) is at most (1 + n) / (10 + n), so that the start is soon forgotten.
 */
import { type NDArray, ToklipError } from "../core/index.ts";
import type { JsonValue } from "../data/dataset.ts";
import { copyIn, forEachPiece, type KernelOptions, SLOTS } from "./optimizer-kernel.ts";
import { allocateResidents, type Residents, readResident, viewOf } from "./optimizer-memory.ts";
import type { ParameterShapes } from "./parameter-groups.ts";
import type { TensorMap } from "./trainer.ts";

/** How parameters are averaged. */
export interface EmaOptions extends KernelOptions {
  /** What an update keeps of the average, in [0, 1]. */
  readonly decay: number;
  /** Whether the decay begins at 0.1 and grows. Default false. */
  readonly warmup?: boolean;
}

/** All that an average knows. */
export interface EmaState {
  /** The averages by the parameters' names, of their shapes. */
  readonly tensors: ReadonlyMap<string, NDArray<"f32">>;
  /** `{ updates: the updates it has seen }`. */
  readonly json: JsonValue;
}

/** The moving average of some parameters. Update it after the step and after whatever else is done to the parameters. */
export class Ema {
  private readonly options: EmaOptions;
  private readonly residents: ReadonlyMap<string, Residents>;
  private updates = 0;

  /**
   * Begins at the values of `parameters`.
   * @throws ARGUMENT_INVALID when the decay is out of its range or a parameter is missing.
   * @throws SHAPE_MISMATCH when a parameter has another length than its shape. @throws OUT_OF_MEMORY
   */
  constructor(shapes: ParameterShapes, parameters: ReadonlyMap<string, Float32Array>, options: EmaOptions) {
    const { decay } = options;
    if (!(decay >= 0 && decay <= 1)) throw new ToklipError("ARGUMENT_INVALID", `ema: decay ${decay} is not in [0, 1]`);
    this.options = options;
    this.residents = allocateResidents(shapes, 1, options);
    for (const [name, resident] of this.residents) viewOf(resident, 0).set(given(parameters, name, resident));
  }

  /** Takes in the parameters' values. @throws ARGUMENT_INVALID, SHAPE_MISMATCH as the constructor */
  update(parameters: ReadonlyMap<string, Float32Array>): void {
    const work = [...this.residents].map(([name, resident]) => [resident, given(parameters, name, resident)] as const);
    const { decay, warmup = false } = this.options;
    const n = this.updates++;
    const keep = warmup ? Math.min(decay, (1 + n) / (10 + n)) : decay;
    for (const [{ kernel, addresses }, values] of work) {
      forEachPiece(values.length, (begin, end) => {
        copyIn(kernel, 0, values, begin, end);
        kernel.average(end - begin, addresses[0]! + begin * 4, SLOTS[0], keep, 1 - keep);
      });
    }
  }

  /**
   * The averages by name: views of the averages themselves, which the next update changes. To send one to another
   * thread is to send a copy of all that shares its memory: `slice` takes one out.
   */
  values(): Map<string, Float32Array<ArrayBuffer>> {
    return new Map([...this.residents].map(([name, resident]) => [name, viewOf(resident, 0)]));
  }

  /** All it knows. The tensors are views, as those of `values`. */
  state(): EmaState {
    const tensors = [...this.residents].map(([name, resident]): [string, NDArray<"f32">] => [
      name,
      { dtype: "f32", shape: resident.shape, data: viewOf(resident, 0) },
    ]);
    return { tensors: new Map(tensors), json: { updates: this.updates } };
  }

  /**
   * Puts it where `state` found it: what follows has the same bits. Nothing changes when it throws.
   * @throws CHECKPOINT_MISMATCH when a tensor is missing, of another shape, or the count of updates is none.
   */
  restore({ tensors, json }: { readonly tensors: TensorMap; readonly json: JsonValue }): void {
    const updates = (json as { readonly updates?: JsonValue } | null)?.updates;
    if (!Number.isSafeInteger(updates) || (updates as number) < 0) {
      throw new ToklipError("CHECKPOINT_MISMATCH", `ema: the state says ${JSON.stringify(updates)} updates`);
    }
    const restored = [...this.residents].map(
      ([name, resident]) => [viewOf(resident, 0), readResident(tensors, name, resident.shape)] as const,
    );
    for (const [view, data] of restored) view.set(data);
    this.updates = updates as number;
  }
}

function given(
  parameters: ReadonlyMap<string, Float32Array>,
  name: string,
  { shape, length }: Residents,
): Float32Array {
  const values = parameters.get(name);
  if (values === undefined) throw new ToklipError("ARGUMENT_INVALID", `ema: no parameter ${name} given`);
  if (values.length === length) return values;
  throw new ToklipError(
    "SHAPE_MISMATCH",
    `ema: parameter ${name} [${shape}] needs ${length} elements, got ${values.length}`,
  );
}
