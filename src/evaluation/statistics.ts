/** Shares of what was seen, and how sure they are. */
import type { Metric } from "./evaluation.ts";

/** The normal distribution's quantile of 97.5 %: half the width of a 95 % interval in standard deviations. */
export const Z = 1.959963984540054;

/**
 * The 95 % confidence interval of a share (Wilson 1927, without continuity correction): never beyond [0, 1], and never of
 * width 0 as the normal approximation's is where all or none were hits.
 * @param count from 1
 */
export function wilsonInterval(hits: number, count: number): readonly [low: number, high: number] {
  const share = hits / count;
  const spread = Z ** 2 / count;
  const centre = (share + spread / 2) / (1 + spread);
  const half = (Z / (1 + spread)) * Math.sqrt((share * (1 - share)) / count + spread / (4 * count));
  // Exactly 0 and 1 at the ends, where rounding would leave a trace of the other side.
  return [hits === 0 ? 0 : Math.max(0, centre - half), hits === count ? 1 : Math.min(1, centre + half)];
}

/** A share as a metric, with its interval; null where nothing was seen. */
export function shareMetric(name: string, hits: number, count: number, meaning: string): Metric {
  const base = { name, unit: "share", count, meaning } as const;
  if (count === 0) return { ...base, value: null };
  const interval = wilsonInterval(hits, count);
  return { ...base, value: hits / count, interval, margin: (interval[1] - interval[0]) / 2 };
}
