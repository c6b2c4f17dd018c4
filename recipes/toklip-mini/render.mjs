// SVG, WebP or PNG -> a square PNG with its transparency: the trainer puts colours behind it.
import sharp from "sharp";
import { withViewBox } from "./svg-page.mjs";

/** The side of rendered pictures: a little more than the model reads, so that crops lose nothing. */
export const RENDERED_SIDE = 144;
const MOST_PIXELS = 64e6;
const BLANK = 3;
/** How much larger than the picture a sheet of paper is drawn. */
const SHEET = 3;
const TRANSPARENT = { r: 255, g: 255, b: 255, alpha: 0 };

/**
 * @param {Buffer} bytes
 * @returns {Promise<Buffer | undefined>} nothing when the picture is blank
 */
export async function render(bytes) {
  const isVector = /^(?:\u00ef\u00bb\u00bf)?\s*</.test(bytes.subarray(0, 400).toString("latin1"));
  const input = isVector ? Buffer.from(withViewBox(bytes.toString("utf8"))) : bytes;
  // Old clip art lies on a sheet of paper, drawn larger here since what is empty around it is cut away.
  const isSheet = isVector && !input.equals(bytes);
  const natural = isVector ? await sharp(input, { limitInputPixels: false }).metadata() : undefined;
  const longest = Math.max(natural?.width ?? RENDERED_SIDE, natural?.height ?? RENDERED_SIDE, 1);
  // A vector picture is drawn at its final size, not drawn small and enlarged.
  const density = Math.min(2400, Math.max(1, Math.ceil((72 * RENDERED_SIDE * (isSheet ? SHEET : 1)) / longest)));
  const drawn = sharp(input, { limitInputPixels: MOST_PIXELS, ...(isVector && { density }) });
  const { data, info } = await (isSheet ? drawn.trim({ background: TRANSPARENT, threshold: 1 }) : drawn)
    .resize(RENDERED_SIDE, RENDERED_SIDE, { fit: "contain", background: TRANSPARENT })
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
