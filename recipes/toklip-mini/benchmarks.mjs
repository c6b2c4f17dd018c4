// The benchmarks of toklip-mini: `node benchmarks.mjs --debian DIR --data DIR --out DIR`. From the shards of `data.mjs` and
// Debian's packages it writes pictures, tables (`image,label`) and label files as `toklip eval` reads them. What is there
// already is kept, so that an interrupted run goes on; the same data give the same bytes.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import {
  CAPTION_GROUPS,
  checkSplits,
  openmojiSets,
  pictureKey,
  picturePath,
  probeRows,
  retrievalPairs,
  trained,
  unseenConceptSets,
  unseenNamingSets,
  wordCounts,
} from "./benchmark-sets.mjs";
import { categoryWords } from "./captions.mjs";
import { conceptKey } from "./concept.mjs";
import { EmojiIndex } from "./emoji.mjs";
import { FASHION_CLASSES, FASHION_SIDE, fashionPictures } from "./fashion-mnist.mjs";
import { csv, writeOnce, writeWhole } from "./files.mjs";
import { isNearAny, thumbnail } from "./near-duplicates.mjs";
import { PHOTOGRAPHS, STAMP_KINDS, stampPhotographs } from "./photographs.mjs";
import { shardPictures } from "./shard-reader.mjs";

const { values } = parseArgs({
  options: {
    debian: { type: "string", default: "debian" },
    data: { type: "string", default: "data" },
    out: { type: "string", default: "benchmarks" },
  },
});
const { debian, data, out } = values;

// Others may be at work on the same cores.
sharp.concurrency(1);

/** Changes when the same data would give other benchmarks. */
const VERSION = 1;
const WHITE = "#fff";
const RETRIEVAL_PICTURES = 1000;
const STAMP_SIDE = 256;
const FASHION_DRAWN = 128;
const FASHION_PICTURES = 200;
/** Stamps that differ from a trained picture by less are the same drawing. */
const NEAR = 6;
const CROP = 256;
/** The shorter edge that photographs are reduced to before they are cut, so that a crop shows more than a blur. */
const CUT_FROM = 1024;
const WHOLE = 512;

/**
 * @typedef {import("./benchmark-sets.mjs").Picture} Picture
 * @typedef {{ name: string, pictures: number, classes: number | string, note: string }} Count
 */

/** @type {Count[]} */
const counts = [];

const under = (/** @type {string} */ path) => join(out, path);

/**
 * A table of pictures, and the file of its classes. A part of another benchmark has its classes alone.
 * @param {string} name @param {readonly (readonly [image: string, label: string])[]} rows
 * @param {Readonly<Record<string, readonly string[]>>} labels @param {string} note @param {string} [partOf]
 */
function writeClasses(name, rows, labels, note, partOf) {
  if (partOf === undefined) writeWhole(under(`${name}.csv`), csv(["image", "label"], rows));
  writeWhole(under(`labels/${name}.json`), `${JSON.stringify(labels, undefined, 1)}\n`);
  counts.push({ name, pictures: rows.length, classes: Object.keys(labels).length, note });
}

