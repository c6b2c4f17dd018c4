// SVG, WebP or PNG -> a square PNG with its transparency: the trainer puts colours behind it.
import sharp from "sharp";

/** The side of rendered pictures: a little more than the model reads, so that crops lose nothing. */
export const RENDERED_SIDE = 144;
const MOST_PIXELS = 64e6;
const BLANK = 3;

/**
 * @param {Buffer} bytes
 * @returns {Promise<Buffer | undefined>} nothing when the picture is blank
 */
export async function render(bytes) {
  const isVector = bytes.subarray(0, 400).toString("latin1").includes("<");
  const natural = isVector ? await sharp(bytes, { limitInputPixels: MOST_PIXELS }).metadata() : undefined;
  const longest = Math.max(natural?.width ?? RENDERED_SIDE, natural?.height ?? RENDERED_SIDE, 1);
  // A vector picture is drawn at its final size, not drawn small and enlarged.
  const density = Math.min(2400, Math.max(1, Math.ceil((72 * RENDERED_SIDE) / longest)));
  const { data, info } = await sharp(bytes, { limitInputPixels: MOST_PIXELS, ...(isVector && { density }) })
    .resize(RENDERED_SIDE, RENDERED_SIDE, { fit: "contain", background: { r: 255, g: 255, b: 255, alpha: 0 } })
    .toColourspace("srgb")
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  if (isBlank(data)) return undefined;
  return sharp(data, { raw: { width: info.width, height: info.height, channels: 4 } })
    .png({ compressionLevel: 6, adaptiveFiltering: false })
    .toBuffer();
}

/** Whether nothing can be seen on white. @param {Buffer} rgba */
function isBlank(rgba) {
  let visible = 0;
  for (let i = 0; i < rgba.length; i += 4) {
    const alpha = (rgba[i + 3] ?? 0) / 255;
    const away = Math.max(255 - (rgba[i] ?? 0), 255 - (rgba[i + 1] ?? 0), 255 - (rgba[i + 2] ?? 0)) * alpha;
    if (away > 24) visible++;
  }
  return visible < (BLANK * rgba.length) / 4 / 1000;
}
