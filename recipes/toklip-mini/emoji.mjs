// The words of emoji: CLDR names and tags (emojibase-data, MIT), keywords (emojilib, MIT), by code point.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/** The JSON of an installed package. @param {string} path */
export const packageJson = (path) => JSON.parse(readFileSync(require.resolve(path), "utf8"));

/**
 * @typedef {{ hexcode: string, label: string, tags: string[], keywords: string[], group: string, subgroup: string, order: number }} Emoji
 */

/** Code points as every source may write them: lower case, without variation selectors. @param {string} code */
export const plainCode = (code) =>
  code
    .toLowerCase()
    .split("-")
    .filter((point) => point !== "fe0f" && point !== "")
    .map((point) => point.replace(/^0+/, ""))
    .join("-");

/** A name as icon sets write it. @param {string} name */
export const slug = (name) =>
  name
    .toLowerCase()
    .normalize("NFKD")
    .replace(/[\u0300-\u036f’'“”.!]/g, "")
    .replace(/&/g, "and")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");

/** All emoji without skin tones and components. @returns {Emoji[]} */
export function loadEmoji() {
  const { groups, subgroups } = packageJson("emojibase-data/meta/groups.json");
  const keywords = new Map(
    Object.entries(packageJson("emojilib/dist/emoji-en-US.json")).map(([emoji, words]) => [
      plainCode([...emoji].map((character) => character.codePointAt(0)?.toString(16)).join("-")),
      /** @type {string[]} */ (words),
    ]),
  );
  return packageJson("emojibase-data/en/data.json")
    .filter((/** @type {any} */ entry) => entry.group !== undefined && groups[entry.group] !== "component")
    .map((/** @type {any} */ entry) => ({
      hexcode: plainCode(entry.hexcode),
      label: entry.label,
      tags: entry.tags ?? [],
      keywords: (keywords.get(plainCode(entry.hexcode)) ?? []).map((word) => word.replaceAll("_", " ")),
      group: groups[entry.group],
      subgroup: subgroups[entry.subgroup],
      order: entry.order,
    }));
}

/** Finds emoji by code point or by a name of an icon set. */
export class EmojiIndex {
  constructor(emoji = loadEmoji()) {
    this.all = emoji;
    this.byCode = new Map(emoji.map((entry) => [entry.hexcode, entry]));
    this.bySlug = new Map(emoji.map((entry) => [slug(entry.label), entry]));
    // Names that the sets with code points give: other sets use the same ones.
    for (const set of ["noto", "twemoji", "openmoji", "fluent-emoji-flat"]) {
      for (const [code, name] of Object.entries(packageJson(`@iconify-json/${set}/chars.json`))) {
        const entry = this.byCode.get(plainCode(code));
        if (entry && !this.bySlug.has(name)) this.bySlug.set(name, entry);
      }
    }
    // "redapple" and "red-apple" are one.
    this.byLetters = new Map([...this.bySlug].map(([name, entry]) => [name.replaceAll("-", ""), entry]));
  }

  /** @param {string} name */
  named(name) {
    return this.bySlug.get(name) ?? this.byLetters.get(name.replaceAll("-", ""));
  }
}