/** The emoji and icons. Gives the pictures that are needed. @param {readonly Picture[]} manifest */
function writeSets(manifest) {
  /** @type {Map<string, Picture>} */
  const needed = new Map();
  const take = (/** @type {Picture} */ picture) => {
    needed.set(pictureKey(picture), picture);
    return picturePath(picture);
  };
  const openmoji = openmojiSets(manifest);
  for (const { name, rows, labels, partOf } of [
    ...openmoji,
    ...unseenConceptSets(manifest),
    ...unseenNamingSets(manifest),
  ]) {
    const concepts = new Set(rows.map(({ picture }) => picture.concept)).size;
    const table = rows.map(({ picture, label }) => /** @type {const} */ ([take(picture), label]));
    writeClasses(name, table, labels, partOf ? `part of ${partOf}` : `${concepts} concepts`, partOf);
  }
  const { rows = [], labels = {} } = openmoji.find(({ name }) => name === "openmoji-subgroup") ?? {};
  const known = wordCounts(trained(manifest));
  for (const word of Object.keys(labels).flatMap((name) => categoryWords(name).split(" "))) {
    if (!known.has(word)) throw new Error(`no trained caption says "${word}"`);
  }
  const table = (/** @type {readonly import("./benchmark-sets.mjs").Labelled[]} */ list) =>
    list.map(({ picture, label }) => /** @type {const} */ ([take(picture), label]));
  writeClasses("probe-train", table(probeRows(manifest, labels)), labels, "trained pictures, for probes");
  writeClasses("probe-test", table(rows), labels, "openmoji-subgroup");
  const pairs = retrievalPairs(manifest, new EmojiIndex().byCode, RETRIEVAL_PICTURES);
  const lines = pairs.map(({ picture, captions }) =>
    JSON.stringify({ image: take(picture), captions, groups: CAPTION_GROUPS, concept: picture.concept }),
  );
  writeWhole(under("retrieval.jsonl"), `${lines.join("\n")}\n`);
  counts.push({ name: "retrieval", pictures: pairs.length, classes: "", note: `${5 * pairs.length} captions` });
  for (const part of ["openmoji", "test-concept"]) {
    const own = manifest.filter((picture) => picture.part === part);
    for (const picture of own) take(picture);
    counts.push({ name: `pictures/${part}`, pictures: own.length, classes: "", note: "for reconstruction" });
  }
  return needed;
}

/**
 * Takes the needed pictures out of the shards, on white, and a thumbnail of every trained one that may be a photograph.
 * @param {readonly Picture[]} manifest @param {ReadonlyMap<string, Picture>} needed
 * @returns {Promise<Buffer>} the thumbnails, one after the other
 */
async function unpack(manifest, needed) {
  const thumbnails = under("lifelike.thumbnails");
  const missing = [...needed.values()].some((picture) => !existsSync(under(picturePath(picture))));
  if (!missing && existsSync(thumbnails)) return readFileSync(thumbnails);
  const lifelike = trained(manifest).filter(({ group }) => group === "clip art" || group === "3d");
  const own = new Set(lifelike.map(pictureKey));
  const small = [];
  let seen = 0;
  for await (const { key, png } of shardPictures(data)) {
    const picture = needed.get(key);
    if (picture)
      await writeOnce(under(picturePath(picture)), () => sharp(png).flatten({ background: WHITE }).png().toBuffer());
    if (own.has(key)) small.push(await thumbnail(png));
    if (++seen % 5000 === 0) process.stderr.write(`${seen} of ${manifest.length} pictures of the shards\n`);
  }
  writeWhole(thumbnails, Buffer.concat(small));
  return readFileSync(thumbnails);
}

/**
 * Cut-out photographs of things that were only seen drawn.
 * @param {readonly Picture[]} manifest @param {Buffer} thumbnails
 */
async function writeStamps(manifest, thumbnails) {
  const concepts = new Set(trained(manifest).map(({ concept }) => concept));
  const own = [];
  let dropped = 0;
  for (const stamp of stampPhotographs(debian)) {
    if (isNearAny(await thumbnail(stamp.path), thumbnails, NEAR)) {
      dropped++;
      continue;
    }
    const image = `pictures/photo/${stamp.id.replaceAll("/", "-")}.png`;
    await writeOnce(under(image), () =>
      sharp(stamp.path)
        .flatten({ background: WHITE })
        .resize(STAMP_SIDE, STAMP_SIDE, { fit: "contain", background: WHITE })
        .png()
        .toBuffer(),
    );
    own.push({ ...stamp, image });
  }
  const note = `${dropped} like a trained picture left out`;
  const named = own.filter(({ name }) => concepts.has(conceptKey(name)));
  writeClasses(
    "photo",
    named.map(({ image, name }) => [image, name]),
    Object.fromEntries([...new Set(named.map(({ name }) => name))].sort().map((name) => [name, [name]])),
    `of ${own.length} photographs; ${note}`,
  );
  writeClasses(
    "photo-kind",
    own.flatMap(({ image, kind }) => (kind === undefined ? [] : [/** @type {const} */ ([image, kind])])),
    Object.fromEntries(STAMP_KINDS.map(({ kind }) => [kind, [kind]])),
    note,
  );
}

