// Arrays that stay with the engine between runs.
import { afterAll, describe, expect, test } from "vitest";
import { type NDArray, ndarray } from "../../src/core/index.ts";
import { add, Graph, mul } from "../../src/graph/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import type { Program } from "../../src/runtime/index.ts";

const backend = createOrtBackend();
afterAll(() => backend.dispose());

const vector = (...values: number[]) => ndarray("f32", [values.length], Float32Array.from(values));
const listOf = (array: NDArray | undefined) => Array.from(array!.data as Float32Array);

/** total <- total + x, and the total before; `seen` is x. */
function sumProgram(): Program {
  const graph = new Graph();
  const [x, total] = [graph.input("x", "f32", [2]), graph.input("total", "f32", [2])];
  const scale = graph.input("scale", "f32", [1]);
  graph.output("next", add(total, x));
  graph.output("seen", mul(x, scale));
  graph.output("scaled", add(mul(scale, 2), 0));
  const carry = { arrays: { next: "total" }, onlyIfFinite: "scaled" };
  return { name: "sum", graph, weight: async () => ({ kind: "fed" }), carry };
}

function doubleProgram(): Program {
  const graph = new Graph();
  graph.output("y", mul(graph.input("value", "f32", [2]), 2));
  return { name: "double", graph, weight: async () => ({ kind: "fed" }) };
}

describe("a state", () => {
  test("takes over what a run made of it, and is read without being changed", async () => {
    const session = await backend.compile(sumProgram());
    const start = vector(10, 20);
    const state = await session.createState({ total: start });
    const fetched = await session.run({ x: vector(1, 2), scale: vector(3) }, { state });
    expect(Object.keys(fetched).sort()).toEqual(["scaled", "seen"]);
    expect(listOf(fetched.seen)).toEqual([3, 6]);
    const { total } = await state.read(["total"]);
    expect(total).toEqual(vector(11, 22));
    total!.data.fill(-1);
    await session.run({ x: vector(100, 200), scale: vector(1) }, { state });
    expect((await state.read(["total"])).total).toEqual(vector(111, 222));
    expect(start).toEqual(vector(10, 20));
    await state.dispose();
    await session.dispose();
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "stays as it was where the condition is %d",
    async (value) => {
      const session = await backend.compile(sumProgram());
      const state = await session.createState({ total: [2] });
      await session.run({ x: vector(1, 2), scale: vector(1) }, { state });
      const { scaled } = await session.run({ x: vector(5, 5), scale: vector(value) }, { state });
      expect(listOf(scaled)).toEqual([value]);
      expect((await state.read(["total"])).total).toEqual(vector(1, 2));
      await session.run({ x: vector(1, 2), scale: vector(1) }, { state });
      expect((await state.read(["total"])).total).toEqual(vector(2, 4));
      await session.dispose();
    },
  );

  test("stays as it was when a run fails", async () => {
    const session = await backend.compile(sumProgram());
    const state = await session.createState({ total: vector(1, 2) });
    await expect(session.run({ x: vector(1, 2, 3), scale: vector(1) }, { state })).rejects.toMatchObject({
      code: "RUNTIME_FAILED",
    });
    expect((await state.read(["total"])).total).toEqual(vector(1, 2));
    await session.dispose();
  });

  test("feeds other graphs, under other names too", async () => {
    const [sum, double] = [await backend.compile(sumProgram()), await backend.compile(doubleProgram())];
    const state = await sum.createState({ total: vector(1, 2), value: vector(7, 8) });
    await sum.run({ x: vector(1, 2), scale: vector(1) }, { state });
    expect(listOf((await double.run({}, { state })).y)).toEqual([14, 16]);
    expect(listOf((await double.run({}, { state, aliases: { value: "total" } })).y)).toEqual([4, 8]);
    await sum.dispose();
    await double.dispose();
  });

  test("is asked for where it is needed, and has only its own arrays", async () => {
    const session = await backend.compile(sumProgram());
    await expect(session.run({ x: vector(1, 2), scale: vector(1) })).rejects.toMatchObject({
      code: "ARGUMENT_INVALID",
    });
    const state = await session.createState({ total: [2] });
    await expect(state.read(["total", "totl"])).rejects.toMatchObject({
      code: "ARGUMENT_INVALID",
      message: expect.stringContaining("totl"),
    });
    await session.dispose();
  });
});
