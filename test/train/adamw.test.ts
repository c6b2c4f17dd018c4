// AdamW against PyTorch, a float64 implementation and itself: kernel and plain loops give the same bits.
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Random, ToklipError } from "../../src/core/index.ts";
import type { JsonValue } from "../../src/data/dataset.ts";
import { Adam, AdamW, type OptimizerState } from "../../src/train/adamw.ts";
import { clipFactor, measureGradients } from "../../src/train/gradient-norm.ts";
import {
  type AdamWConstants,
  createKernel,
  type KernelOptions,
  ROOM,
  SLOT_LENGTH,
} from "../../src/train/optimizer-kernel.ts";
import { KERNEL_BYTES } from "../../src/train/optimizer-kernel-bytes.ts";
import { decayGroups, type ParameterShapes } from "../../src/train/parameter-groups.ts";

type Arrays = Record<string, number[]>;
interface TorchCase {
  readonly lr: number;
  readonly betas: [number, number];
  readonly eps: number;
  readonly weight_decay: number;
  readonly max_norm: number | null;
  readonly before: Arrays;
  readonly gradients: Arrays[];
  readonly norms: number[];
  readonly after: Arrays;
  readonly steps: Record<string, number>;
  readonly exp_avg: Arrays;
  readonly exp_avg_sq: Arrays;
}

const TORCH = JSON.parse(readFileSync(new URL("./fixtures/optimizer.json", import.meta.url), "utf8")) as {
  shapes: Record<string, number[]>;
  cases: Record<string, TorchCase>;
};
const SETTINGS = { betas: [0.9, 0.95], eps: 1e-6 } as const;

const f32Map = (arrays: Arrays) =>
  new Map(Object.entries(arrays).map(([name, values]) => [name, Float32Array.from(values)]));
const bits = (array: Float32Array) => [...new Uint32Array(array.slice().buffer)];
const noise = (random: Random, length: number) => Float32Array.from({ length }, () => random.normal());

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(ToklipError);
    return (error as ToklipError).code;
  }
  return "nothing thrown";
}

/** Within a few roundings of f32 of what is expected. */
function expectClose(actual: Float32Array, expected: readonly number[], what: string): void {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, i) => {
    const allowed = 4e-7 * Math.abs(expected[i]!);
    expect(Math.abs(value - expected[i]!), `${what}[${i}] = ${value}, not ${expected[i]}`).toBeLessThanOrEqual(allowed);
  });
}

test("the committed bytes are the assembled source", async () => {
  const { default: loadWabt } = await import("wabt");
  const source = readFileSync(new URL("../../src/train/optimizer-kernel.wat", import.meta.url), "utf8");
  const { buffer } = (await loadWabt()).parseWat("kernel", source, { simd: true }).toBinary({});
  expect([...KERNEL_BYTES]).toEqual([...buffer]);
});

describe.each(Object.entries(TORCH.cases))("%s of PyTorch", (_, given) => {
  const shapes: ParameterShapes = new Map(Object.entries(TORCH.shapes));

  test.each([true, false])("is what we compute (SIMD: %s)", (simd) => {
    const parameters = f32Map(given.before);
    const options = { betas: given.betas, eps: given.eps, simd };
    const optimizer =
      given.weight_decay === 0
        ? new Adam(shapes, options)
        : new AdamW(decayGroups(shapes, given.weight_decay), options);
    given.gradients.forEach((arrays, i) => {
      const gradients = f32Map(arrays);
      const { norm } = measureGradients(gradients);
      expectClose(Float32Array.of(norm), [given.norms[i]!], "norm");
      const gradientScale = clipFactor(norm, given.max_norm ?? undefined);
      optimizer.step(parameters, gradients, { learningRate: given.lr, gradientScale });
    });
    const { tensors, json } = optimizer.state();
    expect(json).toEqual({ steps: given.steps });
    for (const name of shapes.keys()) {
      expectClose(parameters.get(name)!, given.after[name]!, name);
      expectClose(tensors.get(`${name}.exp_avg_sq`)!.data, given.exp_avg_sq[name]!, `${name}.exp_avg_sq`);
      expectClose(tensors.get(`${name}.exp_avg`)!.data, given.exp_avg[name]!, `${name}.exp_avg`);
    }
  });
});

