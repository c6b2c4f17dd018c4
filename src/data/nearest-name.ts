/** The name that someone who mistyped may have meant. */

/**
 * The candidate with the fewest edits (a character put in, left out or changed; case counts for nothing) from `name`;
 * undefined where more than half of the name would have to change.
 */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let fewest = Math.floor(Math.max(2, name.length / 2)) + 1;
  for (const candidate of candidates) {
    const edits = editDistance(name.slice(0, 100).toLowerCase(), candidate.slice(0, 100).toLowerCase());
    if (edits < fewest) [best, fewest] = [candidate, edits];
  }
  return best;
}

/** Levenshtein's distance, by Wagner and Fischer's table, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
