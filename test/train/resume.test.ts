/** Runs of every trainer that are killed at random moments end as those that never were. More kills in test-nightly. */
import path from "node:path";
import { afterAll, beforeAll, it } from "vitest";
import { Random } from "../../src/core/index.ts";
import { type Transpiled, transpile } from "../cli/transpile.ts";
import { expectSame, KILLED_RUNS, makeShards, trainKilled } from "./killed-runs.ts";
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

it.each(Object.keys(KILLED_RUNS))("a run of %s killed three times ends as one that never was", async (kind) => {
  const main = path.join(built.folder, "src/cli/main.js");
  const { runs } = await trainKilled(main, kind, { kills: 3, steps: 14, random: new Random(Date.now()) });
  await expectSame(kind, runs);
});
