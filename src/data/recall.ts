/**
 * What an earlier look at a picture left: where it is enough, the picture is neither read nor decoded.
 * What the bytes mean is the affair of whoever keeps them; see `train/feature-cache.ts`.
 */
import { crc32c } from "../files/crc32c.ts";
import { type DataFiles, isAddress } from "./data-files.ts";
import type { Sample } from "./dataset.ts";

/** A memory of pictures. */
export interface PictureRecall {
  /** Says what the keys are keys of, and what is made of the pictures: data set and crop. */
  readonly scope: string;
  /** What is known of a picture by its full name; undefined where nothing is. */
  find(name: string): Promise<Uint8Array | undefined>;
}

/** A picture of a batch. */
export interface RecalledPicture {
  /** The scope, the sample's key, its version, and where something is random the seed: no other picture has this name. */
  readonly name: string;
  /** What is known of it. Then its pixels in the batch are zeros. */
  readonly known?: Uint8Array;
}

/**
 * Looks a sample up.
 * @param seed of the random numbers of its augmentation; absent where nothing is random
 * @throws what `Sample.version` throws, FILE_NOT_FOUND for a picture that is gone
 */
export async function recallSample(recall: PictureRecall, sample: Sample, seed?: number): Promise<RecalledPicture> {
  const parts = [recall.scope, sample.key, (await sample.version?.()) ?? ""];
  const name = (seed === undefined ? parts : [...parts, `seed ${seed}`]).join("\n");
  const known = await recall.find(name);
  return { name, ...(known && { known }) };
}

/** The version of a picture whose bytes are at hand. */
export function bytesVersion(bytes: Uint8Array): string {
  return `${bytes.byteLength} bytes, crc32c ${crc32c(bytes)}`;
}

/** The version of a picture that is named by a path or an address, see `readPicture`. @throws FILE_NOT_FOUND */
export async function pictureVersion(files: DataFiles, folder: string, name: string): Promise<string> {
  return isAddress(name) ? name : `${name}, ${await files.stamp(files.resolve(folder, name))}`;
}
