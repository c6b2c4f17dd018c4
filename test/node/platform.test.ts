// Where files that belong to a checkpoint are looked for.
import { mkdirSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nodePlatform } from "../../src/node/platform.ts";
import { enterFolder } from "../cli/harness.ts";

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
  mkdirSync("model");
  writeFileSync("tokenizer.json", "another model's");
});
afterEach(() => leave());

/** What is in the file that is found. */
async function found(names: readonly string[], beside: string): Promise<string | undefined> {
  const file = await nodePlatform.findFile(names, beside);
  if (file === undefined) return undefined;
  const bytes = await file.read(0, file.byteLength);
  await file.close?.();
  return Buffer.from(bytes).toString();
}

describe("a file that belongs to a checkpoint", () => {
  it("is looked for beside it, whatever lies in the working folder", async () => {
    expect(await found(["tokenizer.json"], "model/a.safetensors")).toBeUndefined();
    writeFileSync("model/tokenizer.json", "its own");
    expect(await found(["tokenizer.json"], "model/a.safetensors")).toBe("its own");
    expect(await found(["none.json", "tokenizer.json"], "model/a.safetensors")).toBe("its own");
  });

  it("is found beside a checkpoint of the working folder, and where the user says", async () => {
    expect(await found(["tokenizer.json"], "a.safetensors")).toBe("another model's");
    expect(await found(["tokenizer.json"], "")).toBe("another model's");
    expect(await found(["model/none.json"], "")).toBeUndefined();
  });
});
