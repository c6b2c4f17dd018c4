// Pictures with their words as WebDataset shards: `<key>.png` and `<key>.json`, whole or not at all, the same bytes each time.
import { createWriteStream, existsSync, renameSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { pack as createPack } from "tar-stream";
import { writeWhole } from "./files.mjs";
import { render } from "./render.mjs";

/** @typedef {import("./sources.mjs").Thing} Thing */

const AT_ONCE = 6;
const EPOCH = new Date(0);

/** What is said of a picture in its shard and in the manifest. @param {Thing} thing @param {string} licence */
const descriptionOf = ({ source, id, name, concept, captions, hexcode, categories, group }, licence) => ({
  source,
  id,
  name,
  concept,
  captions,
  group,
  ...(hexcode && { hexcode }),
  ...(categories && { categories }),
  licence,
});

/**
 * Writes one shard and the list of what is in it; a shard that is there already is kept.
 * @param {string} path Without `.tar`.
 * @param {readonly Thing[]} things
 * @param {ReadonlyMap<string, string>} licences by source
 * @returns {Promise<{ written: number, bad: string[] }>}
 */
export async function writeShard(path, things, licences) {
  const finished = `${path}.json`;
  if (existsSync(finished) && existsSync(`${path}.tar`)) return { written: 0, bad: [] };
  const pack = createPack();
  const done = pipeline(pack, createWriteStream(`${path}.tar.partial`));
  const lines = [];
  const bad = [];
  for (let start = 0; start < things.length; start += AT_ONCE) {
    const group = things.slice(start, start + AT_ONCE);
    const pictures = await Promise.all(group.map((thing) => drawn(thing)));
    for (const [i, thing] of group.entries()) {
      const picture = pictures[i];
      if (!(picture instanceof Buffer)) {
        bad.push(`${thing.source}:${thing.id}: ${picture ?? "blank"}`);
        continue;
      }
      const key = String(lines.length).padStart(5, "0");
      const about = descriptionOf(thing, licences.get(thing.source) ?? "");
      await add(pack, `${key}.png`, picture);
      await add(pack, `${key}.json`, Buffer.from(JSON.stringify(about)));
      lines.push(about);
    }
  }
  pack.finalize();
  await done;
  renameSync(`${path}.tar.partial`, `${path}.tar`);
  writeWhole(finished, JSON.stringify({ pictures: lines, bad }));
  return { written: lines.length, bad };
}

/** @param {Thing} thing @returns {Promise<Buffer | string | undefined>} a picture, nothing, or what went wrong */
async function drawn(thing) {
  try {
    return await render(thing.bytes());
  } catch (thrown) {
    return String(/** @type {Error} */ (thrown).message).split("\n")[0];
  }
}

/** @param {import("tar-stream").Pack} pack @param {string} name @param {Buffer} bytes */
function add(pack, name, bytes) {
  return new Promise((resolve, reject) => {
    pack.entry({ name, mtime: EPOCH, mode: 0o644 }, bytes, (error) => (error ? reject(error) : resolve(undefined)));
  });
}
