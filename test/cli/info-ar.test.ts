// `toklip info` on checkpoints of the unified transformer.
import { writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nodeEngine } from "../../src/cli/engine.ts";
import { tinyUnified, writeUnified } from "../tiny-unified.ts";
import { enterFolder, toklip } from "./harness.ts";

const { openCheckpoint, findConfig, findGptConfig, findArConfig } = nodeEngine;
const info = (...args: string[]) =>
  toklip(["info", ...args], { engine: { openCheckpoint, findConfig, findGptConfig, findArConfig } });

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
});
afterEach(() => leave());

describe("toklip info of a unified transformer", () => {
  it("says how large it is, what it reads and writes, and how pictures enter", async () => {
    await writeUnified("ar.safetensors");
    const { status, stdout } = await info("ar.safetensors");
    expect(status).toBe(0);
    expect(stdout.slice(stdout.indexOf("config"), stdout.indexOf("dtypes"))).toMatchInlineSnapshot(`
      "config                       toklip
      model                        unified transformer: 2 blocks of 32, 4 heads over 2 of keys and values; reads and writes 300 text ids and 4x4 ids of 512; pictures enter by toklip; context of 48
      parameters                   71.1 k in 21 tensors
        picture entry              3.14 k
        id embeddings              26.2 k
        blocks                     15.5 k
        output layer               26.3 k
      "
    `);
  });

  it("holds a configuration beside the file, or one that is asked for, against the tensors", async () => {
    const config = tinyUnified();
    await writeUnified("ar.safetensors", config, {});
    expect((await info("ar.safetensors")).stdout).toMatch(/^problem .*no configuration is in it or beside it/m);
    await writeFile("ar.json", JSON.stringify(config.source));
    expect((await info("ar.safetensors")).stdout).toMatch(/^model +unified transformer: 2 blocks of 32/m);
    await writeFile("deep.json", JSON.stringify({ ...config.source, depth: 3 }));
    const other = await info("ar.safetensors", "--config", "deep.json");
    expect([other.status, other.stdout]).toEqual([0, expect.stringMatching(/^problem .*layers\.2\./m)]);
    expect((await info("ar.safetensors", "--config", "nowhere.json")).stderr).toContain("[CONFIG_UNKNOWN]");
  });
});
