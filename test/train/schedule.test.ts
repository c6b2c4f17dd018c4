import { describe, expect, test } from "vitest";
import { createSchedule, SCHEDULE_NAMES } from "../../src/train/schedule.ts";
import { goldenJson } from "../goldens.ts";

const golden = goldenJson("train/golden_train.json") as {
  base_lr: number;
  warmup: number;
  total_steps: number;
  steps: { step: number; lr: number }[];
  lr_table_check: { base_lr: number; warmup: number; total: number; values: Record<string, number> };
};

describe("cosine", () => {
  test("has the reference's values, to the last bit or two", () => {
    const { base_lr: learningRate, warmup, total, values } = golden.lr_table_check;
    const schedule = createSchedule("cosine", { learningRate, warmup });
    for (const [step, expected] of Object.entries(values)) {
      expect(Math.abs(schedule(Number(step), total) - expected), step).toBeLessThanOrEqual(1e-15 * expected + 1e-21);
    }
  });

  test("has the rates of the reference's run", () => {
    const schedule = createSchedule("cosine", { learningRate: golden.base_lr, warmup: golden.warmup });
    for (const { step, lr } of golden.steps) expect(schedule(step, golden.total_steps)).toBeCloseTo(lr, 15);
  });

  test("falls to its final fraction and stays there", () => {
    const schedule = createSchedule("cosine", { learningRate: 2, warmup: 1, finalFraction: 0.25 });
    const rates = [0, 1, 2, 3, 4, 5, 6, 100].map((step) => schedule(step, 5));
    expect(rates.map((rate) => rate.toFixed(6))).toEqual([
      "2.000000",
      "2.000000",
      "1.780330",
      "1.250000",
      "0.719670",
      "0.500000",
      "0.500000",
      "0.500000",
    ]);
  });
});

test("constant warms up and stays", () => {
  const schedule = createSchedule("constant", { learningRate: 0.4, warmup: 4 });
  expect([0, 1, 2, 3, 4, 50].map((step) => schedule(step, 10))).toEqual([0.1, 0.2, expect.closeTo(0.3), 0.4, 0.4, 0.4]);
});

test.each(SCHEDULE_NAMES)("%s is finite for every step of short runs", (name) => {
  for (let warmup = 0; warmup < 4; warmup++) {
    const schedule = createSchedule(name, { learningRate: 1, warmup });
    for (let total = 1; total < 6; total++) {
      for (let step = 0; step <= total; step++) {
        const rate = schedule(step, total);
        expect(rate >= 0 && rate <= 1, `${rate} at ${step} of ${total}, warm-up ${warmup}`).toBe(true);
        if (step === 0 && warmup === 0) expect(rate).toBe(1);
      }
    }
  }
});

test.each([
  { learningRate: Number.NaN },
  { learningRate: -1 },
  { learningRate: 1, warmup: 1.5 },
  { learningRate: 1, warmup: -1 },
  { learningRate: 1, finalFraction: 1.1 },
  { learningRate: 1, finalFraction: Number.NaN },
])("%o is refused", (options) => {
  expect(() => createSchedule("cosine", options)).toThrow(expect.objectContaining({ code: "ARGUMENT_INVALID" }));
});
