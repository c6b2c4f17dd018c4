/** Pictures written as files: an interface only, the platform brings it in. */
import type { Image } from "./image.ts";

/** How a platform makes picture files. */
export interface PictureWriter {
  /** The picture as a PNG file. */
  encodePng(image: Image): Promise<Uint8Array>;
  /** A drawing as a PNG file. */
  renderSvg(svg: string): Promise<Uint8Array>;
}
