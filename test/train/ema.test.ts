import { describe, expect, test } from "vitest";
import { Random } from "../../src/core/index.ts";
import type { JsonValue } from "../../src/data/dataset.ts";
import { Ema } from "../../src/train/ema.ts";
import { SLOT_LENGTH } from "../../src/train/optimizer-kernel.ts";

const f = Math.fround;
const one = (...values: number[]) => new Map([["w", Float32Array.from(values)]]);
const shapes = new Map([["w", [2]]]);

test("the average begins at the parameters and follows them", () => {
  const ema = new Ema(shapes, one(1, -2), { decay: 0.75 });
  expect([...ema.values().get("w")!]).toEqual([1, -2]);
  ema.update(one(3, 2));
  expect([...ema.values().get("w")!]).toEqual([1.5, -1]);
});

test("with warm-up the decay grows from 0.1 to its value", () => {
  const ema = new Ema(shapes, one(0, 0), { decay: 0.25, warmup: true });
  let expected = 0;
  for (const decay of [1 / 10, 2 / 11, 3 / 12, 0.25, 0.25]) {
    ema.update(one(1, 1));
    expected = f(f(expected * f(decay)) + f(1 - decay));
    expect(ema.values().get("w")![1]).toBe(expected);
  }
});

test("either kernel gives the same bits, over arrays longer than a scratch slot", () => {
  const length = SLOT_LENGTH + 3;
  const run = (simd: boolean) => {
    const random = new Random(1);
    const draw = () => new Map([["w", Float32Array.from({ length }, () => random.normal())]]);
    const ema = new Ema(new Map([["w", [length]]]), draw(), { decay: 0.999, simd });
    for (let i = 0; i < 2; i++) ema.update(draw());
    return ema.values().get("w")!.slice();
  };
  const [simd, plain] = [run(true), run(false)];
  expect(simd.findIndex((x, i) => x !== plain[i])).toBe(-1);
});

describe("state", () => {
  test("put into another average goes on bit for bit", () => {
    const options = { decay: 0.9, warmup: true };
    const straight = new Ema(shapes, one(1, 2), options);
    straight.update(one(0.3, 0.7));
    const { tensors, json } = straight.state();
    expect(tensors.get("w")!.shape).toEqual([2]);
    const resumed = new Ema(shapes, one(5, 5), options);
    resumed.restore({ tensors: structuredClone(tensors), json: JSON.parse(JSON.stringify(json)) as JsonValue });
    for (const ema of [straight, resumed]) ema.update(one(-0.1, 0.9));
    expect([...resumed.values().get("w")!]).toEqual([...straight.values().get("w")!]);
    expect(resumed.state().json).toEqual({ updates: 2 });
  });

  test("of something else is refused, and nothing changes", () => {
    const ema = new Ema(shapes, one(1, 2), { decay: 0.9 });
    const wrongShape = new Map([["w", { dtype: "f32", shape: [1], data: new Float32Array(1) } as const]]);
    const wrongType = new Map([["w", { dtype: "i32", shape: [2], data: new Int32Array(2) } as const]]);
    const good = ema.state();
    const bad = [
      { ...good, tensors: new Map() },
      { ...good, tensors: wrongShape },
      { ...good, tensors: wrongType },
      ...[null, {}, [], { updates: -1 }, { updates: "1" }].map((json) => ({ ...good, json })),
    ];
    for (const state of bad) {
      expect(() => ema.restore(state)).toThrow(expect.objectContaining({ code: "CHECKPOINT_MISMATCH" }));
    }
    expect([...ema.values().get("w")!]).toEqual([1, 2]);
    expect(ema.state().json).toEqual({ updates: 0 });
  });
});

test("wrong settings and wrong arrays are named", () => {
  expect(() => new Ema(shapes, one(1, 2), { decay: 1.5 })).toThrow(
    expect.objectContaining({ code: "ARGUMENT_INVALID" }),
  );
  expect(() => new Ema(shapes, new Map(), { decay: 0.9 })).toThrow(
    expect.objectContaining({ code: "ARGUMENT_INVALID" }),
  );
  const ema = new Ema(shapes, one(1, 2), { decay: 0.9 });
  expect(() => ema.update(one(1))).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
  expect(ema.state().json).toEqual({ updates: 0 });
});
