/** Runs of every trainer that are killed at random moments, or interrupted, end as those that never were. More kills in test-nightly. */
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../src/core/index.ts";
import { type Transpiled, transpile } from "../cli/transpile.ts";
import { expectSame, interrupt, KILLED_RUNS, makeShards, resume, trainKilled } from "./killed-runs.ts";
import { enterWorkspace } from "./workspace.ts";

let built: Transpiled;
let leave: () => Promise<void>;
beforeAll(async () => {
  built = await transpile([]);
  leave = await enterWorkspace();
  await makeShards();
});
afterAll(async () => {
  await leave();
  await built.remove();
});

describe.each(Object.keys(KILLED_RUNS))("a run of %s", (kind) => {
  const main = () => path.join(built.folder, "src/cli/main.js");

  it("killed three times ends as one that never was", async () => {
    const { runs } = await trainKilled(main(), kind, { kills: 3, steps: 14, random: new Random(Date.now()) });
    await expectSame(kind, runs);
  });

  // One kind of each trainer.
  it.skipIf(kind.includes("-"))(
    "that is interrupted saves, ends with status 130, and goes on to the same end",
    async () => {
      const run = `${kind}-interrupted`;
      const { status, stderr } = await interrupt(main(), kind, run, 4);
      expect(status).toBe(130);
      expect(stderr).toMatch(
        /^toklip: training: interrupted after step (\d+) of 14; saved in (.*)\/checkpoints\/step-0+\1, --resume continues \[ABORTED\]; run it again\n$/,
      );
      await resume(main(), kind, run);
      await expectSame(kind, [run]);
    },
  );
});
