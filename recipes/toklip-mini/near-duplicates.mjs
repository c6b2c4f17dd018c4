// Pictures that are one drawing: 16 x 16 thumbnails on white that differ by less than a few of 255 levels on average.
import sharp from "sharp";

const SIDE = 16;
const VALUES = SIDE * SIDE * 3;

/** @param {Uint8Array | string} picture Encoded, or its path. @returns {Promise<Buffer>} RGB */
export function thumbnail(picture) {
  return sharp(picture)
    .flatten({ background: "#fff" })
    .resize(SIDE, SIDE, { fit: "contain", background: "#fff" })
    .toColourspace("srgb")
    .removeAlpha()
    .raw()
    .toBuffer();
}

/**
 * Whether one of many thumbnails, one after the other in `others`, differs from `own` by less than `limit` on average.
 * @param {Uint8Array} own @param {Uint8Array} others @param {number} limit of 255 levels
 */
export function isNearAny(own, others, limit) {
  const most = limit * VALUES;
  for (let start = 0; start < others.length; start += VALUES) {
    let sum = 0;
    for (let i = 0; i < VALUES && sum < most; i++) sum += Math.abs((own[i] ?? 0) - (others[start + i] ?? 0));
    if (sum < most) return true;
  }
  return false;
}
