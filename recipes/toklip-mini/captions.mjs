// What is said of a picture: its name, the name in a sentence, with tags, tags alone, its category. A training chooses one each time.

/** @param {readonly string[]} list */
const distinct = (list) => [
  ...new Set(list.map((text) => text.trim().replace(/\s+/g, " ")).filter((text) => text !== "")),
];

const article = (/** @type {string} */ noun) => (/^[aeiou]/i.test(noun) ? `an ${noun}` : `a ${noun}`);

/** Words of a category: "animal-mammal", "AnimalMammal" -> "animal mammal". @param {string} category */
export const categoryWords = (category) =>
  category
    .replace(/([a-z])([A-Z])/g, "$1 $2")
    .replace(/[-_&/]+/g, " ")
    .replace(/\s+/g, " ")
    .trim()
    .toLowerCase();

/**
 * @param {{ name: string, tags: readonly string[], categories: readonly string[], kind: string, description?: string }} thing
 * `kind` as in "emoji", "icon", "clip art"
 */
export function captionsOf({ name, tags, categories, kind, description = "" }) {
  const words = categories.map(categoryWords);
  const lower = name.toLowerCase();
  const own = tags.map((tag) => tag.toLowerCase()).filter((tag) => tag !== lower && tag.length > 2);
  const [first = "", second = "", third = ""] = own;
  return distinct([
    lower,
    `${article(kind)} of ${lower}`,
    `a drawing of ${lower}`,
    own.length > 0 ? `${lower}, ${[first, second].filter(Boolean).join(", ")}` : "",
    own.length > 1 ? [first, second, third].filter(Boolean).join(", ") : "",
    ...words.map((word) => `${word}: ${lower}`),
    ...words.slice(-1).map((word) => `${article(kind)}, ${word}${first ? `, ${first}` : ""}`),
    description.length > 8 && description.length < 120 ? description.toLowerCase() : "",
  ]);
}
