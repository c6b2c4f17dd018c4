/**
 * AdamW (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101) with PyTorch's arithmetic, and Adam, which is
 * AdamW without decay:
 *
 *     m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
 *     p = p (1 - lr decay) - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 *
 * in f32, the constants computed in f64 first. sqrt(v) is multiplied by the rounded reciprocal of sqrt(1 - beta2^t),
 * where PyTorch divides: that is the one difference, of a rounding. The moments live in the kernel's memory, because
 * copying them there and back would cost more than the step does; parameters and gradients are arrays of the caller.
 *
 * Not here: AMSGrad, decay that is not decoupled, moments in less than f32.
 */
import { type NDArray, ToklipError } from "../core/index.ts";
import type { JsonValue } from "../data/dataset.ts";
import { type AdamWConstants, copyIn, copyOut, forEachPiece, type KernelOptions, SLOTS } from "./optimizer-kernel.ts";
import { allocateResidents, type Residents, readResident, viewOf } from "./optimizer-memory.ts";
import { type ParameterGroup, type ParameterShapes, withoutDecay } from "./parameter-groups.ts";
import type { TensorMap } from "./trainer.ts";

/** The numbers of Adam that do not change during a training. */
export interface AdamOptions extends KernelOptions {
  /** The decay of the means of gradients and of their squares, each in [0, 1). */
  readonly betas: readonly [number, number];
  /** Added to the divisor. */
  readonly eps: number;
}

/** The numbers of one step. */
export interface AdamStep {
  readonly learningRate: number;
  /** Multiplies every gradient as it is read, for clipping and for the mean of accumulated gradients. Default 1. */
  readonly gradientScale?: number;
}

/** All that an optimizer knows. */
export interface OptimizerState {
  /** `<name>.exp_avg` and `<name>.exp_avg_sq`, f32 of the parameter's shape, for each parameter that has made a step. */
  readonly tensors: ReadonlyMap<string, NDArray<"f32">>;
  /** `{ steps: { <name>: the steps it has made } }`. */
  readonly json: JsonValue;
}

const MOMENTS = ["exp_avg", "exp_avg_sq"] as const;

/** What is held of one parameter: its group's decay, its moments, its steps. */
interface Slot {
  readonly weightDecay: number;
  readonly moments: Residents;
  steps: number;
}

/** Adam with decoupled weight decay. */
export class AdamW {
  private readonly options: AdamOptions;
  private readonly slots = new Map<string, Slot>();

  /**
   * @throws ARGUMENT_INVALID when a number is out of its range or a parameter is in two groups.
   * @throws OUT_OF_MEMORY when there is no room for the moments.
   */
  constructor(groups: readonly ParameterGroup[], options: AdamOptions) {
    const { betas, eps } = options;
    for (const beta of betas) check(beta >= 0 && beta < 1, `beta ${beta} is not in [0, 1)`);
    check(Number.isFinite(eps) && eps >= 0, `eps ${eps} is not a number >= 0`);
    this.options = options;
    const moments = allocateResidents(shapesOf(groups), MOMENTS.length, options);
    for (const { weightDecay, shapes } of groups) {
      check(Number.isFinite(weightDecay) && weightDecay >= 0, `weight decay ${weightDecay} is not a number >= 0`);
      for (const name of shapes.keys()) this.slots.set(name, { weightDecay, moments: moments.get(name)!, steps: 0 });
    }
  }

  /**
   * Makes one step, in place, for every parameter of the groups that has a gradient; the others are left alone.
   * @throws ARGUMENT_INVALID when a parameter is missing; SHAPE_MISMATCH when an array has another length than its shape.
   */
  step(
    parameters: ReadonlyMap<string, Float32Array>,
    gradients: ReadonlyMap<string, Float32Array>,
    { learningRate, gradientScale = 1 }: AdamStep,
  ): void {
    const work = [...this.slots].flatMap(([name, slot]) => {
      const gradient = gradients.get(name);
      if (gradient === undefined) return [];
      const parameter = parameters.get(name);
      if (parameter === undefined) throw new ToklipError("ARGUMENT_INVALID", `optimizer: no parameter ${name} given`);
      checkLength(name, "parameter", parameter, slot.moments);
      checkLength(name, "gradient", gradient, slot.moments);
      return [{ slot, parameter, gradient }];
    });
    for (const { slot, parameter, gradient } of work) {
      slot.steps++;
      update(slot.moments, parameter, gradient, this.constants(slot, learningRate, gradientScale));
    }
  }

