// Writes the names of emoji that come with the package as labels: CLDR's, as emojibase-data (MIT) gives them, by group and
// subgroup, in Unicode's order; without skin tones, components and flags.
//
//     node label-sets.mjs [FILE]     default: src/pipelines/label-sets/emoji.json of this repository
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { packageJson } from "./emoji.mjs";
import { writeWhole } from "./files.mjs";

const LEFT_OUT = new Set(["component", "flags"]);
const HERE = dirname(fileURLToPath(import.meta.url));

/** What the cleaning of texts leaves of a name. @param {string} label */
const cleaned = (label) =>
  label
    .toLowerCase()
    .replace(/[!-/:-@[-`{-~]/g, "")
    .replace(/\s+/g, " ")
    .trim();

/**
 * Names by group and subgroup; of names that the text tower cannot tell apart ("keycap: #", "keycap: *"), the first.
 * @param {readonly { label: string, group?: number, subgroup?: number, order?: number }[]} emoji
 * @param {{ groups: Record<string, string>, subgroups: Record<string, string> }} names
 * @returns {Record<string, Record<string, string[]>>}
 */
export function labelsByGroup(emoji, { groups, subgroups }) {
  /** @type {Record<string, Record<string, string[]>>} */
  const labels = {};
  const known = new Set();
  for (const { label, group, subgroup } of emoji.toSorted((a, b) => (a.order ?? 0) - (b.order ?? 0))) {
    const name = groups[group ?? -1];
    if (name === undefined || LEFT_OUT.has(name) || known.has(cleaned(label))) continue;
    known.add(cleaned(label));
    const lists = labels[name] ?? {};
    labels[name] = lists;
    const part = subgroups[subgroup ?? -1] ?? "other";
    lists[part] = [...(lists[part] ?? []), label];
  }
  return labels;
}

const LINE_WIDTH = 120;

/** JSON as this repository's formatter has it. @param {string} json indented */
function shortListsInOneLine(json) {
  return json.replace(/^.*\[\n[^\]]*\],?$/gm, (list) => {
    const line = list
      .replace(/\[\n\s+/, "[")
      .replace(/,\n\s+/g, ", ")
      .replace(/\n\s+\]/, "]");
    return line.length <= LINE_WIDTH ? line : list;
  });
}

function main() {
  const [file = join(HERE, "../../src/pipelines/label-sets/emoji.json")] = process.argv.slice(2);
  const { version } = packageJson("emojibase-data/package.json");
  const data = dirname(createRequire(import.meta.url).resolve("emojibase-data/package.json"));
  const content = {
    source: `emojibase-data ${version}, names of Unicode CLDR`,
    licence: readFileSync(join(data, "LICENSE"), "utf8").trim().replace(/\s+/g, " "),
    labels: labelsByGroup(packageJson("emojibase-data/en/data.json"), packageJson("emojibase-data/meta/groups.json")),
  };
  writeWhole(file, `${shortListsInOneLine(JSON.stringify(content, null, 2))}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
