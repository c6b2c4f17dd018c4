/**
 * Random changes of colour, as torchvision's ColorJitter draws and orders them: a random order of the operations first,
 * then a factor for each.
 */
import type { Random } from "../core/index.ts";
import { uniformIn } from "./augment-crop.ts";
import { ADJUSTMENT_NAMES, COLOUR_ADJUSTMENTS, type ColourAdjustment } from "./colour.ts";

/** Colour changes in random order: brightness, contrast and saturation by a factor in [max(0, 1 - x), 1 + x]. */
export interface ColorJitter {
  readonly brightness?: number;
  readonly contrast?: number;
  readonly saturation?: number;
  /** Turns colours by a part of the circle in [-x, x]; at most 0.5. */
  readonly hue?: number;
  /** How often pictures are jittered at all. Default 0.8. */
  readonly probability?: number;
}

/** One change of colour. */
export interface JitterStep {
  readonly name: ColourAdjustment;
  readonly factor: number;
}

/** Jitters RGB bytes, or gives them back as they are where the draw says so. */
export function jitterColours(rgb: Uint8Array, jitter: ColorJitter, random: Random): Uint8Array {
  const { probability = 0.8 } = jitter;
  if (random.uniform() >= probability) return rgb;
  return applyJitter(rgb, jitterSteps(jitter, random));
}

/** RGB bytes after each step in turn. */
export function applyJitter(rgb: Uint8Array, steps: readonly JitterStep[]): Uint8Array {
  return steps.reduce((data, { name, factor }) => COLOUR_ADJUSTMENTS[name](data, factor), rgb);
}

/** What one jitter does, in order. Operations without an amount are left out. */
export function jitterSteps(jitter: ColorJitter, random: Random): readonly JitterStep[] {
  const order = [...random.permutation(ADJUSTMENT_NAMES.length)];
  const factors = ADJUSTMENT_NAMES.map((name) => factorOf(name, jitter[name] ?? 0, random));
  return order.flatMap((i) => {
    const factor = factors[i];
    return factor === undefined ? [] : [{ name: ADJUSTMENT_NAMES[i]!, factor }];
  });
}

function factorOf(name: ColourAdjustment, amount: number, random: Random): number | undefined {
  if (amount === 0) return undefined;
  return uniformIn(name === "hue" ? [-amount, amount] : [Math.max(0, 1 - amount), 1 + amount], random);
}