  private constants({ weightDecay, steps }: Slot, learningRate: number, scale: number): AdamWConstants {
    const { betas, eps } = this.options;
    const [beta1, beta2] = betas;
    return [
      scale,
      1 - learningRate * weightDecay,
      beta1,
      1 - beta1,
      beta2,
      1 - beta2,
      1 / Math.sqrt(1 - beta2 ** steps),
      eps,
      learningRate / (1 - beta1 ** steps),
    ];
  }

  /**
   * All it knows. The tensors are views of the moments themselves: the next step changes them, and to send one to
   * another thread is to send a copy of all that shares its memory. `slice` takes one out.
   */
  state(): OptimizerState {
    const begun = [...this.slots].filter(([, slot]) => slot.steps > 0);
    const tensors = begun.flatMap(([name, { moments }]) =>
      MOMENTS.map((moment, i): [string, NDArray<"f32">] => [
        `${name}.${moment}`,
        { dtype: "f32", shape: moments.shape, data: viewOf(moments, i) },
      ]),
    );
    return {
      tensors: new Map(tensors),
      json: { steps: Object.fromEntries(begun.map(([name, { steps }]) => [name, steps])) },
    };
  }

  /**
   * Puts it where `state` found it: what follows has the same bits. Nothing changes when it throws.
   * @throws CHECKPOINT_MISMATCH when the state is of other parameters, lacks a tensor or is no such state.
   */
  restore({ tensors, json }: { readonly tensors: TensorMap; readonly json: JsonValue }): void {
    const steps = stepsOf(json);
    for (const name of steps.keys()) {
      if (!this.slots.has(name)) throw mismatch(`the state has a parameter ${name}, which is not trained`);
    }
    const restored = [...this.slots].map(([name, slot]) => {
      const count = steps.get(name) ?? 0;
      const { shape } = slot.moments;
      const data = count === 0 ? undefined : MOMENTS.map((moment) => readResident(tensors, `${name}.${moment}`, shape));
      return { slot, count, data };
    });
    for (const { slot, count, data } of restored) {
      slot.steps = count;
      MOMENTS.forEach((_, i) => {
        const view = viewOf(slot.moments, i);
        if (data === undefined) view.fill(0);
        else view.set(data[i]!);
      });
    }
  }
}

/** Adam: no weight decay. */
export class Adam extends AdamW {
  /** @throws as `AdamW` */
  constructor(shapes: ParameterShapes, options: AdamOptions) {
    super(withoutDecay(shapes), options);
  }
}

function update(moments: Residents, parameter: Float32Array, gradient: Float32Array, constants: AdamWConstants): void {
  const { kernel, addresses } = moments;
  forEachPiece(parameter.length, (begin, end) => {
    copyIn(kernel, 0, parameter, begin, end);
    copyIn(kernel, 1, gradient, begin, end);
    const [first, second] = addresses.map((address) => address + begin * 4) as [number, number];
    kernel.adamw(end - begin, SLOTS[0], first, second, SLOTS[1], ...constants);
    copyOut(kernel, parameter, begin, end);
  });
}

function shapesOf(groups: readonly ParameterGroup[]): ParameterShapes {
  const all = new Map<string, readonly number[]>();
  for (const [name, shape] of groups.flatMap(({ shapes }) => [...shapes])) {
    check(!all.has(name), `parameter ${name} is in two groups`);
    all.set(name, shape);
  }
  return all;
}

function stepsOf(json: JsonValue): Map<string, number> {
  const steps = (json as { readonly steps?: JsonValue } | null)?.steps;
  if (typeof steps !== "object" || steps === null) throw mismatch("the state has no steps");
  return new Map(
    Object.entries(steps).map(([name, count]) => {
      if (Number.isSafeInteger(count) && (count as number) > 0) return [name, count as number];
      throw mismatch(`the state says ${JSON.stringify(count)} steps of ${name}`);
    }),
  );
}

function checkLength(name: string, what: string, array: Float32Array, { shape, length }: Residents): void {
  if (array.length === length) return;
  throw new ToklipError(
    "SHAPE_MISMATCH",
    `optimizer: ${what} ${name} [${shape}] needs ${length} elements, got ${array.length}`,
  );
}

function check(holds: boolean, complaint: string): void {
  if (!holds) throw new ToklipError("ARGUMENT_INVALID", `optimizer: ${complaint}`);
}

function mismatch(complaint: string): ToklipError {
  return new ToklipError("CHECKPOINT_MISMATCH", `optimizer: ${complaint}`);
}
