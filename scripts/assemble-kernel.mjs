// Assembles src/train/optimizer-kernel.wat into src/train/optimizer-kernel-bytes.ts, which is committed, so that neither
// building nor using the package needs an assembler. A test assembles it anew and compares.
//   node scripts/assemble-kernel.mjs
import { readFileSync, writeFileSync } from "node:fs";
import loadWabt from "wabt";

const folder = new URL("../src/train/", import.meta.url);
const source = readFileSync(new URL("optimizer-kernel.wat", folder), "utf8");
const module = (await loadWabt()).parseWat("optimizer-kernel.wat", source, { simd: true });
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
  new URL("optimizer-kernel-bytes.ts", folder),
  `// Made by scripts/assemble-kernel.mjs from optimizer-kernel.wat: do not edit.

/** The WebAssembly module of \`optimizer-kernel.wat\`. */
export const KERNEL_BYTES: Uint8Array<ArrayBuffer> = Uint8Array.from([
${lines.join("\n")}
]);
`,
);
