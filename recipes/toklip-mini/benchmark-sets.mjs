// Which pictures each benchmark takes, and what they are called. Pure: manifest in, sets out.
import { createHash } from "node:crypto";
import { categoryWords } from "./captions.mjs";
import { slug } from "./emoji.mjs";

/**
 * @typedef {object} Picture A line of the manifest.
 * @property {string} part The shards it lies in: `train-emoji`, `val`, ...
 * @property {string} source
 * @property {string} id Unique within its source.
 * @property {string} name
 * @property {string} concept
 * @property {string[]} captions
 * @property {string} group
 * @property {string} [hexcode] Of an emoji.
 * @property {string[]} [categories]
 * @property {string} licence
 *
 * @typedef {{ picture: Picture, label: string }} Labelled
 *
 * @typedef {object} ClassSet Pictures and the classes to choose among.
 * @property {string} name
 * @property {Labelled[]} rows
 * @property {Record<string, string[]>} labels The words for each class.
 * @property {string} [partOf] The set whose pictures these are some of.
 */

/** The fewest pictures of a subgroup that make it a class. */
const SUBGROUP_PICTURES = 10;
/** The fewest unseen concepts of a group that make it a class. */
const UNSEEN_CONCEPTS = 2;
const FLAGS = "country-flag";

/** Names a picture. @param {{ source: string, id: string }} picture */
export const pictureKey = ({ source, id }) => `${source}:${id}`;

/** Where a picture of the shards is written, below the benchmarks' folder. @param {Picture} picture */
export function picturePath({ part, source, id }) {
  const plain = /^[a-z0-9-]+$/.test(id) ? id : `${slug(id)}-${createHash("sha1").update(id).digest("hex").slice(0, 8)}`;
  const folder = part.startsWith("train-") ? "train" : part;
  return folder === source ? `pictures/${source}/${plain}.png` : `pictures/${folder}/${source}-${plain}.png`;
}

/** @param {readonly Picture[]} manifest */
export const trained = (manifest) => manifest.filter(({ part }) => part.startsWith("train-"));

/**
 * Holds the rules that keep the splits apart; throws where one is broken.
 * @param {readonly Picture[]} manifest
 */
export function checkSplits(manifest) {
  const own = trained(manifest);
  const concepts = new Set(own.map(({ concept }) => concept));
  const codes = new Set(own.flatMap(({ hexcode }) => hexcode ?? []));
  for (const picture of own) {
    if (picture.source === "openmoji" || picture.source === "tuxpaint")
      throw new Error(`${pictureKey(picture)} is trained on`);
  }
  for (const picture of manifest) {
    const { part, concept, hexcode } = picture;
    if (part !== "test-concept" && part !== "val") continue;
    if (concepts.has(concept)) throw new Error(`${pictureKey(picture)}: ${concept} is trained on`);
    if (hexcode && codes.has(hexcode)) throw new Error(`${pictureKey(picture)}: the emoji ${hexcode} is trained on`);
  }
}

/** A country flag's label starts with "flag: ", but captions do not say so. @param {string} label */
const spoken = (label) => label.toLowerCase().replace(/^flag: /, "flag of ");

/** The words for classes that are called what they are. @param {readonly Labelled[]} rows */
const namesAsLabels = (rows) => Object.fromEntries(rows.map(({ label }) => [label, [spoken(label)]]));

/** @param {Picture} picture */
const groupOf = ({ categories }) => categories?.[0] ?? "";
/** @param {Picture} picture */
const subgroupOf = ({ categories }) => categories?.[1] ?? "";

/**
 * @template T
 * @param {readonly T[]} list @param {(item: T) => string} keyOf
 * @returns {Map<string, T[]>} in the order of the keys
 */
