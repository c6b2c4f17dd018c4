// `toklip info` on checkpoints of LlamaGen's GPT.
import { writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nodeEngine } from "../../src/cli/engine.ts";
import { goldenPath } from "../goldens.ts";
import { enterFolder, toklip } from "./harness.ts";

const { openCheckpoint, findConfig, findGptConfig } = nodeEngine;
const info = (name: string, ...args: string[]) =>
  toklip(["info", goldenPath(`ar/${name}.pt`), ...args], { engine: { openCheckpoint, findConfig, findGptConfig } });

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
  await writeFile("gpt.json", JSON.stringify({ n_head: 4, block_size: 16 }));
});
afterEach(() => leave());

describe("toklip info of a GPT", () => {
  it("says what it is and continues, and counts its parts", async () => {
    const { status, stdout } = await info("gpt_c2i", "--config", "gpt.json");
    expect(status).toBe(0);
    expect(stdout.slice(stdout.indexOf("format"), stdout.indexOf("metadata"))).toMatchInlineSnapshot(`
      "format           torch
      size             864 kB
      config           gpt_c2i
      model            LlamaGen's GPT: 3 blocks of 64, 4 heads; continues 10 classes with 4x4 ids of 128
      parameters       214 k in 25 tensors
        condition      704
        id embeddings  8.19 k
        blocks         197 k
        output layer   8.26 k
      dtypes
        f32            214 k
      "
    `);
  });

  it("tells of captions and shared heads", async () => {
    const [t2i, gqa] = await Promise.all(
      ["gpt_t2i", "gpt_c2i_gqa"].map(async (name) =>
        JSON.parse((await info(name, "--config", "gpt.json", "--json")).stdout),
      ),
    );
    expect(t2i).toMatchObject({
      config: "gpt_t2i",
      model:
        "LlamaGen's GPT: 2 blocks of 64, 4 heads; continues captions of up to 8 features of 24 with 4x4 ids of 128",
    });
    expect(gqa.model).toContain("4 heads over 2 of keys and values; continues 10 classes");
  });

  it("shows the file and the problem where its configuration is not known, or another", async () => {
    expect((await info("gpt_c2i")).stdout).toMatch(
      /^problem .*give dim, n_layer and n_head, or a size \[CONFIG_INVALID\]$/m,
    );
    const other = await info("gpt_c2i", "--config", "GPT-L");
    expect([other.status, other.stdout]).toEqual([
      0,
      expect.stringMatching(/^problem .*gpt_c2i\.pt is not a GPT-L: /m),
    ]);
    expect((await info("gpt_c2i", "--config", "nowhere.json")).stderr).toContain("[CONFIG_UNKNOWN]");
  });

  it("takes no other checkpoint for one", async () => {
    const { stdout } = await toklip(["info", goldenPath("tiny/tiny.pt")], {
      engine: { openCheckpoint, findConfig, findGptConfig },
    });
    expect(stdout).toMatch(/^config +tiny$/m);
    expect(stdout).not.toMatch(/^(model|problem)/m);
  });
});
