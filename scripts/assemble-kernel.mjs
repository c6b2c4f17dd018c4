// Assembles each kernel's .wat into a -bytes.ts beside it, which is committed, so that neither building nor using the
// package needs an assembler. Tests assemble them anew and compare.
//   node scripts/assemble-kernel.mjs
import { readFileSync, writeFileSync } from "node:fs";
import loadWabt from "wabt";

const KERNELS = { "train/optimizer-kernel": "KERNEL_BYTES", "image/convolve-kernel": "CONVOLVE_KERNEL_BYTES" };

const wabt = await loadWabt();
for (const [path, constant] of Object.entries(KERNELS)) {
  const file = new URL(`../src/${path}`, import.meta.url).pathname;
  const name = path.split("/")[1];
  const module = wabt.parseWat(`${name}.wat`, readFileSync(`${file}.wat`, "utf8"), { simd: true });
  module.validate();
  const { buffer } = module.toBinary({});
  /** @type {string[]} */
  const lines = [];
  for (const byte of buffer) {
    const last = lines.at(-1);
    if (last !== undefined && `${last} ${byte},`.length <= 120) lines[lines.length - 1] = `${last} ${byte},`;
    else lines.push(`  ${byte},`);
  }
  writeFileSync(
    `${file}-bytes.ts`,
    `// Made by scripts/assemble-kernel.mjs from ${name}.wat: do not edit.

/** The WebAssembly module of \`${name}.wat\`. */
export const ${constant}: Uint8Array<ArrayBuffer> = Uint8Array.from([
${lines.join("\n")}
]);
`,
  );
}
