/** Runs that are killed (SIGKILL) at any moment and resumed end as the run that never was. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Random } from "../../src/core/index.ts";
import { type Transpiled, transpile } from "../cli/transpile.ts";

const KILLS = 20;
const STEPS = 90;

let built: Transpiled;
let folder: string;
beforeAll(async () => {
  built = await transpile(["kill-child", "toy-run"].map((name) => `test/train/${name}.ts`));
  folder = await mkdtemp(path.join(tmpdir(), "toklip-kill-"));
});
afterAll(async () => {
  await built.remove();
  await rm(folder, { recursive: true, force: true });
});

function begin(run: string): ChildProcess {
  const args = [path.join(built.folder, "test/train/kill-child.js"), path.join(folder, run), String(STEPS)];
  return spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
}

/** Waits until the child tells of a step that is wanted, by its number and how many it has told of; or until it ends. */
async function stepped(child: ChildProcess, wanted: (step: number, count: number) => boolean): Promise<void> {
  let count = 0;
  for await (const line of createInterface({ input: child.stdout! })) {
    if (wanted(Number(line), ++count)) return;
  }
}

/** All files of a run but the event files, which are a session's own, and the lock. The toy's clock stands still. */
async function contentOf(run: string): Promise<Map<string, string>> {
  const content = new Map<string, string>();
  const root = path.join(folder, run);
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const name = path.relative(root, path.join(entry.parentPath, entry.name));
    if (!entry.isFile() || name.startsWith("events.") || name === ".lock") continue;
    content.set(name, (await readFile(path.join(root, name))).toString("base64"));
  }
  return content;
}

const unfinished = (names: Iterable<string>): boolean => {
  const all = [...names];
  const folders = new Set(all.filter((name) => name.startsWith("checkpoints/")).map((name) => path.dirname(name)));
  return (
    all.some((name) => name.endsWith(".tmp")) || [...folders].some((each) => !all.includes(`${each}/manifest.json`))
  );
};

it(`is the same run after ${KILLS} kills`, async () => {
  expect(await once(begin("whole"), "close")).toEqual([0, null]);
  const random = new Random(Date.now());
  // On a quick machine a run may come to its end between kills; then another one is begun.
  const runs = ["killed-0"];
  let [kills, torn, resumed] = [0, 0, 0];
  while (kills < KILLS) {
    const run = runs.at(-1)!;
    const child = begin(run);
    const closed = once(child, "close");
    // Every other time where a checkpoint is being written, else anywhere.
    const saves = kills % 2 === 0;
    await stepped(child, saves ? (step) => step % 3 === 0 : (_, count) => count > random.integer(8));
    await new Promise((resolve) => setTimeout(resolve, (saves ? 4 : 20) * random.uniform()));
    child.kill("SIGKILL");
    const [status] = await closed;
    if (status !== null) {
      expect(status).toBe(0);
      runs.push(`killed-${runs.length}`);
      continue;
    }
    kills++;
    const names = [...(await contentOf(run)).keys()];
    if (unfinished(names)) torn++;
    if (names.some((name) => name.endsWith("manifest.json"))) resumed++;
  }
  expect(torn, "kills that fell into the writing of a file").toBeGreaterThan(0);
  expect(resumed, "kills that left a checkpoint to go on from").toBeGreaterThan(0);
  expect(await once(begin(runs.at(-1)!), "close")).toEqual([0, null]);
  const whole = await contentOf("whole");
  for (const run of runs) {
    const killed = await contentOf(run);
    expect([...killed.keys()].sort()).toEqual([...whole.keys()].sort());
    for (const [name, bytes] of whole) {
      if (!name.startsWith("loss-curve")) expect(killed.get(name), name).toBe(bytes); // it names the folder
    }
  }
}, 120_000);
