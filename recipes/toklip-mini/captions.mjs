// What is said of a picture: its name, the name in a sentence, with tags, tags alone, its category. A training chooses one each time.

/** @param {readonly string[]} list */
const distinct = (list) => [
  ...new Set(list.map((text) => text.trim().replace(/\s+/g, " ")).filter((text) => text !== "")),
];

/** Words of a category: "animal-mammal", "AnimalMammal" -> "animal mammal". @param {string} category */
export const categoryWords = (category) =>
  category
    .replace(/([a-z])([A-Z])/g, "$1 $2")
    .replace(/[-_&/]+/g, " ")
    .replace(/\s+/g, " ")
    .trim()
    .toLowerCase();

/**
 * Nothing here tells an emoji from an icon or from clip art: with such words the towers learn the style of the drawing
 * first, which tells the pictures of a batch apart without a look at what they show.
 * @param {{ name: string, tags: readonly string[], categories: readonly string[], description?: string }} thing
 */
export function captionsOf({ name, tags, categories, description = "" }) {
  const words = categories.map(categoryWords);
  const lower = name.toLowerCase();
  const own = tags.map((tag) => tag.toLowerCase()).filter((tag) => tag !== lower && tag.length > 2);
  const [first = "", second = "", third = ""] = own;
  return distinct([
    lower,
    `a picture of ${lower}`,
    `a drawing of ${lower}`,
    own.length > 0 ? `${lower}, ${[first, second].filter(Boolean).join(", ")}` : "",
    own.length > 1 ? [first, second, third].filter(Boolean).join(", ") : "",
    ...words.map((word) => `${word}: ${lower}`),
    ...words.slice(-1).map((word) => [word, first].filter(Boolean).join(", ")),
    description.length > 8 && description.length < 120 ? description.toLowerCase() : "",
  ]);
}
