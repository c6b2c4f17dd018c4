// The page of an SVG. Old clip art says how wide it is, but not which part of the plane is seen (`viewBox`): librsvg then draws
// at the scale of the file whatever the density, and what does not fit is cut off.

/** A unit in CSS pixels. */
const UNITS = /** @type {Record<string, number>} */ ({
  "": 1,
  px: 1,
  pt: 96 / 72,
  pc: 16,
  mm: 96 / 25.4,
  cm: 96 / 2.54,
  in: 96,
});

/** A length of the root element in pixels, if it has one. @param {string} root @param {"width" | "height"} name */
function lengthOf(root, name) {
  const match = new RegExp(`\\s${name}\\s*=\\s*["']\\s*([\\d.]+)\\s*(px|pt|pc|mm|cm|in|)\\s*["']`).exec(root);
  return match ? Number(match[1]) * (UNITS[match[2] ?? ""] ?? 1) : 0;
}

/** The SVG with a `viewBox`: its page, where it had none. @param {string} svg */
export function withViewBox(svg) {
  const root = /<(?:\w+:)?svg\b[^>]*>/.exec(svg);
  if (!root || /\sviewBox\s*=/.test(root[0])) return svg;
  const [width, height] = [lengthOf(root[0], "width"), lengthOf(root[0], "height")];
  if (width === 0 || height === 0) return svg;
  const at = root.index + root[0].search(/\/?>$/);
  return `${svg.slice(0, at)} viewBox="0 0 ${width} ${height}"${svg.slice(at)}`;
}
