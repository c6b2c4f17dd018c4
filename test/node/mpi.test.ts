/** Real processes under the real launchers, of each MPI that this machine has. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, readdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { communicatorFromEnvironment } from "../../src/node/mpi.ts";
import { loadMpi } from "../../src/node/mpi-library.ts";
import { singleProcess } from "../../src/train/communicator.ts";
import { type Transpiled, transpile } from "../cli/transpile.ts";

/** Debian's names, the options that a small machine needs, and how a rank fails in the tests with it. */
const LAUNCHERS = {
  // MPICH's launcher would kill the others at once: without, they must end by themselves.
  "mpirun.mpich": {
    options: ["-disable-auto-cleanup"],
    failures: ["throw", "throw-while-waiting", "exit-while-waiting"],
  },
  "mpirun.openmpi": { options: ["--oversubscribe", "--bind-to", "none"], failures: ["throw"] },
};
type Launcher = keyof typeof LAUNCHERS;
/** Rounding to float32 once for each addition, each at most 2^-24 of the sum of magnitudes. */
const ROUNDING = 2 ** -24;

function isCommand(name: string): boolean {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

let built: Transpiled;
beforeAll(async () => {
  built = await transpile(["test/node/mpi-child.ts"]);
});
afterAll(() => built.remove());

/** The processes of this test that run: ranks and lookouts. */
const running = () =>
  readdirSync("/proc").filter((id) => {
    try {
      return (
        /^\d+$/.test(id) &&
        readFileSync(`/proc/${id}/cmdline`, "utf8").startsWith(`${process.execPath}\0${built.folder}`)
      );
    } catch {
      return false;
    }
  });
afterEach(async () => {
  for (let i = 0; i < 50 && running().length > 0; i++) await new Promise((resolve) => setTimeout(resolve, 100));
  const left = running();
  for (const id of left) process.kill(Number(id), "SIGKILL");
  expect(left, "processes that do not end").toEqual([]);
});

interface Run {
  readonly launcher: ChildProcess;
  /** What has come so far on standard output, and on standard error. */
  readonly text: { stdout: string; stderr: string };
  readonly ended: Promise<{ status: number | null; stdout: string; stderr: string }>;
}

function begin(
  launcher: Launcher,
  processes: number,
  task: string,
  argument = "",
  options: readonly string[] = LAUNCHERS[launcher].options,
): Run {
  const child = join(built.folder, "test/node/mpi-child.js");
  const args = [...options, "-n", String(processes), process.execPath, child, task, argument];
  const env = { ...process.env, OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1" };
  const run = spawn(launcher, args, { stdio: ["ignore", "pipe", "pipe"], env });
  const text = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    run[stream].setEncoding("utf8").on("data", (chunk) => {
      text[stream] += chunk;
    });
  }
  return { launcher: run, text, ended: once(run, "close").then(([status]) => ({ status, ...text })) };
}

/** The lines of JSON that the ranks wrote, by rank. */
function records(stdout: string): Record<string, unknown>[] {
  const lines = stdout
    .split("\n")
    .slice(0, -1)
    .filter((line) => line.startsWith("{"));
  return lines.map((line) => JSON.parse(line)).sort((a, b) => a.rank - b.rank);
}

/** The process of each rank, as soon as all have taken some steps. */
async function processIds({ text, ended }: Run, processes: number): Promise<number[]> {
  let over = false;
  void ended.then(() => {
    over = true;
  });
  while (records(text.stdout).length < processes) {
    if (over) throw new Error(`the run ended too early: ${text.stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return records(text.stdout).map(({ pid }) => pid as number);
}

/** The line that tells of a loss. Others that ended because of the first may be named with it. */
const lossOf = (rank: number) =>
  new RegExp(
    `^toklip: ranks? ([\\d, ]*, )?${rank}(, [\\d, ]*)? (was|were) lost at step \\d+; resume from checkpoints/step-\\d+0 \\[PEER_LOST\\]$`,
    "m",
  );

for (const launcher of Object.keys(LAUNCHERS) as Launcher[]) {
  describe.skipIf(!isCommand(launcher))(`${launcher} (skipped where it is not installed)`, () => {
    it.each([
      [2, "large"],
      [3, ""],
    ])("%d processes sum, gather, broadcast and wait for one another", async (size, argument) => {
      const { status, stdout, stderr } = await begin(launcher, size, "exchange", argument).ended;
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      const ranks = Array.from({ length: size }, (_, rank) => rank);
      const results = records(stdout);
      expect(results.map(({ rank }) => rank)).toEqual(ranks);
      for (const { rank, sums, ticks, ...result } of results) {
        expect(sums, "the same bits in each rank").toEqual(results[0]!.sums);
        for (const { error } of sums as { error: number }[]) expect(error).toBeLessThanOrEqual((size - 1) * ROUNDING);
        if (rank === 0) expect(ticks, "timers fire while a process waits").toBeGreaterThan(5);
        expect(result).toEqual({
          size,
          localSize: size,
          part: [1, 2 * size, 3 * size, 4],
          integers: ranks.flatMap((other) => [other, -7]),
          floats: ranks.map((other) => other + 0.5),
          large: true,
          unequal: `allGather: the ranks' arrays have lengths ${ranks.join(", ")} [SHAPE_MISMATCH]`,
          text: "Schritt 1: Äpfel, 林檎, 🍎\n",
          empty: "",
          trap: "RuntimeError",
        });
      }
      expect(stdout.match(/^the communicator has been closed \[DISPOSED\]$/gm)).toHaveLength(size);
    });

    it.each([0, 2])("ends everything, and says where, when rank %d of 3 is killed at any moment", async (victim) => {
      const run = begin(launcher, 3, "run");
      const ids = await processIds(run, 3);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 200));
      const killed = performance.now();
      process.kill(ids[victim]!, "SIGKILL");
      const { status, stderr } = await run.ended;
      expect(stderr).toMatch(lossOf(victim));
      expect(stderr.match(/ (was|were) lost /g)).toHaveLength(1);
      expect(status).toBeGreaterThan(0);
      expect(performance.now() - killed).toBeLessThan(5_000);
    });

    it.each(LAUNCHERS[launcher].failures)("ends everything when a rank fails: %s", async (task) => {
      const { status, stderr } = await begin(launcher, 2, task).ended;
      expect(stderr).toMatch(lossOf(1));
      if (task.startsWith("throw")) expect(stderr).toContain("Error: the disk is full");
      expect(status).toBeGreaterThan(0);
    });

    it("refuses a library that is not the launcher's", async () => {
      const library = launcher.endsWith("mpich") ? "libmpi.so.40" : "libmpich.so.12";
      const { status, stderr } = await begin(launcher, 2, "library", library).ended;
      expect(stderr).toMatch(/MPI_UNAVAILABLE/);
      expect(status).toBeGreaterThan(0);
    });
  });
}

