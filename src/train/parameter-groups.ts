/**
 * Which parameters decay. TokLIP's training (as open_clip's) spares what is no matrix and what is named like a norm, a
 * bias or the logit scale; all the rest decays, position embedding and pooling query included, which have three
 * dimensions. The rule reads the checkpoint's names: "bn" and "ln" count wherever they occur.
 */

/** Shapes of parameters by name. */
export type ParameterShapes = ReadonlyMap<string, readonly number[]>;

/** Parameters that share a weight decay. */
export interface ParameterGroup {
  /** The decoupled decay: each step multiplies by 1 - learning rate * weight decay. */
  readonly weightDecay: number;
  readonly shapes: ParameterShapes;
}

const SPARED_NAMES = ["bn", "ln", "bias", "logit_scale"];

/** Whether a parameter is spared from weight decay. */
export function isSpared(name: string, shape: readonly number[]): boolean {
  return shape.length < 2 || SPARED_NAMES.some((part) => name.includes(part));
}

/** The two groups of TokLIP and its teacher, in the reference's order: spared from decay, then decayed. */
export function decayGroups(shapes: ParameterShapes, weightDecay: number): readonly [ParameterGroup, ParameterGroup] {
  const all = [...shapes];
  return [
    { weightDecay: 0, shapes: new Map(all.filter(([name, shape]) => isSpared(name, shape))) },
    { weightDecay, shapes: new Map(all.filter(([name, shape]) => !isSpared(name, shape))) },
  ];
}

/** One group without decay: the VQ and its discriminator, which LlamaGen trains with Adam. */
export function withoutDecay(shapes: ParameterShapes): readonly [ParameterGroup] {
  return [{ weightDecay: 0, shapes }];
}
