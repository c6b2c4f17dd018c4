// The data of toklip-mini: `node data.mjs --debian DIR --out DIR`. Renders every picture of `sources.mjs`, says what it
// shows, splits by concept, and writes WebDataset shards, a manifest, ATTRIBUTIONS.md and the captions for the tokenizer.
// What is there already is kept, so that an interrupted run goes on; the same packages give the same bytes.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { splitOf } from "./concept.mjs";
import { EmojiIndex } from "./emoji.mjs";
import { writeWhole } from "./files.mjs";
import { outlined } from "./outline.mjs";
import { writeShard } from "./shards.mjs";
import { SOURCES, thingsOf } from "./sources.mjs";

const { values } = parseArgs({
  options: { debian: { type: "string", default: "debian" }, out: { type: "string", default: "data" } },
});
const SHARD = 1000;
/** Changes when the same sources would give other pictures. */
const RENDERING = 2;

const sha1 = (/** @type {string} */ text) => createHash("sha1").update(text).digest("hex");

/** @typedef {import("./sources.mjs").Thing} Thing */

/** The shards' names, `train-emoji`, `val`, ..., with what belongs into each, in an order that is random and always the same. */
function sorted() {
  const context = { emoji: new EmojiIndex(), debian: values.debian };
  /** @type {Map<string, Thing[]>} */
  const parts = new Map();
  const add = (/** @type {string} */ part, /** @type {Thing} */ thing) => {
    const things = parts.get(part);
    if (things) things.push(thing);
    else parts.set(part, [thing]);
  };
  for (const source of SOURCES) {
    for (const thing of thingsOf(source, context)) {
      const split = splitOf(thing.concept);
      const part = source.train ? (split === "train" ? `train-${thing.group.replace(" ", "-")}` : split) : source.name;
      add(part, thing);
      if (source.outlined && part === "train-emoji") {
        add("train-outlined", { ...thing, id: `${thing.id}~outlined`, bytes: () => outlined(thing.bytes()) });
      }
    }
  }
  const order = (/** @type {Thing} */ thing) => sha1(`${thing.source}:${thing.id}`);
  for (const things of parts.values()) {
    const keyed = things
      .map((thing) => /** @type {const} */ ([order(thing), thing]))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    things.splice(0, things.length, ...keyed.map(([, thing]) => thing));
  }
  return parts;
}

async function main() {
  const { out } = values;
  if (!existsSync(join(values.debian, "openclipart-svg"))) {
    throw new Error(`${values.debian}: Debian's packages are not there; run install.sh first`);
  }
  mkdirSync(out, { recursive: true });
  const licences = new Map(SOURCES.map(({ name, licence }) => [name, licence]));
  const parts = sorted();
  const version = sha1(
    JSON.stringify([
      RENDERING,
      ...[...parts].map(([name, things]) => [name, things.map(({ source, id, captions }) => [source, id, captions])]),
    ]),
  );
  const stamp = join(out, "version.txt");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") !== version) {
    process.stderr.write(`${out}: made from other sources or captions; made again\n`);
    rmSync(out, { recursive: true });
    mkdirSync(out, { recursive: true });
  }
  writeWhole(stamp, version);
  /** @type {any[]} */
  const manifest = [];
  const bad = [];
  const began = Date.now();
  const total = [...parts.values()].reduce((sum, things) => sum + things.length, 0);
  let seen = 0;
  for (const [part, things] of [...parts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (let start = 0; start < things.length; start += SHARD) {
      const path = join(out, `${part}-${String(start / SHARD).padStart(3, "0")}`);
      await writeShard(path, things.slice(start, start + SHARD), licences);
      const made = JSON.parse(readFileSync(`${path}.json`, "utf8"));
      manifest.push(...made.pictures.map((/** @type {any} */ about) => ({ part, ...about })));
      bad.push(...made.bad);
      seen += Math.min(SHARD, things.length - start);
      process.stderr.write(`${seen} of ${total} pictures, ${((Date.now() - began) / 1000).toFixed(0)} s\n`);
    }
  }
  writeWhole(join(out, "manifest.jsonl"), manifest.map((about) => JSON.stringify(about)).join("\n"));
  const trained = manifest.filter(({ part }) => part.startsWith("train-"));
  writeWhole(join(out, "captions.txt"), `${trained.flatMap(({ captions }) => captions).join("\n")}\n`);
  writeWhole(join(out, "ATTRIBUTIONS.md"), attributions(trained));
  writeWhole(join(out, "bad.txt"), bad.join("\n"));
  summarize(manifest, bad);
}

/** Whom the pictures that were trained on are owed to. @param {readonly any[]} trained */
function attributions(trained) {
  const rows = SOURCES.filter(({ train }) => train).map(({ name, licence, from, by }) => {
    const count = trained.filter(({ source }) => source === name).length;
    return `| ${name} | ${by} | ${licence} | ${from} | ${count} |`;
  });
  return [
    "# Attributions",
    "",
    "toklip-mini was trained on pictures from these collections. None of the pictures is part of the package.",
    "",
    "| source | by | licence | package | pictures |",
    "|---|---|---|---|---|",
    ...rows,
    "",
    "Names, tags and groups of emoji: emojibase-data (MIT), keywords: emojilib (MIT), after Unicode CLDR.",
    "",
  ].join("\n");
}

/** @param {readonly any[]} manifest @param {readonly string[]} bad */
function summarize(manifest, bad) {
  const parts = [...new Set(manifest.map(({ part }) => part))];
  for (const part of parts) {
    const own = manifest.filter((about) => about.part === part);
    process.stdout.write(
      `${part}\t${own.length} pictures\t${new Set(own.map(({ concept }) => concept)).size} concepts\n`,
    );
  }
  process.stdout.write(`${bad.length} not drawn (bad.txt)\n`);
}

await main();
