/** Cutting a rectangle out of a picture. */
import { ToklipError } from "../core/index.ts";
import { type Box, type Image, samplesOf } from "./image.ts";

/**
 * The pixels of `box`, in the same mode. Gives `image` itself where the box is the whole of it.
 * @throws ARGUMENT_INVALID when the box is empty or not inside the picture.
 */
export function cropImage(image: Image, box: Box): Image {
  const { left, top, width, height } = box;
  if (!isInside(box, image)) {
    throw new ToklipError(
      "ARGUMENT_INVALID",
      `crop: ${width}x${height} at (${left}, ${top}) is not inside ${image.width}x${image.height}`,
    );
  }
  if (width === image.width && height === image.height) return image;
  const samples = samplesOf(image);
  const rowLength = width * samples;
  const data = sameKind(image.data, height * rowLength);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * image.width + left) * samples;
    data.set(image.data.subarray(start, start + rowLength), y * rowLength);
  }
  return { ...image, width, height, data };
}

/** A zeroed array of the same element type. */
export function sameKind(data: Image["data"], length: number): Uint8Array | Int32Array {
  return data instanceof Int32Array ? new Int32Array(length) : new Uint8Array(length);
}

function isInside({ left, top, width, height }: Box, image: Image): boolean {
  return (
    [left, top, width, height].every(Number.isSafeInteger) &&
    left >= 0 &&
    top >= 0 &&
    width >= 1 &&
    height >= 1 &&
    left + width <= image.width &&
    top + height <= image.height
  );
}