async function writeFashion() {
  const rows = [];
  for (const { label, number, grey } of fashionPictures(debian, FASHION_PICTURES)) {
    const image = `pictures/fashion-mnist/${String(number).padStart(5, "0")}.png`;
    await writeOnce(under(image), () =>
      sharp(grey, { raw: { width: FASHION_SIDE, height: FASHION_SIDE, channels: 1 } })
        .resize(FASHION_DRAWN, FASHION_DRAWN, { kernel: "cubic" })
        .png()
        .toBuffer(),
    );
    rows.push(/** @type {const} */ ([image, label]));
  }
  const labels = Object.fromEntries(FASHION_CLASSES.map(([name = "", ...more]) => [name, [name, ...more]]));
  writeClasses("fashion-mnist", rows, labels, "photographs of clothes");
}

/** Real photographs: whole ones, and what they are cut into. */
async function writePhotographs() {
  let crops = 0;
  for (const { file } of PHOTOGRAPHS) {
    const path = join(debian, file);
    const name = basename(file).replace(/\.\w+$/, "");
    await writeOnce(under(`pictures/photographs/${name}.png`), () =>
      sharp(path)
        .resize(WHOLE, WHOLE, { fit: "outside", withoutEnlargement: true })
        .toColourspace("srgb")
        .removeAlpha()
        .png()
        .toBuffer(),
    );
    crops += await writeCrops(path, `pictures/photograph-crops/${name}`);
  }
  counts.push({ name: "pictures/photographs", pictures: PHOTOGRAPHS.length, classes: "", note: "for reconstruction" });
  counts.push({
    name: "pictures/photograph-crops",
    pictures: crops,
    classes: "",
    note: `for reconstruction, ${CROP} px`,
  });
}

/** Cuts a photograph into squares that do not overlap. @param {string} path @param {string} stem */
async function writeCrops(path, stem) {
  const { data: rgb, info } = await sharp(path)
    .resize(CUT_FROM, CUT_FROM, { fit: "outside", withoutEnlargement: true })
    .toColourspace("srgb")
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  let made = 0;
  for (let top = 0; top + CROP <= height; top += CROP) {
    for (let left = 0; left + CROP <= width; left += CROP) {
      await writeOnce(under(`${stem}-${String(made++).padStart(2, "0")}.png`), () =>
        sharp(rgb, { raw: { width, height, channels } })
          .extract({ left, top, width: CROP, height: CROP })
          .png()
          .toBuffer(),
      );
    }
  }
  return made;
}

/** Begins anew where the data, or this recipe, changed since. */
function checkStamp() {
  const stamp = under("version.txt");
  const version = createHash("sha1")
    .update(`${VERSION} ${readFileSync(join(data, "version.txt"), "utf8")}`)
    .digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") !== version) {
    process.stderr.write(`${out}: made from other data; made again\n`);
    rmSync(out, { recursive: true });
  }
  mkdirSync(out, { recursive: true });
  writeWhole(stamp, version);
}

function summary() {
  const rows = counts.map(({ name, pictures, classes, note }) => `| ${name} | ${pictures} | ${classes} | ${note} |`);
  return ["| benchmark | pictures | classes | |", "|---|---|---|---|", ...rows, ""].join("\n");
}

async function main() {
  if (!existsSync(join(data, "manifest.jsonl"))) throw new Error(`${data}: no manifest there; run data.mjs first`);
  checkStamp();
  /** @type {Picture[]} */
  const manifest = readFileSync(join(data, "manifest.jsonl"), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
  checkSplits(manifest);
  const thumbnails = await unpack(manifest, writeSets(manifest));
  await writeStamps(manifest, thumbnails);
  await writeFashion();
  await writePhotographs();
  writeWhole(under("COUNTS.md"), summary());
  process.stdout.write(summary());
}

await main();
