/** As test/train/resume.test.ts, with longer runs and at least twenty kills; about three minutes on two cores. */
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Random } from "../src/core/index.ts";
import { type Transpiled, transpile } from "../test/cli/transpile.ts";
import { expectSame, KILLED_RUNS, makeShards, trainKilled } from "../test/train/killed-runs.ts";
import { enterWorkspace } from "../test/train/workspace.ts";

const KILLS = 8;

let built: Transpiled;
let leave: () => Promise<void>;
beforeAll(async () => {
  built = await transpile([]);
  leave = await enterWorkspace();
  await makeShards();
}, 120_000);
afterAll(async () => {
  await leave();
  await built.remove();
});

const each = Object.keys(KILLED_RUNS);
test.each(each)(`a run of %s is the same after ${KILLS} kills`, { timeout: 900_000 }, async (kind) => {
  const main = path.join(built.folder, "src/cli/main.js");
  const { kills, resumed, runs } = await trainKilled(main, kind, {
    kills: KILLS,
    steps: 40,
    random: new Random(Date.now()),
  });
  expect(kills).toBe(KILLS);
  expect(resumed, "kills that left a checkpoint to go on from").toBeGreaterThan(KILLS / 2);
  await expectSame(kind, runs);
});
