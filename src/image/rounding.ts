/** Rounding as Python's `round` does it. */

/** The nearest whole number; halves go to the even one. */
export function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
