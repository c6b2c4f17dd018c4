import { describe, expect, it } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { eventFileHeader, restartRecord } from "../../src/files/tfevents.ts";
import { checkpointFolder, readCheckpoint } from "../../src/train/checkpoint.ts";
import type { Communicator } from "../../src/train/communicator.ts";
import type { TrainingEvent } from "../../src/train/loop.ts";
import { parseMetrics } from "../../src/train/metrics.ts";
import type { StepReport } from "../../src/train/trainer.ts";
import { valueOrError } from "../files/value-or-error.ts";
import { Death, dieAt, fillUp, MemoryStorage } from "./memory-storage.ts";
import { runToy, type ToyBatch, type ToyRun, ToyTrainer, toyBatches } from "./toy-run.ts";

/** Everything of a run that must not depend on where it was interrupted: event files are a session's own. */
function outcome(storage: MemoryStorage): Map<string, string> {
  const kept = [...storage.files].filter(([path]) => !path.startsWith("events."));
  return new Map(kept.map(([path, bytes]): [string, string] => [path, Buffer.from(bytes).toString("base64")]).sort());
}

async function wholeRun(options: Partial<ToyRun> = {}) {
  const storage = new MemoryStorage();
  const summary = await runToy({ storage, ...options });
  return { storage, summary };
}

const failing = (change: Partial<StepReport>, at: number) => {
  const trainer = new ToyTrainer();
  trainer.onStep = (step, report) => (step === at ? { ...report, ...change } : report);
  return trainer;
};

const stepsIn = (storage: MemoryStorage, key: "loss" | "evaluation") =>
  parseMetrics(storage.text("metrics.jsonl"))
    .records.filter((record) => key in record)
    .map(({ step }) => step);

