// Flat emoji drawn again with black lines around their shapes: with these a model learns that an outlined drawing shows the same thing.

/** A line's width, as a share of the drawing's side. */
const WIDTH = 0.025;
const SHAPES = "path,circle,ellipse,rect,polygon,polyline,line";

/**
 * An SVG whose every shape has a black line around it.
 * @param {Buffer} svg with a `viewBox`
 */
export function outlined(svg) {
  const text = svg.toString("utf8");
  const root = /<svg\b[^>]*>/.exec(text);
  const side = root && /\sviewBox\s*=\s*["'][-\d.e]+[\s,]+[-\d.e]+[\s,]+([\d.e]+)/.exec(root[0]);
  if (!root || !side) throw new Error("an SVG without a viewBox cannot be outlined");
  const line = `stroke:#000;stroke-width:${(Number(side[1]) * WIDTH).toFixed(3)};stroke-linejoin:round;stroke-linecap:round`;
  const at = root.index + root[0].length;
  return Buffer.from(`${text.slice(0, at)}<style>${SHAPES}{${line}}</style>${text.slice(at)}`);
}