describe.skipIf(!isCommand("mpirun.mpich"))(
  "mpirun.mpich with its own ways (skipped where it is not installed)",
  () => {
    it("an interruption reaches every rank, and lets all of them leave in order", async () => {
      const run = begin("mpirun.mpich", 2, "run", "", []);
      await processIds(run, 2);
      run.launcher.kill("SIGINT");
      const { status, stdout, stderr } = await run.ended;
      expect(stdout.match(/^rank \d left in order$/gm)).toHaveLength(2);
      expect(stderr).not.toContain("lost");
      expect(status).toBe(0);
    });

    it("a loss is told though the launcher kills the others at once", async () => {
      const run = begin("mpirun.mpich", 3, "run", "", []);
      const [, victim] = await processIds(run, 3);
      process.kill(victim!, "SIGKILL");
      const { status, stderr } = await run.ended;
      expect(stderr).toMatch(lossOf(1));
      expect(stderr.match(/ (was|were) lost /g)).toHaveLength(1);
      expect(status).toBeGreaterThan(0);
    });
  },
);

describe("without a launcher", () => {
  it("a process is alone, and needs no MPI", async () => {
    expect(await communicatorFromEnvironment()).toBe(singleProcess);
    const data = Float32Array.of(1, 2);
    await singleProcess.allReduceSum(data);
    expect(await singleProcess.allGather(data)).toEqual(Float32Array.of(1, 2));
    expect(await singleProcess.broadcast("ä")).toBe("ä");
  });

  it("a library that is missing, or is not MPI, is named", async () => {
    await expect(loadMpi("libno-such-mpi.so", "mpich")).rejects.toThrow(/libno-such-mpi\.so: .* \[MPI_UNAVAILABLE\]/);
    await expect(loadMpi("libc.so.6", "mpich")).rejects.toThrow(
      /libc\.so\.6: .*MPI_Get_library_version.* \[MPI_UNAVAILABLE\]/,
    );
  });
});
