/** A few of many, for the report: the same ones every time. */

/** At most `count` of the items, evenly spread from the first on, in order. */
export function spread<T>(items: readonly T[], count: number): T[] {
  if (items.length <= count) return [...items];
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]!);
}
