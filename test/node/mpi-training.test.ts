// Data-parallel training through the real command and a real launcher: the losses of one process, and a lost one.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Transpiled, transpile } from "../cli/transpile.ts";
import { enterWorkspace, metricsOf, RUNS } from "../train/workspace.ts";

const LAUNCHER = "mpirun.mpich";
const isThere = existsSync(`/usr/bin/${LAUNCHER}`);
const skipped = isThere ? "" : ` (skipped: there is no ${LAUNCHER})`;

let built: Transpiled;
let leave: () => Promise<void>;
beforeAll(async () => {
  built = await transpile([]);
  leave = await enterWorkspace();
});
afterAll(async () => {
  await leave();
  await built.remove();
});

const main = () => path.join(built.folder, "src/cli/main.js");

const EVERY = { log_every: 1, eval_every: 3, checkpoint_every: 3, data: { train: "pictures", eval: "pictures" } };
const CASES = {
  toklip: { ...RUNS.toklip, ...EVERY, loss: { token_distillation: 10 }, part_size: 2, steps: 5 },
  teacher: { ...RUNS.teacher, ...EVERY, steps: 5 },
  vq: { ...RUNS.vq, ...EVERY, codebook: { patience: 2, revive_every: 2 }, steps: 5 },
} as const;

function commandOf(kind: string, out: string): string[] {
  return [main(), "train", kind, "--config", `${kind}.json`, "--out", out, "--quiet"];
}

describe.skipIf(!isThere)(`two processes${skipped}`, () => {
  test.each(Object.entries(CASES))("have the losses of one that trains a %s", async (kind, config) => {
    await writeFile(`${kind}.json`, JSON.stringify(config));
    execFileSync(process.execPath, commandOf(kind, `${kind}-1`));
    const said = execFileSync(LAUNCHER, ["-n", "2", process.execPath, ...commandOf(kind, `${kind}-2`)], {
      encoding: "utf8",
    });
    expect(said.trim().split("\n")).toHaveLength(1); // the first process speaks for both
    const [one, two] = [await metricsOf(`${kind}-1`), await metricsOf(`${kind}-2`)];
    expect(two.map(({ step }) => step)).toEqual(one.map(({ step }) => step));
    for (const [i, { loss, evaluation }] of one.entries()) {
      const [expected, got] = [loss ?? evaluation!.loss!, two[i]!.loss ?? two[i]!.evaluation!.loss!];
      expect(Math.abs(got / expected - 1), `line ${i}`).toBeLessThan(1e-5);
    }
  });

  test("end together when one is lost, and leave a checkpoint to go on from", async () => {
    const optimizer = { learning_rate: 1e-3, schedule: "constant" };
    const config = { ...CASES.teacher, optimizer, steps: 100_000, checkpoint_every: 2, eval_every: 0 };
    await writeFile("teacher.json", JSON.stringify(config));
    const child = spawn(LAUNCHER, ["-n", "2", process.execPath, ...commandOf("teacher", "lost")]);
    let heard = "";
    child.stderr.on("data", (text: Buffer) => {
      heard += text.toString();
    });
    while (!existsSync("lost/checkpoints/step-00000004/manifest.json")) await new Promise((go) => setTimeout(go, 50));
    process.kill(await oneRank(child), "SIGKILL");
    const [code] = (await once(child, "exit")) as [number | null];
    expect(code).not.toBe(0);
    expect(heard).toMatch(
      /toklip: ranks? [01].* lost at step \d+; resume from lost\/checkpoints\/step-\d+ \[PEER_LOST\]/,
    );
    const last = Number(heard.match(/step-0*(\d+) \[PEER_LOST\]/)![1]!);
    expect(last).toBeGreaterThanOrEqual(4);
    const more = ["--resume", "--set", `steps=${last + 6}`];
    execFileSync(LAUNCHER, ["-n", "2", process.execPath, ...commandOf("teacher", "lost"), ...more]);
    expect((await metricsOf("lost")).at(-1)!.step).toBe(last + 6);
  });
});

/** A process of the training that is not the launcher. */
async function oneRank(launcher: ChildProcess): Promise<number> {
  const all = execFileSync("ps", ["-eo", "pid,args"], { encoding: "utf8" }).split("\n");
  const ranks = all.filter((line) => line.includes(main()) && !line.includes(LAUNCHER) && line.includes("--out lost"));
  const pids = ranks.map((line) => Number.parseInt(line, 10)).filter((pid) => pid !== launcher.pid);
  return pids.at(-1)!;
}