test("a long training stays within f32's noise of the same training in float64", () => {
  const [length, steps, learningRate, weightDecay] = [37, 200, 1e-3, 0.1];
  const random = new Random(7);
  const parameters = new Map([["w", noise(random, length)]]);
  const p = Float64Array.from(parameters.get("w")!);
  const [m, v] = [new Float64Array(length), new Float64Array(length)];
  const optimizer = new AdamW([{ weightDecay, shapes: new Map([["w", [length]]]) }], SETTINGS);
  // The rounding of 1 - lr * decay to f32, which PyTorch has too, adds up: it is part of what is computed.
  const kept = Math.fround(1 - learningRate * weightDecay);
  for (let t = 1; t <= steps; t++) {
    const gradient = noise(random, length);
    optimizer.step(parameters, new Map([["w", gradient]]), { learningRate });
    for (let i = 0; i < length; i++) {
      m[i] = 0.9 * m[i]! + 0.1 * gradient[i]!;
      v[i] = 0.95 * v[i]! + 0.05 * gradient[i]! ** 2;
      const divisor = Math.sqrt(v[i]!) / Math.sqrt(1 - 0.95 ** t) + 1e-6;
      p[i] = p[i]! * kept - ((learningRate / (1 - 0.9 ** t)) * m[i]!) / divisor;
    }
  }
  parameters.get("w")!.forEach((value, i) => {
    expect(Math.abs(value - p[i]!)).toBeLessThan(3e-6);
  });
});

describe("the kernel and the plain loops", () => {
  const finite = fc.float({ noNaN: true, noDefaultInfinity: true });
  const array = (length: number) => fc.float32Array({ minLength: length, maxLength: length, noNaN: true });
  const kernels = [createKernel(4096, { simd: true }), createKernel(4096, { simd: false })];
  const places = [0, 1024, 2048, 3072].map((at) => ROOM + at);

  /** What every function leaves in memory, for the same memory before. */
  function results(run: (kernel: (typeof kernels)[number]) => void, arrays: readonly Float32Array[], count: number) {
    return kernels.map((kernel) => {
      arrays.forEach((values, i) => {
        kernel.f32.fill(0, places[i]! / 4, places[i]! / 4 + 256);
        kernel.f32.set(values, places[i]! / 4);
      });
      run(kernel);
      // The sign and payload of a NaN are the engine's choice.
      return arrays.map((_, i) => [...kernel.f32.subarray(places[i]! / 4, places[i]! / 4 + count)]);
    });
  }

  const inputs = fc.integer({ min: 1, max: 40 }).chain((n) => fc.tuple(array(n), array(n), array(n), array(n)));

  test("give the same bits for any step of AdamW", () => {
    fc.assert(
      fc.property(inputs, fc.array(finite, { minLength: 9, maxLength: 9 }), ([p, m, v, g], constants) => {
        const [a, b, c, d] = places as [number, number, number, number];
        const run = (kernel: (typeof kernels)[number]) =>
          kernel.adamw(p.length, a, b, c, d, ...(constants as AdamWConstants));
        const [simd, plain] = results(run, [p, m, v, g], p.length);
        expect(simd).toEqual(plain);
      }),
      { numRuns: 500 },
    );
  });

  test("give the same bits for any average, sum and sum of squares", () => {
    fc.assert(
      fc.property(inputs, finite, finite, ([a, b], keep, take) => {
        const [x, y, z] = places as [number, number, number];
        const average = results((kernel) => kernel.average(a.length, x, y, keep, take), [a, b], a.length);
        expect(average[0]).toEqual(average[1]);
        const sum = results((kernel) => kernel.add(a.length, x, y), [a, b], a.length);
        expect(sum[0]).toEqual(sum[1]);
        const rounded = Math.ceil(a.length / 8) * 8;
        const squares = kernels.map((kernel) => {
          kernel.f32.fill(0, x / 4, x / 4 + 256).set(a, x / 4);
          const sums = new Float64Array(kernel.buffer, z, 8).fill(0.1);
          kernel.squares(rounded, x, z);
          return [...sums];
        });
        expect(squares[0]).toEqual(squares[1]);
      }),
      { numRuns: 500 },
    );
  });

  test("the SIMD kernel is really in use here", () => {
    // A function of WebAssembly has no source text.
    expect(kernels.map(({ adamw }) => String(adamw).includes("[native code]"))).toEqual([true, false]);
  });

  test("train alike, over arrays longer than a scratch slot", () => {
    const length = SLOT_LENGTH + 13;
    const train = (options: KernelOptions) => {
      const random = new Random(3);
      const parameters = new Map([["w", noise(random, length)]]);
      const optimizer = new AdamW([{ weightDecay: 0.1, shapes: new Map([["w", [length]]]) }], {
        ...SETTINGS,
        ...options,
      });
      for (let i = 0; i < 2; i++) {
        const gradients = new Map([["w", noise(random, length)]]);
        optimizer.step(parameters, gradients, { learningRate: 1e-2, gradientScale: 0.3 });
      }
      return bits(parameters.get("w")!);
    };
    expect(train({ simd: true })).toEqual(train({ simd: false }));
  });
});