describe("a run", () => {
  it("leaves its configuration, metrics, events, curves, samples and checkpoints", async () => {
    const { storage, summary } = await wholeRun({ totalSteps: 10, logEvery: 2 });
    expect([...new Set([...storage.files.keys()].map((path) => path.replace(/step-\d+\/.*/, "*")))].sort()).toEqual([
      "checkpoints/*",
      "config.json",
      "events.out.tfevents.1700000000.00000",
      "loss-curve.png",
      "loss-curve.svg",
      "metrics.jsonl",
      "samples/*",
    ]);
    expect(JSON.parse(storage.text("config.json"))).toEqual({ name: "toy", steps: 10, optimizer: { lr: 0.1 } });
    expect(stepsIn(storage, "loss")).toEqual([2, 4, 6, 8, 10]);
    expect(stepsIn(storage, "evaluation")).toEqual([4, 8, 10]);
    expect(storage.files.has("samples/step-00000010/a-b-1.png")).toBe(true);
    expect(summary).toMatchObject({ steps: 10, checkpoint: "run/checkpoints/step-00000010" });
    const { run } = await readCheckpoint(storage, checkpointFolder(10));
    expect(run.processes[0]!.position).toEqual({ epoch: 1, index: 3 });
    const evaluations = parseMetrics(storage.text("metrics.jsonl")).records.flatMap((r) =>
      "evaluation" in r ? [r] : [],
    );
    const best = evaluations.reduce((a, b) => (b.evaluation.loss! < a.evaluation.loss! ? b : a));
    expect(run.best).toEqual({ step: best.step, value: best.evaluation.loss });
    expect(summary.best).toEqual(run.best);
    const kept = new Set([9, 10, best.step]);
    expect(await storage.list("checkpoints")).toEqual(
      [...kept].sort((a, b) => a - b).map((s) => checkpointFolder(s).slice(12)),
    );
  });

  it("writes what a line of metrics.jsonl promises", async () => {
    let time = 0;
    const { storage } = await wholeRun({ totalSteps: 4, logEvery: 4, now: () => time++ });
    const [step, evaluation] = storage
      .text("metrics.jsonl")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(Object.keys(step)).toEqual(
      "step time loss parts learning_rate gradient_norm images_per_second data_seconds".split(" "),
    );
    // A batch is waited for during one tick and a step takes one more: 4 images each 2 s.
    expect(step).toMatchObject({ step: 4, images_per_second: 2, data_seconds: 1 });
    expect(step.loss).toBeCloseTo(step.parts.near + step.parts.far, 12);
    expect(Object.keys(evaluation)).toEqual(["step", "time", "evaluation"]);
  });

  it("that dies at any change of its folder ends, resumed, as the run that never died", async () => {
    const options = { totalSteps: 9, evaluateEvery: 4, samplesEvery: 4 };
    const whole = await wholeRun(options);
    expect(whole.storage.operations).toBeGreaterThan(100);
    for (let n = 0; n < whole.storage.operations; n++) {
      const storage = new MemoryStorage();
      dieAt(storage, n);
      await expect(runToy({ storage, ...options })).rejects.toThrow(Death);
      // Once more while it resumes, a little further on.
      dieAt(storage, 13 + (n % 29));
      await runToy({ storage, ...options, resume: true }).catch((thrown: unknown) =>
        expect(thrown).toBeInstanceOf(Death),
      );
      storage.beforeChange = () => {};
      const trainer = new ToyTrainer();
      await runToy({ storage, ...options, resume: true, trainer });
      expect(outcome(storage), `died at change ${n}`).toEqual(outcome(whole.storage));
    }
  });

  it("that finds the disk full at any write stops with FILE_WRITE_FAILED and goes on when there is room", async () => {
    const options = { totalSteps: 9, samplesEvery: 4 };
    const whole = await wholeRun(options);
    const bytes = [...whole.storage.files.values()].reduce((sum, file) => sum + file.length, 0);
    for (let room = 0; room < bytes; room += Math.ceil(bytes / 60)) {
      const storage = new MemoryStorage();
      fillUp(storage, room);
      const error = await valueOrError(() => runToy({ storage, ...options }));
      expect(error).toMatchObject({ code: "FILE_WRITE_FAILED" });
      const last = (await storage.list("checkpoints")).at(-1);
      if (last !== undefined) {
        expect(String(error)).toContain(`the last good checkpoint is run/checkpoints/${last}`);
      }
      storage.beforeChange = () => {};
      await runToy({ storage, ...options, resume: true });
      expect(outcome(storage)).toEqual(outcome(whole.storage));
    }
  });

  it.each([
    ["loss", { loss: Number.NaN }, "loss is NaN"],
    ["part and so the loss", { loss: Number.NaN, parts: { near: 1, far: Number.NaN } }, "far is NaN"],
    ["part", { parts: { near: 1, far: Number.POSITIVE_INFINITY } }, "far is Infinity"],
    ["gradient norm", { gradientNorm: Number.NaN }, "the gradient norm is NaN"],
  ])("stops at a %s that is no number, with nothing of that step saved", async (_, change, message) => {
    const storage = new MemoryStorage();
    const error = await valueOrError(() => runToy({ storage, trainer: failing(change, 7) }));
    expect(String(error)).toBe(
      `ToklipError: training: step 8: ${message}; the last good checkpoint is run/checkpoints/step-00000006 [TRAINING_DIVERGED]`,
    );
    expect(stepsIn(storage, "loss")).toEqual([1, 2, 3, 4, 5, 6, 7]);
    await runToy({ storage, resume: true });
    expect(outcome(storage)).toEqual(outcome((await wholeRun()).storage));
  });

  it("names an earlier checkpoint where the weights of the last give no numbers in their first step", async () => {
    const change = { loss: Number.NaN };
    const storage = new MemoryStorage();
    expect(String(await valueOrError(() => runToy({ storage, trainer: failing(change, 6) })))).toBe(
      "ToklipError: training: step 7: loss is NaN; run/checkpoints/step-00000006 holds the weights that failed, " +
        "the last good checkpoint is run/checkpoints/step-00000004 [TRAINING_DIVERGED]",
    );
    const first = { storage: new MemoryStorage(), trainer: failing(change, 3), evaluateEvery: 0 };
    expect(String(await valueOrError(() => runToy(first)))).toContain("failed, there is none before it");
  });

  it("stops when an evaluation's loss is no number, and says where no checkpoint is yet", async () => {
    const trainer = new ToyTrainer();
    trainer.evaluate = async () => ({ loss: Number.NaN });
    const error = await valueOrError(() => runToy({ storage: new MemoryStorage(), trainer, evaluateEvery: 2 }));
    expect(String(error)).toContain(
      "evaluation after step 2: the evaluation's loss is NaN; there is no checkpoint yet",
    );
  });

  it("keeps the best by a named value, in the direction that is asked for", async () => {
    const values = [3, 5, 4, 1, 2];
    for (const [mode, step] of [
      ["max", 8],
      ["min", 16],
    ] as const) {
      const trainer = new ToyTrainer();
      let i = 0;
      trainer.evaluate = async () => ({ loss: 1, score: values[i++]! });
      const storage = new MemoryStorage();
      const { best } = await runToy({
        storage,
        trainer,
        best: { metric: "score", mode },
        checkpointEvery: 0,
        keepLast: 1,
      });
      expect(best).toEqual({ step, value: mode === "max" ? 5 : 1 });
      expect(await storage.list("checkpoints")).toEqual([`step-${String(step).padStart(8, "0")}`, "step-00000020"]);
    }
  });

  it("warns when the evaluation lacks the value that the best is chosen by", async () => {
    const events: TrainingEvent[] = [];
    await wholeRun({ best: { metric: "fid", mode: "min" }, onEvent: (event) => events.push(event) });
    expect(events).toContainEqual({
      type: "warning",
      message: "the evaluation has no number called fid to choose the best checkpoint by",
    });
  });

  it("refuses numbers of steps that make no sense", async () => {
    for (const bad of [{ totalSteps: 0 }, { keepLast: 0 }, { logEvery: -1 }, { checkpointEvery: 1.5 }]) {
      expect(await valueOrError(() => wholeRun(bad))).toMatchObject({ code: "ARGUMENT_INVALID" });
    }
  });
});