function groupBy(list, keyOf) {
  /** @type {Map<string, T[]>} */
  const groups = new Map();
  for (const item of list) {
    const known = groups.get(keyOf(item));
    if (known) known.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return new Map([...groups].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * Pictures into categories: only those that hold enough.
 * @param {string} name @param {readonly Picture[]} pictures @param {(picture: Picture) => string} categoryOf
 * @param {(own: readonly Picture[]) => boolean} isEnough
 * @returns {ClassSet}
 */
function categorySet(name, pictures, categoryOf, isEnough) {
  const kept = [...groupBy(pictures, categoryOf)].filter(([category, own]) => category !== "" && isEnough(own));
  return {
    name,
    rows: kept.flatMap(([label, own]) => own.map((picture) => ({ picture, label }))),
    labels: Object.fromEntries(kept.map(([label]) => [label, [categoryWords(label)]])),
  };
}

/**
 * OpenMoji's pictures of concepts that other vendors' pictures showed in training: a drawing style never seen.
 * @param {readonly Picture[]} manifest
 * @returns {ClassSet[]}
 */
export function openmojiSets(manifest) {
  const concepts = new Set(trained(manifest).map(({ concept }) => concept));
  const seen = manifest.filter(({ source, concept }) => source === "openmoji" && concepts.has(concept));
  const things = seen.filter((picture) => subgroupOf(picture) !== FLAGS);
  const named = (/** @type {string} */ name, /** @type {readonly Picture[]} */ pictures) => {
    const rows = pictures.map((picture) => ({ picture, label: picture.name }));
    return { name, rows, labels: namesAsLabels(rows) };
  };
  const whole = named("openmoji-seen", things);
  const animals = things.filter((picture) => subgroupOf(picture).startsWith("animal-"));
  const food = things.filter((picture) => groupOf(picture) === "food-drink");
  const flags = seen.filter((picture) => subgroupOf(picture) === FLAGS);
  return [
    whole,
    { ...named("openmoji-animals", animals), partOf: whole.name },
    { ...named("openmoji-food", food), partOf: whole.name },
    named("openmoji-flags", flags),
    categorySet("openmoji-subgroup", things, subgroupOf, (own) => own.length >= SUBGROUP_PICTURES),
  ];
}

/**
 * Emoji of concepts that nobody's picture showed in training, all vendors together, into categories that have some.
 * @param {readonly Picture[]} manifest
 * @returns {ClassSet[]}
 */
export function unseenConceptSets(manifest) {
  const emoji = manifest.filter(
    (picture) => picture.part === "test-concept" && picture.group === "emoji" && subgroupOf(picture) !== FLAGS,
  );
  const enough = (/** @type {readonly Picture[]} */ own) =>
    new Set(own.map(({ concept }) => concept)).size >= UNSEEN_CONCEPTS;
  return [
    categorySet("unseen-concept-group", emoji, groupOf, enough),
    categorySet("unseen-concept-subgroup", emoji, subgroupOf, enough),
  ];
}

/** @param {string} text */
const wordsOf = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

/** In how many pictures' captions each word comes. @param {readonly Picture[]} pictures */
export function wordCounts(pictures) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { captions } of pictures) {
    for (const word of new Set(captions.flatMap(wordsOf))) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}

/**
 * Pictures of unseen concepts whose names can be read: each word in captions of two trained pictures or more. A text tower
 * from scratch can know no other words.
 * @param {readonly Picture[]} manifest
 * @returns {ClassSet[]}
 */
export function unseenNamingSets(manifest) {
  const counts = wordCounts(trained(manifest));
  const isKnown = (/** @type {string} */ name) => wordsOf(name).every((word) => (counts.get(word) ?? 0) >= 2);
  const readable = manifest.filter(({ part, name }) => part === "test-concept" && isKnown(name));
  const named = (/** @type {string} */ name, /** @type {readonly Picture[]} */ pictures) => {
    const names = [...groupBy(pictures, ({ concept }) => concept)].map(([concept, own]) => [concept, [usualName(own)]]);
    return {
      name,
      rows: pictures.map((picture) => ({ picture, label: picture.concept })),
      labels: Object.fromEntries(names),
    };
  };
  const emoji = readable.filter(({ group }) => group === "emoji");
  return [named("unseen-naming", readable), named("unseen-naming-emoji", emoji)];
}

/** What most pictures of a concept are called; of equal ones, the first in the alphabet. @param {readonly Picture[]} pictures */
function usualName(pictures) {
  const names = groupBy(pictures, ({ name }) => spoken(name));
  return [...names].reduce((best, next) => (next[1].length > best[1].length ? next : best))[0];
}

const PROBE_SOURCES = new Set(["noto", "twemoji", "fluent-flat", "fluent-3d"]);

/**
 * Trained pictures of the subgroups that `openmoji-subgroup` has: what a probe of features learns from.
 * @param {readonly Picture[]} manifest @param {Readonly<Record<string, unknown>>} subgroups
 * @returns {Labelled[]}
 */
export function probeRows(manifest, subgroups) {
  return trained(manifest)
    .filter((picture) => PROBE_SOURCES.has(picture.source) && Object.hasOwn(subgroups, subgroupOf(picture)))
    .map((picture) => ({ picture, label: subgroupOf(picture) }));
}

/** What a picture is told by when it is to be found: the first three name it, the last two do not. */
export const CAPTION_GROUPS = ["label", "label", "label", "withheld", "withheld"];

/**
 * Five captions of an emoji, or none where too little is known of it.
 * @param {import("./emoji.mjs").Emoji} emoji
 * @returns {string[] | undefined}
 */
export function retrievalCaptions({ label, tags, keywords, subgroup }) {
  const name = label.toLowerCase();
  const telling = (/** @type {readonly string[]} */ words) =>
    [...new Set(words.map((word) => word.toLowerCase()))].filter(
      (word) => word.length > 2 && !word.includes(name) && word !== name,
    );
  const own = telling(tags);
  const others = telling(keywords).filter((word) => !own.includes(word));
  const more = [...others, ...own.slice(2).reverse()];
  if (own.length < 3) return undefined;
  return [
    name,
    `a drawing of ${name}`,
    `${name}, ${own.slice(0, 2).join(", ")}`,
    own.slice(0, 5).join(", "),
    `${categoryWords(subgroup)}: ${more.slice(0, 4).join(", ")}`,
  ];
}

/**
 * OpenMoji's pictures with captions that no other of them has, at most `most`, drawn the same each time.
 * @param {readonly Picture[]} manifest @param {ReadonlyMap<string, import("./emoji.mjs").Emoji>} emoji by code point
 * @param {number} most
 * @returns {{ picture: Picture, captions: string[] }[]}
 */
export function retrievalPairs(manifest, emoji, most) {
  const told = manifest
    .filter((picture) => picture.source === "openmoji" && subgroupOf(picture) !== FLAGS)
    .flatMap((picture) => {
      const entry = emoji.get(picture.hexcode ?? "");
      const captions = entry && retrievalCaptions(entry);
      return captions ? [{ picture, captions }] : [];
    });
  const uses = groupBy(
    told.flatMap(({ captions }) => captions),
    (caption) => caption,
  );
  return told.filter(({ captions }) => captions.every((caption) => uses.get(caption)?.length === 1)).slice(0, most);
}
