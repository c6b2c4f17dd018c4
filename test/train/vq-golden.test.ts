// The VQ trainer's own step against the reference: losses and gradients of generator and discriminator.
import { afterAll, describe, expect, test } from "vitest";
import type { NDArray } from "../../src/core/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import type { Parameters } from "../../src/train/training-graph.ts";
import type { DiscriminatorOptions, VqLossOptions } from "../../src/train/vq-objective.ts";
import { VqTrainer } from "../../src/train/vq-trainer.ts";
import { goldenJson, goldenTensors } from "../goldens.ts";
import { type GradientSummary, largest, relativeDistance, summaryDistance } from "../gradient-summaries.ts";
import { lpipsWeights } from "../lpips-weights.ts";
import { readVqGolden } from "../vq-goldens.ts";

interface VqganCase {
  readonly kwargs: {
    readonly perceptual_weight: number;
    readonly reconstruction_loss?: "l1" | "l2";
    readonly reconstruction_weight?: number;
    readonly disc_adaptive_weight?: boolean;
  };
  readonly global_step: number;
  readonly disc_start: number;
  readonly disc_weight: number;
  readonly entropy_ratio: number;
  readonly fp64: { readonly loss_gen: number; readonly loss_disc: number };
  readonly grad_samples: Readonly<Record<string, GradientSummary>>;
  readonly disc_grad_samples: Readonly<Record<string, GradientSummary>>;
}

const { vqloss, seed } = goldenJson("ar/vq_gan.json") as { vqloss: readonly VqganCase[]; seed: number };
const gan = await goldenTensors("ar/vq_gan.safetensors");
const small = await readVqGolden("vq8_small");
const pixels = (await small.golden("input")) as NDArray<"f32">;
const perceptualWeights = lpipsWeights();
const backend = createOrtBackend();
afterAll(() => backend.dispose());

const PLAIN: VqLossOptions = {
  reconstruction: "l2",
  reconstructionWeight: 1,
  perceptualWeight: 0,
  beta: 0.25,
  entropyRatio: 0,
  entropyTemperature: 0.01,
};

function lossOf({ kwargs, disc_start, disc_weight, entropy_ratio }: VqganCase): VqLossOptions {
  const discriminator: DiscriminatorOptions = {
    ndf: 8,
    numLayers: 3,
    loss: "hinge",
    weight: disc_weight,
    start: disc_start,
    adaptive: kwargs.disc_adaptive_weight ?? false,
  };
  return {
    ...PLAIN,
    reconstruction: kwargs.reconstruction_loss ?? "l2",
    reconstructionWeight: kwargs.reconstruction_weight ?? 1,
    perceptualWeight: kwargs.perceptual_weight,
    entropyRatio: entropy_ratio,
    discriminator,
  };
}

async function createTrainer(loss: VqLossOptions, { partSize = 2, recompute = false } = {}): Promise<VqTrainer> {
  const parameters: Parameters = new Map();
  const put = (name: string, { shape, data }: NDArray) =>
    parameters.set(name, { dtype: "f32", shape, data: (data as Float32Array<ArrayBuffer>).slice() });
  for (const [name, array] of small.weights) put(name, array);
  parameters.delete("quantize.codebook_used");
  if (loss.discriminator) {
    for (const name of Object.keys(vqloss[0]!.disc_grad_samples)) {
      put(`discriminator.${name}`, await gan(`disc.init.${name}`));
    }
    for (const layer of [3, 6, 9]) {
      for (const statistic of ["running_mean", "running_var"]) {
        const name = `main.${layer}.${statistic}`;
        put(`discriminator.${name}`, await gan(`disc.init.${name}`));
      }
    }
  }
  return new VqTrainer({
    backend,
    config: small.config,
    imageSize: 32,
    loss,
    parameters,
    frozen: async (name) => ({ kind: "array", value: perceptualWeights.get(name.slice("perceptual.".length))! }),
    update: { betas: [0.9, 0.95], eps: 1e-8, clipNorm: 1 },
    weightDecay: (held) => [{ weightDecay: 0, shapes: new Map([...held].map(([name, { shape }]) => [name, shape])) }],
    schedule: () => 1e-4,
    codebook: { patience: 1000, reviveEvery: 0 },
    seed: 0,
    batchSize: 2,
    partSize,
    recompute,
  });
}

