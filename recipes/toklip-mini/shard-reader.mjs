// The pictures of shards that `shards.mjs` wrote, with what is said of them.
import { createReadStream, readdirSync } from "node:fs";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { extract as createExtract } from "tar-stream";
import { pictureKey } from "./benchmark-sets.mjs";

/**
 * Every picture of every shard, in the order of the manifest, as it lies there: a PNG of 144 px with its transparency.
 * @param {string} folder
 * @returns {AsyncGenerator<{ key: string, png: Buffer }>}
 */
export async function* shardPictures(folder) {
  const shards = readdirSync(folder).filter((name) => name.endsWith(".tar"));
  for (const shard of shards.sort()) {
    const entries = createReadStream(join(folder, shard)).pipe(createExtract());
    let png = Buffer.alloc(0);
    for await (const entry of entries) {
      const bytes = await buffer(entry);
      if (entry.header.name.endsWith(".png")) png = bytes;
      else yield { key: pictureKey(JSON.parse(bytes.toString("utf8"))), png };
    }
  }
}
