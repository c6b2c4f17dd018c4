/**
 * Which classes are taken for which, as a picture: a square for each pair, a row for each class of the pictures, a column
 * for what they were named, darker the larger the share of the row. Of many classes those that are confused most.
 */
import type { ClassOutcomes } from "./class-outcomes.ts";
import { escapeHtml } from "./html.ts";

/** How often pictures of one class were given another, and how many pictures the class has. */
export interface Confusion {
  readonly truth: number;
  readonly chosen: number;
  readonly count: number;
  readonly seen: number;
}

/** How often each class was given each: at `truth * classes + chosen`. Right ones too. */
function pairCounts({ classes, truth, chosen }: ClassOutcomes): Map<number, number> {
  const counts = new Map<number, number>();
  for (const [i, own] of truth.entries()) {
    const pair = own * classes.length + chosen[i]!;
    counts.set(pair, (counts.get(pair) ?? 0) + 1);
  }
  return counts;
}

function seenOf({ classes, truth }: ClassOutcomes): Uint32Array {
  const seen = new Uint32Array(classes.length);
  for (const own of truth) seen[own]!++;
  return seen;
}

/** All confusions, the most frequent first; of equal ones those of the earlier classes. */
export function confusionsOf(outcomes: ClassOutcomes): Confusion[] {
  const seen = seenOf(outcomes);
  const all = Array.from(pairCounts(outcomes), ([pair, count]) => {
    const truth = Math.floor(pair / outcomes.classes.length);
    return { truth, chosen: pair % outcomes.classes.length, count, seen: seen[truth]! };
  });
  const wrong = all.filter(({ truth, chosen }) => truth !== chosen);
  return wrong.sort((a, b) => b.count - a.count || a.truth - b.truth || a.chosen - b.chosen);
}

/** More classes make names that nobody can read. */
const MOST_SHOWN = 40;

/** The classes that the picture shows: all where they are few, else those of the most frequent confusions, in their order. */
function shownClasses(outcomes: ClassOutcomes): number[] {
  const { classes } = outcomes;
  if (classes.length <= MOST_SHOWN) return [...classes.keys()];
  const shown = new Set<number>();
  for (const { truth, chosen } of confusionsOf(outcomes)) {
    if (shown.size + 2 > MOST_SHOWN) break;
    shown.add(truth).add(chosen);
  }
  return [...shown].sort((a, b) => a - b);
}

const CELL = 16;
const LONGEST_NAME = 24;
const CHARACTER = 6.2;

/** The picture as SVG. */
export function confusionSvg(outcomes: ClassOutcomes): string {
  const shown = shownClasses(outcomes);
  const [counts, seen] = [pairCounts(outcomes), seenOf(outcomes)];
  const shareOf = (truth: number, chosen: number) =>
    (counts.get(truth * outcomes.classes.length + chosen) ?? 0) / Math.max(1, seen[truth]!);
  const longest = Math.max(0, ...shown.map((number) => outcomes.classes[number]!.length));
  const start = Math.ceil(12 + Math.min(longest, LONGEST_NAME) * CHARACTER);
  const size = start + shown.length * CELL + 8;
  const names = shown.map((number, i) => nameOf(outcomes.classes[number]!, start, start + (i + 0.5) * CELL));
  const cells = shown.flatMap((truth, row) =>
    shown.map((chosen, column) => {
      const [x, y] = [start + column * CELL, start + row * CELL];
      return cellOf(shareOf(truth, chosen), x, y, truth === chosen);
    }),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}" viewBox="0 0 ${size} ${size}">`,
    `<rect width="${size}" height="${size}" fill="#fff"/>`,
    `<g font-family="sans-serif" font-size="11" fill="#333" text-anchor="end">${names.join("")}</g>`,
    `<g stroke="#e6e6ea" stroke-width="0.5">${cells.join("")}</g></svg>`,
  ].join("");
}

/** A name beside its row and, turned, above its column. */
function nameOf(name: string, start: number, at: number): string {
  const short = name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME - 1)}\u2026` : name;
  const text = escapeHtml(short.replace(/[\u0000-\u001f\ufffe\uffff]/g, "?"));
  const [x, y] = [start - 5, at + 4];
  return `<text x="${x}" y="${y}">${text}</text><text transform="translate(${y} ${x}) rotate(90)">${text}</text>`;
}

/** Right ones in green, wrong ones in red. */
function cellOf(share: number, x: number, y: number, isRight: boolean): string {
  const strength = Math.sqrt(share); // so that a few are seen at all
  const mix = (full: number) => Math.round(255 + (full - 255) * strength);
  const [red, green, blue] = (isRight ? [20, 120, 70] : [190, 30, 45]).map(mix);
  return `<rect x="${x}" y="${y}" width="${CELL}" height="${CELL}" fill="rgb(${red},${green},${blue})"/>`;
}