const zero = new Set(small.manifest.losses.ent0.zero_grad_params);

describe.each([
  ["ent0", 0],
  ["ent", 0.1],
] as const)("the VQ's step in case %s", (which, entropyRatio) => {
  test.each([false, true])("has the reference's losses and gradients; blocks computed again: %s", async (recompute) => {
    const trainer = await createTrainer({ ...PLAIN, entropyRatio }, { recompute });
    const { parts, gradients } = await trainer.gradients(pixels, 0);
    const { fp64 } = small.manifest.losses[which];
    expect(Math.abs(parts.reconstruction! / fp64.rec_l2! - 1)).toBeLessThan(1e-6);
    expect(Math.abs(parts.codebook! / fp64.vq_loss! - 1)).toBeLessThan(1e-6);
    expect(Math.abs(parts.commitment! / fp64.commit_loss! - 1)).toBeLessThan(1e-6);
    // Its two entropies are twenty times their difference: 1e-6 of them.
    if (entropyRatio > 0) expect(Math.abs(parts.entropy! - fp64.entropy_loss!)).toBeLessThan(1e-6);
    for (const [name, summary] of Object.entries(small.manifest.grad_samples[which])) {
      const gradient = gradients.get(name)!;
      if (zero.has(name))
        expect(largest({ dtype: "f32", shape: [], data: gradient as never }), name).toBeLessThan(1e-6);
      else expect(summaryDistance(name, gradient, summary, small.manifest.seed), name).toBeLessThan(1e-3);
    }
    await trainer.dispose();
  });
});

describe("the VQ's step with its discriminator", () => {
  // Before its start, with it, and with adaptive weight, LPIPS and l1; the fourth is a step between the last two.
  test.each([0, 1, 3].map((i) => [i, vqloss[i]!] as const))("case %i", async (_, given) => {
    const trainer = await createTrainer(lossOf(given));
    const { parts, gradients } = await trainer.gradients(pixels, given.global_step - 1);
    const { discriminator = 0, ...generator } = parts;
    const total = Object.values(generator).reduce((sum, part) => sum + part, 0);
    expect(Math.abs(total - given.fp64.loss_gen)).toBeLessThan(1e-5);
    expect(Math.abs(discriminator - given.fp64.loss_disc)).toBeLessThan(1e-6);
    const begun = given.global_step >= given.disc_start;
    const judged = begun ? Object.entries(given.disc_grad_samples) : [];
    for (const [name, summary] of judged) {
      const gradient = gradients.get(`discriminator.${name}`)!;
      if (summary.l2 < 1e-6)
        expect(largest({ dtype: "f32", shape: [], data: gradient as never }), name).toBeLessThan(1e-6);
      else expect(summaryDistance(name, gradient, summary, seed), name).toBeLessThan(1e-3);
    }
    for (const [name, summary] of Object.entries(given.grad_samples)) {
      if (zero.has(name) || summary.l2 === 0) continue; // held to 1e-6 of what is around them in test/losses
      expect(summaryDistance(name, gradients.get(name)!, summary, seed), name).toBeLessThan(1e-3);
    }
    expect(gradients.size > Object.keys(given.grad_samples).length).toBe(begun);
    await trainer.dispose();
  });

  test("running statistics move while it judges", async () => {
    const given = vqloss[1]!;
    const trainer = await createTrainer(lossOf(given));
    const before = (await gan("disc.init.main.3.running_mean")).data as Float32Array;
    await trainer.gradients(pixels, given.global_step - 1);
    const after = trainer.state().files.discriminator!.get("discriminator.main.3.running_mean")!.data as Float32Array;
    expect(relativeDistance(after, before)).toBeGreaterThan(0.01);
    await trainer.dispose();
  });
});

test("a batch in parts has the mean of their gradients", async () => {
  const [whole, inParts] = [await createTrainer(PLAIN), await createTrainer(PLAIN, { partSize: 1 })];
  const expected = await whole.gradients(pixels, 0);
  const got = await inParts.gradients(pixels, 0);
  for (const [name, gradient] of expected.gradients) {
    if (!zero.has(name)) expect(relativeDistance(got.gradients.get(name)!, gradient), name).toBeLessThan(1e-4);
  }
  expect(got.parts.reconstruction).toBeCloseTo(expected.parts.reconstruction!, 6);
  for (const trainer of [whole, inParts]) await trainer.dispose();
});
