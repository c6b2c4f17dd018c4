// Files that are there whole or not at all, in an order that is always the same.
import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Everything below a folder, sorted. @param {string} folder @returns {string[]} */
export function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((file) => join(folder, file))
    .sort();
}

/** @param {string} path @param {string | Uint8Array} content */
export function writeWhole(path, content) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.partial`, content);
  renameSync(`${path}.partial`, path);
}

/** Writes a file that takes work to make, unless it is there. @param {string} path @param {() => Promise<Uint8Array>} make */
export async function writeOnce(path, make) {
  if (!existsSync(path)) writeWhole(path, await make());
}

/** A table with a header row. @param {readonly string[]} columns @param {readonly (readonly string[])[]} rows */
export function csv(columns, rows) {
  const field = (/** @type {string} */ text) =>
    /[",\n\r]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  return [columns, ...rows].map((row) => `${row.map(field).join(",")}\n`).join("");
}