describe("an interrupted run", () => {
  it("finishes its step, saves, and goes on to the same end", async () => {
    const whole = await wholeRun();
    for (const at of [0, 4, 5, 18]) {
      const storage = new MemoryStorage();
      const interrupt = new AbortController();
      const trainer = new ToyTrainer();
      trainer.onStep = (step, report) => {
        if (step === at) interrupt.abort();
        return report;
      };
      const events: string[] = [];
      const onEvent = (event: TrainingEvent) => void events.push(event.type);
      const error = await valueOrError(() => runToy({ storage, trainer, signal: interrupt.signal, onEvent }));
      const path = `run/${checkpointFolder(at + 1)}`;
      expect(String(error)).toBe(
        `ToklipError: training: interrupted after step ${at + 1} of 20; saved in ${path}, --resume continues [ABORTED]`,
      );
      expect(events).toContain("stopping");
      await runToy({ storage, resume: true });
      for (const name of ["metrics.jsonl", "checkpoints/step-00000020/model.safetensors"]) {
        expect(storage.files.get(name), name).toEqual(whole.storage.files.get(name));
      }
    }
  });

  it("saves at once while it waits for data that does not come", async () => {
    const storage = new MemoryStorage();
    const interrupt = new AbortController();
    async function* slow(from: ToyBatch["position"] | undefined) {
      let left = 4;
      for await (const batch of toyBatches(from)) {
        if (left-- === 0) {
          setTimeout(() => interrupt.abort(), 5);
          await new Promise(() => {}); // never
        }
        yield batch;
      }
    }
    const error = await valueOrError(() => runToy({ storage, batches: slow, signal: interrupt.signal }));
    expect(String(error)).toContain("interrupted after step 4 of 20; saved in run/checkpoints/step-00000004");
  });

  it("before its first step has nothing to save", async () => {
    const storage = new MemoryStorage();
    const signal = AbortSignal.abort();
    expect(String(await valueOrError(() => runToy({ storage, signal })))).toContain(
      "after step 0 of 20; there was nothing",
    );
    expect(await storage.list("checkpoints")).toEqual([]);
    await runToy({ storage, resume: true });
    expect(outcome(storage)).toEqual(outcome((await wholeRun()).storage));
  });

  it("saves when the data ends or fails, and tells why", async () => {
    const { ToklipError } = await import("../../src/core/index.ts");
    for (const [code, fail] of [
      ["DATA_EMPTY", () => {}],
      [
        "DATA_TOO_BAD",
        () => {
          throw new ToklipError("DATA_TOO_BAD", "data: 9 bad samples");
        },
      ],
    ] as const) {
      const storage = new MemoryStorage();
      async function* short(from: ToyBatch["position"] | undefined) {
        let left = 5;
        for await (const batch of toyBatches(from)) {
          if (left-- === 0) return fail();
          yield batch;
        }
      }
      const error = await valueOrError(() => runToy({ storage, batches: short }));
      expect(error).toMatchObject({ code });
      expect(String(error)).toContain("after step 5 of 20; saved in run/checkpoints/step-00000005");
    }
  });
});

