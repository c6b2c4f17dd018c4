import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createScratchFile } from "../../src/node/scratch-file.ts";
import { codeOf } from "../files/value-or-error.ts";

test("a scratch file gives back what was appended, from any place, and leaves nothing", async () => {
  const folder = mkdtempSync(join(tmpdir(), "toklip-scratch-"));
  const file = await createScratchFile(join(folder, "made/for/it"));
  await file.append(Uint8Array.of(1, 2, 3));
  await file.append(new Uint8Array(0));
  await file.append(Uint8Array.of(4, 5));
  expect([...(await file.read(2, 3))]).toEqual([3, 4, 5]);
  expect([...(await file.read(0, 1))]).toEqual([1]);
  expect(await codeOf(() => file.read(3, 3))).toBe("FILE_READ_FAILED");
  if (process.platform !== "win32") expect(readdirSync(join(folder, "made/for/it"))).toEqual([]);
  await file.close();
  expect(readdirSync(join(folder, "made/for/it"))).toEqual([]);
  rmSync(folder, { recursive: true });
  expect(await codeOf(() => createScratchFile("/proc/nowhere"))).toBe("FILE_WRITE_FAILED");
});
