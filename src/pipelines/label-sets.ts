/**
 * Labels that come with the package, for those who have none of their own: the names of emoji in Unicode's words, without
 * skin tones and flags. `recipes/toklip-mini/label-sets.mjs` makes the list; its licence (MIT) stands in it.
 */
import { ToklipError } from "../core/index.ts";
import { quoted } from "../files/quoted.ts";
import emoji from "./label-sets/emoji.json" with { type: "json" };

type Groups = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

/** The labels of the subgroups that are wanted, each once. */
function labelsOf(isWanted: (group: string, subgroup: string) => boolean): readonly string[] {
  const labels = Object.entries(emoji.labels as Groups).flatMap(([group, subgroups]) =>
    Object.entries(subgroups).flatMap(([subgroup, list]) => (isWanted(group, subgroup) ? list : [])),
  );
  return [...new Set(labels)];
}

/** The sets of labels by name. */
export const LABEL_SETS = {
  /** Beasts, birds, fish, insects. */
  animals: labelsOf((_, subgroup) => subgroup.startsWith("animal-")),
  /** Fruit, vegetables, meals, sweets, drinks, dishes. */
  food: labelsOf((group) => group === "food-drink"),
  /** Clothes, instruments, tools, what stands in houses and offices. */
  objects: labelsOf((group) => group === "objects"),
  /** All of these, and faces, people, plants, places, vehicles, weather, sports, symbols. */
  emoji: labelsOf(() => true),
} as const satisfies Record<string, readonly string[]>;

/** The name of a set of labels. */
export type LabelSetName = keyof typeof LABEL_SETS;

/** Whether there is a set of this name. */
export function isLabelSet(name: string): name is LabelSetName {
  return Object.hasOwn(LABEL_SETS, name);
}

/**
 * The labels of a named set, or given ones.
 * @throws ARGUMENT_INVALID for a set that there is not
 */
export function resolveLabels(labels: string | readonly string[]): readonly string[] {
  if (typeof labels !== "string") return labels;
  if (isLabelSet(labels)) return LABEL_SETS[labels];
  const known = Object.keys(LABEL_SETS).join(", ");
  throw new ToklipError("ARGUMENT_INVALID", `labels ${quoted(labels)}: expected a set (${known}) or a list of labels`);
}
