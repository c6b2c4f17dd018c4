import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { bundledFile } from "../../src/node/bundled-file.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { BUNDLED_FILES, DEFAULT_MODEL } from "../../src/pipelines/bundled-files.ts";

const root = mkdtempSync(join(tmpdir(), "toklip-package-"));
afterAll(() => rmSync(root, { recursive: true }));
const there = pathToFileURL(`${root}/`);

describe("the bundled files", () => {
  test("are found in the package by their names", () => {
    for (const [name, file] of Object.entries(BUNDLED_FILES)) {
      expect(() => bundledFile(name, there)).toThrow(
        expect.objectContaining({ code: "FILE_NOT_FOUND", message: expect.stringContaining(`${name}: `) }),
      );
      mkdirSync(dirname(join(root, file)), { recursive: true });
      writeFileSync(join(root, file), "");
      expect(bundledFile(name, there)).toBe(join(root, file));
    }
  });

  test("do not take the names of others", () => {
    for (const name of ["", "./toklip-mini", "toklip-mini/", "toklip-mini/../x", "constructor", "a/b/c.pt"]) {
      expect(bundledFile(name, there)).toBeUndefined();
    }
  });

  test("hold the default model, whatever lies in the current folder", async () => {
    const before = process.cwd();
    process.chdir(mkdtempSync(join(root, "elsewhere-")));
    try {
      mkdirSync(DEFAULT_MODEL);
      const shipped = new URL(`../../${BUNDLED_FILES[DEFAULT_MODEL]}`, import.meta.url).pathname;
      const located = nodePlatform.locate(DEFAULT_MODEL, { download: false });
      if (existsSync(shipped)) expect(await located).toBe(shipped);
      else await expect(located).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
    } finally {
      process.chdir(before);
    }
  });
});