it("leaves a folder empty where the data refuses to be read, so that the mistake can be corrected", async () => {
  const storage = new MemoryStorage();
  const batches = (): never => {
    throw new ToklipError("ARGUMENT_INVALID", "too few");
  };
  expect(await valueOrError(() => runToy({ storage, batches }))).toMatchObject({ code: "ARGUMENT_INVALID" });
  expect([...storage.files.keys()]).toEqual([]);
  await runToy({ storage, config: { name: "corrected" } });
});

describe("a folder that holds a run", () => {
  it("is not begun again", async () => {
    const { storage } = await wholeRun();
    const before = outcome(storage);
    const error = await valueOrError(() => runToy({ storage }));
    expect(String(error)).toContain(
      "run: holds a run already (step 20): continue it with --resume, or name another folder",
    );
    expect(error).toMatchObject({ code: "FILE_EXISTS" });
    expect(outcome(storage)).toEqual(before);
  });

  it("is not resumed with another configuration, and the keys are named", async () => {
    const { storage } = await wholeRun();
    const config = { name: "toy", steps: 30, optimizer: { lr: 0.2, betas: [0.9, 0.95] } };
    const before = outcome(storage);
    const error = await valueOrError(() => runToy({ storage, resume: true, config }));
    expect(String(error)).toBe(
      "ToklipError: run: the run was begun with another configuration: optimizer.lr was 0.1, now 0.2; " +
        "optimizer.betas was absent, now [0.9,0.95] [RESUME_MISMATCH]",
    );
    expect(outcome(storage)).toEqual(before);
  });

  it("is resumed with more steps, though not with fewer than are done", async () => {
    const { storage } = await wholeRun();
    await runToy({ storage, resume: true, totalSteps: 24 });
    expect(stepsIn(storage, "loss")).toEqual(Array.from({ length: 24 }, (_, i) => i + 1));
    expect(JSON.parse(storage.text("config.json")).steps).toBe(24);
    expect(await valueOrError(() => runToy({ storage, resume: true, totalSteps: 10 }))).toMatchObject({
      code: "RESUME_MISMATCH",
    });
  });

  it("is not resumed when its config.json was edited to match, or is no JSON", async () => {
    const { storage } = await wholeRun();
    const config = { name: "other" };
    storage.files.set("config.json", new TextEncoder().encode(JSON.stringify(config)));
    const error = await valueOrError(() => runToy({ storage, resume: true, config }));
    expect(String(error)).toContain("was written with another configuration [RESUME_MISMATCH]");
    for (const text of ["{", "[".repeat(50_000) + "]".repeat(50_000)]) {
      storage.files.set("config.json", new TextEncoder().encode(text));
      expect(await valueOrError(() => runToy({ storage, resume: true }))).toHaveProperty("code");
    }
  });

  it("is resumed with an event file that comes after the others and takes back what they say of repeated steps", async () => {
    const storage = new MemoryStorage();
    await valueOrError(() => runToy({ storage, trainer: failing({ loss: Number.NaN }, 7) }));
    await runToy({ storage, resume: true, now: () => 1_600_000_000 }); // the clock was set back
    const names = (await storage.list("")).filter((name) => name.startsWith("events."));
    expect(names).toEqual(["events.out.tfevents.1700000000.00000", "events.out.tfevents.1700000000.00001"]);
    const wallTime = 1_600_000_000;
    const beginning = Buffer.concat([eventFileHeader(wallTime), restartRecord({ wallTime, step: 7 })]);
    expect(Buffer.from(storage.files.get(names[1]!)!.subarray(0, beginning.length))).toEqual(beginning);
  });

  it("with a damaged checkpoint is resumed from the one before, with a warning", async () => {
    const { storage } = await wholeRun();
    const whole = outcome(storage);
    const path = "checkpoints/step-00000020/optimizer.safetensors";
    storage.files.set(
      path,
      storage.files.get(path)!.map((byte, i) => (i === 100 ? byte ^ 4 : byte)),
    );
    const events: TrainingEvent[] = [];
    await runToy({ storage, resume: true, onEvent: (event) => events.push(event) });
    expect(events[0]).toMatchObject({
      type: "warning",
      message: expect.stringMatching(/^run\/checkpoints\/step-00000020 was skipped: .*checksum/) as string,
    });
    expect(events).toContainEqual({
      type: "started",
      step: 18,
      totalSteps: 20,
      resumedFrom: "run/checkpoints/step-00000018",
    });
    expect(outcome(storage)).toEqual(whole);
  });
});