describe("state", () => {
  const shapes: ParameterShapes = new Map<string, number[]>([
    ["a.weight", [3, 5]],
    ["a.bias", [3]],
    ["logit_scale", []],
    ["unused", [4]],
  ]);
  const make = () => new AdamW(decayGroups(shapes, 0.1), SETTINGS);
  const gradientsAt = (step: number) => {
    const random = new Random(step);
    const all = [...shapes].map(([name, shape]): [string, Float32Array] => [
      name,
      noise(
        random,
        shape.reduce((a, b) => a * b, 1),
      ),
    ]);
    return new Map(all.filter(([name]) => name !== "unused" && (name !== "a.bias" || step % 2 === 0)));
  };
  const begin = () =>
    f32Map({ "a.weight": Array(15).fill(0.5), "a.bias": [1, 2, 3], logit_scale: [4.6], unused: [1, 2, 3, 4] });
  const throughDisk = ({ tensors, json }: OptimizerState) => ({
    tensors: new Map([...tensors].map(([name, tensor]) => [name, { ...tensor, data: tensor.data.slice() }])),
    json: JSON.parse(JSON.stringify(json)) as JsonValue,
  });

  test("put into another optimizer goes on bit for bit", () => {
    const [straight, parameters] = [make(), begin()];
    for (let step = 0; step < 3; step++) straight.step(parameters, gradientsAt(step), { learningRate: 1e-2 });
    const resumed = make();
    const copies = new Map([...parameters].map(([name, values]) => [name, values.slice()]));
    resumed.step(begin(), gradientsAt(9), { learningRate: 1 });
    resumed.restore(throughDisk(straight.state()));
    for (let step = 3; step < 6; step++) {
      straight.step(parameters, gradientsAt(step), { learningRate: 1e-2 });
      resumed.step(copies, gradientsAt(step), { learningRate: 1e-2 });
    }
    for (const [name, values] of parameters) expect(bits(copies.get(name)!)).toEqual(bits(values));
    expect(resumed.state().json).toEqual({ steps: { "a.bias": 3, logit_scale: 6, "a.weight": 6 } });
    expect(resumed.state().tensors.get("a.weight.exp_avg")!.shape).toEqual([3, 5]);
  });

  test("a parameter without gradient is left alone", () => {
    const [optimizer, parameters] = [make(), begin()];
    optimizer.step(parameters, new Map([["a.bias", Float32Array.of(1, 1, 1)]]), { learningRate: 1 });
    expect([...parameters.get("a.weight")!]).toEqual(Array(15).fill(0.5));
    expect([...parameters.get("a.bias")!]).not.toEqual([1, 2, 3]);
    expect([...optimizer.state().tensors.keys()]).toEqual(["a.bias.exp_avg", "a.bias.exp_avg_sq"]);
  });

  test("of something else is refused, and nothing changes", () => {
    const optimizer = make();
    optimizer.step(begin(), gradientsAt(0), { learningRate: 1e-2 });
    const good = throughDisk(optimizer.state());
    const without = (name: string) => new Map([...good.tensors].filter(([key]) => key !== name));
    const wrongShape = new Map(good.tensors).set("a.bias.exp_avg", {
      dtype: "f32",
      shape: [1, 3],
      data: new Float32Array(3),
    });
    const bad: Parameters<AdamW["restore"]>[0][] = [
      { ...good, tensors: without("a.weight.exp_avg_sq") },
      { ...good, tensors: wrongShape },
      { ...good, json: { steps: { "a.weight": 1, stranger: 1 } } },
      ...[null, 3, "steps", [], {}, { steps: null }, { steps: [1] }, { steps: { "a.bias": 0.5 } }].map((json) => ({
        ...good,
        json,
      })),
    ];
    for (const state of bad) expect(codeOf(() => optimizer.restore(state))).toBe("CHECKPOINT_MISMATCH");
    expect(throughDisk(optimizer.state())).toEqual(good);
  });
});

