// The engine in its worker thread: the event loop stays free, aborts are prompt, what is disposed of stays so.
import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { afterAll, describe, expect, test, vi } from "vitest";
import { type NDArray, ndarray, type ProgressEvent } from "../../src/core/index.ts";
import { add, Graph, gemm, mul } from "../../src/graph/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import type { Program } from "../../src/runtime/index.ts";

const WIDTH = 1024;

/** Enough products that a run takes a while. */
function slowProgram(layers: number): Program {
  const graph = new Graph();
  let x = graph.input("x", "f32", ["B", WIDTH]);
  const weight = graph.parameter("w", [WIDTH, WIDTH]);
  for (let i = 0; i < layers; i++) x = gemm(x, weight, undefined, { transB: true });
  graph.output("y", x);
  const value = ndarray("f32", [WIDTH, WIDTH], new Float32Array(WIDTH * WIDTH).fill(1e-3));
  return { name: "slow", graph, weight: async () => ({ kind: "array", value }) };
}

function scaleProgram(): Program {
  const graph = new Graph();
  const x = graph.input("x", "f32", ["B", 2]);
  graph.output("y", add(mul(x, graph.parameter("w", [2])), 1));
  return {
    name: "scale",
    graph,
    weight: async () => ({ kind: "array", value: ndarray("f32", [2], Float32Array.of(2, 3)) }),
  };
}

describe("the engine", () => {
  const backend = createOrtBackend();
  afterAll(() => backend.dispose());
  const feeds = { x: ndarray("f32", [512, WIDTH]) };

  test("leaves the event loop free while a model runs", async () => {
    const session = await backend.compile(slowProgram(40));
    let ticks = 0;
    const timer = setInterval(() => ticks++, 2);
    const start = performance.now();
    await session.run(feeds);
    const elapsed = performance.now() - start;
    clearInterval(timer);
    // A blocked loop would tick once at most.
    expect(elapsed).toBeGreaterThan(40);
    expect(ticks).toBeGreaterThan(5);
    await session.dispose();
  });

  test("rejects an aborted run at once, withdraws waiting ones, and goes on", async () => {
    const slow = await backend.compile(slowProgram(60));
    const quick = await backend.compile(scaleProgram());
    const controller = new AbortController();
    const running = slow.run(feeds, { signal: controller.signal });
    const waiting = slow.run(feeds, { signal: controller.signal });
    // Runs when the aborted run, which cannot be stopped, has ended.
    let ended = false;
    const next = quick.run({ x: ndarray("f32", [1, 2], Float32Array.of(1, 1)) }).finally(() => {
      ended = true;
    });
    setTimeout(() => controller.abort(), 5);
    await expect(running).rejects.toMatchObject({ code: "ABORTED" });
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
    expect(ended).toBe(false);
    const { y } = await next;
    expect(Array.from(y!.data as Float32Array)).toEqual([3, 4]);
    await expect(slow.run(feeds, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    await slow.dispose();
  });

  test("does not take the caller's arrays away", async () => {
    const session = await backend.compile(scaleProgram());
    const all = Float32Array.of(9, 9, 1, 2, 9);
    const x: NDArray<"f32"> = { dtype: "f32", shape: [1, 2], data: all.subarray(2, 4) };
    const { y } = await session.run({ x });
    expect(Array.from(y!.data as Float32Array)).toEqual([3, 7]);
    expect(Array.from(all)).toEqual([9, 9, 1, 2, 9]);
    await session.dispose();
  });

  test("reports progress of loading", async () => {
    const events: ProgressEvent[] = [];
    const session = await backend.compile(scaleProgram(), { onProgress: (event) => events.push(event) });
    expect(events.map(({ stage, item, done, total }) => [stage, item, done, total])).toEqual([
      ["load", "scale", 0, 1],
      ["load", "scale", 1, 1],
    ]);
    await session.dispose();
  });

  test("names what is wrong with a run", async () => {
    const session = await backend.compile(scaleProgram());
    await expect(session.run({})).rejects.toMatchObject({ code: "RUNTIME_FAILED" });
    await expect(session.run({ x: ndarray("f64", [1, 2]) })).rejects.toMatchObject({ code: "DTYPE_MISMATCH" });
    await session.dispose();
    await expect(session.run({ x: ndarray("f32", [1, 2]) })).rejects.toMatchObject({ code: "DISPOSED" });
  });

  test("leaves no temporary file behind", async () => {
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith("toklip-"));
    const session = await backend.compile(slowProgram(1));
    const after = readdirSync(tmpdir()).filter((name) => name.startsWith("toklip-") && !before.includes(name));
    expect(after.filter((name) => existsSync(`${tmpdir()}/${name}`))).toEqual([]);
    await session.dispose();
  });
});

test("a disposed engine refuses, and what it was doing is rejected", async () => {
  const backend = createOrtBackend();
  const session = await backend.compile(slowProgram(60));
  const running = session.run({ x: ndarray("f32", [512, WIDTH]) });
  const rejection = expect(running).rejects.toMatchObject({ code: "DISPOSED" });
  await backend.dispose();
  await rejection;
  await expect(session.run({ x: ndarray("f32", [1, WIDTH]) })).rejects.toMatchObject({ code: "DISPOSED" });
});

test("an engine ends from inside, at whatever moment it is disposed of, and however often", async () => {
  // A thread that is terminated while ONNX Runtime is loaded, or at work, takes the whole process with it.
  const terminate = vi.spyOn(Worker.prototype, "terminate");
  for (const wait of [0, 20, 40, 80, 160]) {
    const early = createOrtBackend();
    await pause(wait);
    await Promise.all([early.dispose(), early.dispose()]);
    await early.dispose();
  }
  const busy = createOrtBackend();
  const session = await busy.compile(slowProgram(20));
  const rejection = expect(session.run({ x: ndarray("f32", [512, WIDTH]) })).rejects.toMatchObject({
    code: "DISPOSED",
  });
  await Promise.all([busy.dispose(), busy.dispose(), rejection]);
  expect(terminate).not.toHaveBeenCalled();
  terminate.mockRestore();
});

test("a device that is not there is named", async () => {
  const backend = createOrtBackend({ device: "cuda" });
  // Where a GPU is, the session is made; anywhere else the error says which device is missing.
  const outcome = await backend.compile(scaleProgram()).then(
    () => "made",
    (thrown) => thrown.code,
  );
  expect(["made", "DEVICE_UNAVAILABLE"]).toContain(outcome);
  await backend.dispose();
});