/** Two processes in one, over arrays that meet. */
function twoProcesses(): readonly Communicator[] {
  const waiting: { data: unknown; resolve: (all: unknown[]) => void }[] = [];
  const meet = (rank: number, data: unknown): Promise<unknown[]> =>
    new Promise((resolve) => {
      waiting[rank] = { data, resolve };
      if (waiting[0] === undefined || waiting[1] === undefined) return;
      const both = waiting.splice(0, 2);
      for (const each of both) each.resolve(both.map(({ data }) => data));
    });
  return [0, 1].map((rank) => ({
    rank,
    size: 2,
    async allReduceSum(data) {
      const [a, b] = (await meet(rank, data.slice())) as Float32Array[];
      for (let i = 0; i < data.length; i++) data[i] = a![i]! + b![i]!;
    },
    async allGather<T extends Float32Array | Int32Array>(data: T): Promise<T> {
      const all = (await meet(rank, data.slice())) as T[];
      const joined = (
        data instanceof Int32Array ? new Int32Array(2 * data.length) : new Float32Array(2 * data.length)
      ) as T;
      joined.set(all[0]!);
      joined.set(all[1]!, data.length);
      return joined;
    },
    broadcast: async (text) => (await meet(rank, text))[0] as string,
    barrier: async () => void (await meet(rank, undefined)),
    mark: () => {},
    close: async () => {},
  }));
}

describe("a run of two processes", () => {
  const shifted = (rank: number) =>
    async function* (from: ToyBatch["position"] | undefined) {
      for await (const batch of toyBatches(from ?? { epoch: rank, index: 3 * rank })) yield batch;
    };

  const both = (storage: MemoryStorage, of: (rank: number) => Partial<ToyRun>) =>
    Promise.all(
      twoProcesses().map((communicator, rank) =>
        valueOrError(() => runToy({ storage, communicator, batches: shifted(rank), ...of(rank) })),
      ),
    );

  it("resumes each process where it was, after one of them was interrupted", async () => {
    const whole = new MemoryStorage();
    await both(whole, () => ({}));
    const storage = new MemoryStorage();
    const interrupt = new AbortController();
    const errors = await both(storage, (rank) => {
      const trainer = new ToyTrainer();
      trainer.onStep = (step, report) => {
        if (rank === 1 && step === 9) interrupt.abort();
        return report;
      };
      return { trainer, ...(rank === 1 && { signal: interrupt.signal }) };
    });
    expect(errors.map((error) => (error as { code: string }).code)).toEqual(["PEER_LOST", "ABORTED"]);
    const { run } = await readCheckpoint(storage, checkpointFolder(10));
    expect(run.processes.map(({ position }) => position)).toEqual([
      { epoch: 1, index: 3 },
      { epoch: 2, index: 6 },
    ]);
    await both(storage, () => ({ resume: true }));
    expect(storage.files.get("metrics.jsonl")).toEqual(whole.files.get("metrics.jsonl"));
    const last = "checkpoints/step-00000020/run.json";
    expect(storage.text(last)).toBe(whole.text(last));
    expect(await valueOrError(() => runToy({ storage, resume: true }))).toMatchObject({ code: "RESUME_MISMATCH" });
  });

  it("tells every process that the folder cannot be used", async () => {
    const storage = new MemoryStorage();
    await both(storage, () => ({ totalSteps: 2 }));
    const errors = await both(storage, () => ({ totalSteps: 2 }));
    expect(errors.map((error) => (error as { code: string }).code)).toEqual(["FILE_EXISTS", "FILE_EXISTS"]);
  });

  it("stops in all processes when one has a loss that is no number", async () => {
    const errors = await both(new MemoryStorage(), (rank) => ({
      trainer: rank === 1 ? failing({ loss: Number.NaN }, 4) : new ToyTrainer(),
    }));
    expect(errors.map((error) => (error as { code: string }).code)).toEqual(["TRAINING_DIVERGED", "TRAINING_DIVERGED"]);
  });
});
