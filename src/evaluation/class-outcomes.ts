/** What became of pictures that a classifier gave a class: which it is, which it was given, how many were before the right one. */
import type { EvaluationTable, Metric } from "./evaluation.ts";
import { shareMetric } from "./statistics.ts";

/** One entry a picture. */
export interface ClassOutcomes {
  readonly classes: readonly string[];
  /** The number of its class. */
  readonly truth: Int32Array;
  /** The number of the class it was given. */
  readonly chosen: Int32Array;
  /** How many classes stood before the right one. */
  readonly place: Int32Array;
}

/** How many classes score higher than class `truth`; of equal ones those that come earlier are before it. */
export function placeOf(scores: ArrayLike<number>, truth: number): number {
  const own = scores[truth]!;
  let before = 0;
  for (let i = 0; i < scores.length; i++) {
    const other = scores[i]!;
    if (other > own || (other === own && i < truth)) before++;
  }
  return before;
}

/** The class of the highest score, the first on ties. */
export function highest(scores: ArrayLike<number>): number {
  let at = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i]! > scores[at]!) at = i;
  return at;
}

/** Share of the pictures whose class is among the first k; null where there are no more classes than that. */
export function topMetric(name: string, { classes, place }: ClassOutcomes, k: number, meaning: string): Metric {
  const hits = place.reduce((sum, before) => sum + (before < k ? 1 : 0), 0);
  const metric = shareMetric(name, hits, place.length, meaning);
  return k > 1 && classes.length < k ? { name, value: null, unit: "share", count: place.length, meaning } : metric;
}

interface ClassCounts {
  readonly seen: Uint32Array;
  readonly first: Uint32Array;
  readonly firstFive: Uint32Array;
}

function countsOf({ classes, truth, place }: ClassOutcomes): ClassCounts {
  const zeros = () => new Uint32Array(classes.length);
  const { seen, first, firstFive }: ClassCounts = { seen: zeros(), first: zeros(), firstFive: zeros() };
  for (const [i, own] of truth.entries()) {
    seen[own]!++;
    if (place[i]! < 1) first[own]!++;
    if (place[i]! < 5) firstFive[own]!++;
  }
  return { seen, first, firstFive };
}

/** The mean over the classes that were seen of the share that was given the right class. */
export function meanOfClasses(name: string, outcomes: ClassOutcomes): Metric {
  const { seen, first } = countsOf(outcomes);
  const shares = Array.from(seen.keys())
    .filter((own) => seen[own]! > 0)
    .map((own) => first[own]! / seen[own]!);
  const value = shares.length > 0 ? shares.reduce((sum, share) => sum + share, 0) / shares.length : null;
  return {
    name,
    value,
    unit: "share",
    count: shares.length,
    meaning: "mean over the classes: rare ones count as much",
  };
}

/** One row a class that was seen, the worst first. */
export function classTable(title: string, outcomes: ClassOutcomes): EvaluationTable {
  const { classes } = outcomes;
  const { seen, first, firstFive } = countsOf(outcomes);
  const taken = mostTakenFor(outcomes);
  const rows = classes.flatMap((name, own) => {
    if (seen[own] === 0) return [];
    const [top1, top5] = [first[own]!, firstFive[own]!].map((hits) => (100 * hits) / seen[own]!);
    return [[name, seen[own]!, top1!, classes.length < 5 ? null : top5!, taken.get(own) ?? ""]];
  });
  rows.sort((a, b) => (a[2] as number) - (b[2] as number));
  return { title, columns: ["class", "pictures", "top1 %", "top5 %", "most often taken for"], rows };
}

/** For each class that was mistaken, `dog (3)`. */
function mostTakenFor({ classes, truth, chosen }: ClassOutcomes): Map<number, string> {
  const counts = new Map<number, Map<number, number>>();
  for (const [i, own] of truth.entries()) {
    const other = chosen[i]!;
    if (other === own) continue;
    const of = counts.get(own) ?? new Map<number, number>();
    counts.set(own, of.set(other, (of.get(other) ?? 0) + 1));
  }
  return new Map(
    Array.from(counts, ([own, others]) => {
      const [other, count] = [...others].reduce((most, next) => (next[1] > most[1] ? next : most));
      return [own, `${classes[other]} (${count})`];
    }),
  );
}