test("wrong settings and wrong arrays are named", () => {
  const shapes = new Map([["w", [2]]]);
  const group = { weightDecay: 0.1, shapes };
  const invalid: [ConstructorParameters<typeof AdamW>[0], Partial<typeof SETTINGS> | object][] = [
    [[group], { betas: [1, 0.9] }],
    [[group], { betas: [0.9, Number.NaN] }],
    [[group], { eps: -1 }],
    [[{ ...group, weightDecay: Number.POSITIVE_INFINITY }], {}],
    [[group, group], {}],
  ];
  for (const [groups, wrong] of invalid) {
    expect(codeOf(() => new AdamW(groups, { ...SETTINGS, ...wrong }))).toBe("ARGUMENT_INVALID");
  }
  const optimizer = new AdamW([group], SETTINGS);
  const two = new Map([["w", new Float32Array(2)]]);
  const three = new Map([["w", new Float32Array(3)]]);
  expect(codeOf(() => optimizer.step(new Map(), two, { learningRate: 1 }))).toBe("ARGUMENT_INVALID");
  expect(codeOf(() => optimizer.step(three, two, { learningRate: 1 }))).toBe("SHAPE_MISMATCH");
  expect(codeOf(() => optimizer.step(two, three, { learningRate: 1 }))).toBe("SHAPE_MISMATCH");
  expect(optimizer.state().json).toEqual({ steps: {} });
});

test("moments that no memory can hold are refused", () => {
  const shapes = new Map([["huge.weight", [2 ** 20, 2 ** 12]]]);
  expect(codeOf(() => new AdamW(decayGroups(shapes, 0.1), SETTINGS))).toBe("OUT_OF_MEMORY");
});

test("moments larger than one memory are spread over several", () => {
  // Nothing is touched, so nothing is committed but addresses.
  const shapes = new Map(["a", "b", "c"].map((name) => [name, [80, 2 ** 20]]));
  const optimizer = new AdamW(decayGroups(new Map([...shapes, ["s", [3]]]), 0.1), SETTINGS);
  const parameters = f32Map({ s: [1, 2, 3] });
  optimizer.step(parameters, f32Map({ s: [1, -1, 2] }), { learningRate: 0.5 });
  expect([...parameters.get("s")!].map((x) => x.toFixed(4))).toEqual(["0.5000", "2.5000", "2.5000"]);
});
