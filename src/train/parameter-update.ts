/** From gradients to new parameters: clipping, the optimizer, what holds afterwards, the moving average. */
import { type NDArray, ndarray, ToklipError } from "../core/index.ts";
import type { JsonValue } from "../data/dataset.ts";
import { AdamW } from "./adamw.ts";
import { Ema } from "./ema.ts";
import { clipFactor, measureGradients } from "./gradient-norm.ts";
import type { ParameterGroup } from "./parameter-groups.ts";
import type { TensorMap } from "./trainer.ts";
import type { Parameters } from "./training-graph.ts";

/** How parameters are updated. */
export interface ParameterUpdateOptions {
  readonly groups: readonly ParameterGroup[];
  readonly betas: readonly [number, number];
  readonly eps: number;
  /** The largest norm of all gradients together; larger ones are scaled down to it. Absent: no clipping. */
  readonly clipNorm?: number | undefined;
  /** Keep a moving average of the parameters. */
  readonly ema?: { readonly decay: number; readonly warmup?: boolean } | undefined;
  /** Ranges that single-element parameters are put back into after each step. */
  readonly clamps?: Readonly<Record<string, readonly [number, number]>>;
}

/** Updates a set of parameters. */
export class ParameterUpdate {
  private readonly options: ParameterUpdateOptions;
  private readonly optimizer: AdamW;
  private readonly ema: Ema | undefined;

  /** @throws ARGUMENT_INVALID, OUT_OF_MEMORY */
  constructor(parameters: Parameters, options: ParameterUpdateOptions) {
    const { groups, betas, eps, ema } = options;
    this.options = options;
    this.optimizer = new AdamW(groups, { betas, eps });
    const shapes = new Map([...parameters].map(([name, { shape }]) => [name, shape]));
    this.ema = ema && new Ema(shapes, elementsOf(parameters), ema);
  }

  /** Makes one step and gives the norm of the gradients. A gradient that is not finite leaves everything as it was. */
  step(parameters: Parameters, gradients: ReadonlyMap<string, Float32Array>, learningRate: number): number {
    const { norm } = measureGradients(gradients);
    if (!Number.isFinite(norm)) return norm;
    const elements = elementsOf(parameters);
    const { clipNorm, clamps = {} } = this.options;
    this.optimizer.step(elements, gradients, { learningRate, gradientScale: clipFactor(norm, clipNorm) });
    for (const [name, [low, high]] of Object.entries(clamps)) {
      const values = elements.get(name);
      if (values !== undefined) values[0] = Math.min(Math.max(values[0]!, low), high);
    }
    this.ema?.update(elements);
    return norm;
  }

  /** Makes the optimizer forget some rows of a parameter, and the average take their present values. */
  replaceRows(name: string, { shape, data }: NDArray<"f32">, replaced: readonly number[]): void {
    const width = data.length / shape[0]!;
    const { tensors } = this.optimizer.state();
    const moments = ["exp_avg", "exp_avg_sq"].flatMap((moment) => tensors.get(`${name}.${moment}`)?.data ?? []);
    const average = this.ema?.values().get(name);
    for (const row of replaced) {
      const [begin, end] = [row * width, (row + 1) * width];
      for (const moment of moments) moment.fill(0, begin, end);
      average?.set(data.subarray(begin, end), begin);
    }
  }

  /** The averaged parameters, where an average is kept: views that the next step changes. */
  averages(): TensorMap | undefined {
    return this.ema?.state().tensors;
  }

  /** Tensors by file, and the rest. `prefix` keeps the files of several updates apart. */
  state(prefix = ""): { readonly files: Readonly<Record<string, TensorMap>>; readonly json: JsonValue } {
    const optimizer = this.optimizer.state();
    const ema = this.ema?.state();
    return {
      files: { [`${prefix}optimizer`]: optimizer.tensors, ...(ema && { [`${prefix}ema`]: ema.tensors }) },
      json: { optimizer: optimizer.json, ema: ema?.json ?? null },
    };
  }

  /** @throws CHECKPOINT_MISMATCH */
  restore(files: Readonly<Record<string, TensorMap>>, json: JsonValue, prefix = ""): void {
    const states = (json ?? {}) as { readonly optimizer?: JsonValue; readonly ema?: JsonValue };
    this.optimizer.restore({ tensors: fileOf(files, `${prefix}optimizer`), json: states.optimizer ?? null });
    this.ema?.restore({ tensors: fileOf(files, `${prefix}ema`), json: states.ema ?? null });
  }
}

/**
 * Parameters to evaluate with: where averages are kept, copies of them and of what has none, since arrays that are lent
 * to the engine come back to one map only; the parameters themselves otherwise.
 */
export function evaluatedParameters(parameters: Parameters, averages: TensorMap | undefined): Parameters {
  if (averages === undefined) return parameters;
  return new Map(
    [...parameters].map(([name, own]): [string, NDArray<"f32">] => {
      const { shape, data } = averages.get(name) ?? own;
      return [name, ndarray("f32", shape, (data as Float32Array<ArrayBuffer>).slice())];
    }),
  );
}

/** The tensors of a file of a checkpoint. @throws CHECKPOINT_MISMATCH when it is not there */
export function fileOf(files: Readonly<Record<string, TensorMap>>, name: string): TensorMap {
  const tensors = files[name];
  if (tensors === undefined) throw new ToklipError("CHECKPOINT_MISMATCH", `the checkpoint has no ${name}.safetensors`);
  return tensors;
}

/** Puts the values of a checkpoint into parameters. @throws CHECKPOINT_MISMATCH naming the first that does not fit */
export function restoreParameters(parameters: Parameters, tensors: TensorMap): void {
  const restored = [...parameters].map(([name, { shape }]): [string, NDArray<"f32">] => {
    const found = tensors.get(name);
    if (found?.dtype !== "f32" || found.shape.join() !== shape.join()) {
      const what = found === undefined ? "nothing" : `${found.dtype} [${found.shape}]`;
      throw new ToklipError("CHECKPOINT_MISMATCH", `parameter ${name}: expected f32 [${shape}], got ${what}`);
    }
    return [name, ndarray("f32", shape, (found.data as Float32Array<ArrayBuffer>).slice())];
  });
  for (const [name, value] of restored) parameters.set(name, value);
}

function elementsOf(parameters: Parameters): Map<string, Float32Array> {
  return new Map([...parameters].map(([name, { data }]) => [name, data]));
}
