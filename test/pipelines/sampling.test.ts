// From logits to ids, against the reference's filtering and by the rules themselves.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  argmax,
  checkSampling,
  drawId,
  filterLogits,
  guide,
  inverseCdf,
  isGuided,
  samplingBuffers,
  softmax,
} from "../../src/pipelines/sampling.ts";
import { goldenJson, goldenTensors, maxDifference } from "../goldens.ts";

interface SamplingCase {
  readonly case: number;
  readonly temperature: number;
  readonly top_k: number;
  readonly top_p: number;
  readonly kept: readonly number[];
}

const { cases } = goldenJson("ar/sampling.json") as { readonly cases: readonly SamplingCase[] };
const golden = await goldenTensors("ar/sampling.safetensors");
const logits = await golden("logits");
const [rows, vocabulary] = logits.shape as [number, number];
const buffers = samplingBuffers(vocabulary);
const rowOf = (data: ArrayLike<number>, row: number, width: number) =>
  Float32Array.from({ length: width }, (_, i) => data[row * width + i]!);

describe.each(cases)("T $temperature, top-k $top_k, top-p $top_p", (setting) => {
  const options = { temperature: setting.temperature, topK: setting.top_k, topP: setting.top_p };
  const filtered = (row: number) => {
    const out = rowOf(logits.data as Float32Array, row, vocabulary);
    filterLogits(out, options, buffers);
    return out;
  };

  test("keeps what the reference keeps", async () => {
    const expected = (await golden(`case${setting.case}.filtered`)).data as Float32Array;
    for (let row = 0; row < rows; row++) {
      const got = filtered(row);
      const want = rowOf(expected, row, vocabulary);
      expect(got.filter((value) => value !== Number.NEGATIVE_INFINITY)).toHaveLength(setting.kept[row]!);
      got.forEach((value, i) => {
        if (value === Number.NEGATIVE_INFINITY) expect(want[i], `row ${row}, id ${i}`).toBe(Number.NEGATIVE_INFINITY);
        else expect(Math.abs(value - want[i]!) / Math.max(1, Math.abs(want[i]!))).toBeLessThan(1e-6);
      });
    }
  });

  test("gives the reference's probabilities", async () => {
    const expected = (await golden(`case${setting.case}.probs`)).data as Float32Array;
    for (let row = 0; row < rows; row++) {
      softmax(filtered(row), buffers.weights);
      expect(maxDifference(buffers.weights, rowOf(expected, row, vocabulary))).toBeLessThan(1e-5);
    }
  });

  test("draws the ids of the given uniform numbers, and finds the largest", async () => {
    const uniforms = (await golden("u")).data as Float32Array;
    const expected = (await golden(`case${setting.case}.inverse_cdf_ids`)).data as Int32Array;
    const largest = (await golden(`case${setting.case}.argmax`)).data as Int32Array;
    for (let row = 0; row < rows; row++) {
      const drawn = Array.from(uniforms, (u) =>
        drawId(rowOf(logits.data as Float32Array, row, vocabulary), u, options, buffers),
      );
      expect(drawn).toEqual(Array.from(rowOf(expected, row, uniforms.length)));
      expect(argmax(filtered(row))).toBe(largest[row]);
    }
  });
});

const someLogits = fc.array(fc.integer({ min: -40, max: 40 }), { minLength: 1, maxLength: 60 });

test("top-k keeps what is at least the k-th largest, ties included", () => {
  fc.assert(
    fc.property(someLogits, fc.integer({ min: 1, max: 70 }), (values, topK) => {
      const out = Float32Array.from(values);
      filterLogits(out, { topK }, samplingBuffers(values.length));
      const threshold = [...values].sort((a, b) => b - a)[Math.min(topK, values.length) - 1]!;
      expect(Array.from(out)).toEqual(values.map((value) => (value >= threshold ? value : Number.NEGATIVE_INFINITY)));
    }),
  );
});

test("top-p keeps the fewest likeliest values that pass p together", () => {
  const single = fc.double({ min: -20, max: 20, noNaN: true });
  fc.assert(
    fc.property(
      fc.array(single, { minLength: 1, maxLength: 60 }),
      fc.double({ min: 0.01, max: 0.99, noNaN: true }),
      (list, topP) => {
        const values = Float32Array.from(list);
        const out = values.slice();
        filterLogits(out, { topP }, samplingBuffers(values.length));
        const weights = Array.from(values, (value) => Math.exp(value - Math.max(...values)));
        const total = weights.reduce((a, b) => a + b, 0);
        values.forEach((value, i) => {
          // Each distinct value above this one, with all that share it.
          const before = weights.reduce((sum, weight, j) => (values[j]! > value ? sum + weight : sum), 0) / total;
          if (Math.abs(before - topP) < 1e-9) return;
          expect(out[i] === value, `${value} after ${before} at p ${topP}`).toBe(before <= topP);
        });
      },
    ),
  );
});

test("the draw reaches every id at the share of its probability, and none that was removed", () => {
  const probabilities = Float64Array.of(0, 0.25, 0, 0.5, 0.25, 0);
  const at = [0, 0.2499, 0.25, 0.7499, 0.75, 0.9999, 1];
  expect(at.map((u) => inverseCdf(probabilities, u))).toEqual([1, 1, 3, 3, 4, 4, 4]);
});

test("guidance is l_u + s (l_c - l_u), within its interval", () => {
  const out = new Float32Array(3);
  guide(Float32Array.of(1, 2, 3), Float32Array.of(0, 4, 3), 3, out);
  expect(Array.from(out)).toEqual([3, -2, 3]);
  const guided = (interval?: number, scale = 3) => [0, 1, 2, 3, 4].map((step) => isGuided(step, { scale, interval }));
  expect(guided()).toEqual([true, true, true, true, true]);
  expect(guided(1)).toEqual([true, true, true, false, false]);
  expect(guided(0)).toEqual([true, true, false, false, false]);
  expect(guided(-1, 1)).toEqual([false, false, false, false, false]);
});

test.each([
  ["one that is no number", [1, Number.NaN, 3], "the logit of id 1 is not a number [LOGITS_INVALID]"],
  ["an infinite one", [1, Number.POSITIVE_INFINITY, 3], "the largest logit is Infinity, of id 1 [LOGITS_INVALID]"],
  ["none that is finite", [-Infinity, -Infinity], "the largest logit is -Infinity, of id 0 [LOGITS_INVALID]"],
])("refuses logits with %s", (_, values, message) => {
  const wrong = Float32Array.from(values);
  for (const options of [{}, { topK: 2, topP: 0.5 }]) {
    expect(() => drawId(wrong.slice(), 0.5, options, samplingBuffers(wrong.length))).toThrow(message);
  }
  expect(() => argmax(wrong)).toThrow(message);
});

test.each([
  { temperature: -1 },
  { temperature: Number.NaN },
  { temperature: Number.POSITIVE_INFINITY },
  { topK: -1 },
  { topK: 1.5 },
  { topP: 0 },
  { topP: 1.1 },
  { topP: Number.NaN },
])("refuses %o", (options) => {
  expect(() => checkSampling(options)).toThrow("ARGUMENT_INVALID");
});
