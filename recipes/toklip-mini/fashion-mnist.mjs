// Fashion-MNIST's test pictures (MIT): photographs of clothes, grey, 28 px, on black; here on white.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

export const FASHION_SIDE = 28;

/** Class by number, with the words for it. */
export const FASHION_CLASSES = [
  ["t-shirt", "top"],
  ["trousers", "pants"],
  ["pullover", "sweater"],
  ["dress"],
  ["coat"],
  ["sandal"],
  ["shirt"],
  ["sneaker", "running shoe"],
  ["bag", "handbag"],
  ["ankle boot", "boot"],
];

/** An IDX file: magic, counts, bytes: the bytes. @param {string} path @param {number} dimensions */
function idx(path, dimensions) {
  const bytes = gunzipSync(readFileSync(path));
  if (bytes.readUInt32BE(0) !== 0x800 + dimensions)
    throw new Error(`${path}: not an IDX file of ${dimensions} dimensions`);
  return bytes.subarray(4 + 4 * dimensions);
}

/**
 * The first test pictures of each class: grey levels, dark on white.
 * @param {string} debian The folder where Debian's packages are unpacked.
 * @param {number} each How many of a class.
 * @returns {{ number: number, label: string, grey: Uint8Array }[]}
 */
export function fashionPictures(debian, each) {
  const folder = join(debian, "dataset-fashion-mnist/usr/share/datasets/fashion-mnist");
  const values = idx(join(folder, "t10k-images-idx3-ubyte.gz"), 3);
  const classes = idx(join(folder, "t10k-labels-idx1-ubyte.gz"), 1);
  const size = FASHION_SIDE ** 2;
  const taken = FASHION_CLASSES.map(() => 0);
  const pictures = [];
  for (const [number, own] of classes.entries()) {
    taken[own] = (taken[own] ?? 0) + 1;
    if ((taken[own] ?? 0) > each) continue;
    const grey = values.subarray(number * size, (number + 1) * size).map((level) => 255 - level);
    pictures.push({ number, label: FASHION_CLASSES[own]?.[0] ?? "", grey });
  }
  return pictures;
}
