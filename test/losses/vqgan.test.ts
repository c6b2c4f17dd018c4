// The VQ trainer's whole losses against the reference: generator with adaptive weight and LPIPS, and discriminator.
import { afterAll, describe, expect, test } from "vitest";
import type { NDArray } from "../../src/core/index.ts";
import {
  add,
  Graph,
  gradients,
  interpretGraph,
  mul,
  simplifyGraph,
  stopGradient,
  type Tensor,
} from "../../src/graph/index.ts";
import {
  ADVERSARIAL_LOSSES,
  adaptiveWeight,
  meanOf,
  quantizationLosses,
  RECONSTRUCTION_LOSSES,
  type ReconstructionLoss,
} from "../../src/losses/index.ts";
import { lpips, PATCH_DISCRIMINATOR, patchDiscriminator, vq } from "../../src/models/index.ts";
import { Scope } from "../../src/nn/index.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { goldenJson, goldenTensors } from "../goldens.ts";
import { type GradientSummary, largest, summaryDistance } from "../gradient-summaries.ts";
import { lpipsWeights } from "../lpips-weights.ts";
import { readVqGolden } from "../vq-goldens.ts";

interface VqganCase {
  readonly kwargs: {
    readonly perceptual_weight: number;
    readonly reconstruction_loss?: ReconstructionLoss;
    readonly reconstruction_weight?: number;
    readonly disc_adaptive_weight?: boolean;
  };
  readonly global_step: number;
  readonly disc_start: number;
  readonly disc_weight: number;
  readonly entropy_ratio: number;
  readonly fp64: { readonly loss_gen: number; readonly loss_disc: number; readonly adaptive_weight: number | null };
  readonly grad_samples: Readonly<Record<string, GradientSummary>>;
  readonly disc_grad_samples: Readonly<Record<string, GradientSummary>>;
}

const DISCRIMINATOR = "discriminator.";
const LPIPS = "lpips.";

const { vqloss, seed } = goldenJson("ar/vq_gan.json") as { vqloss: readonly VqganCase[]; seed: number };
const golden = await goldenTensors("ar/vq_gan.safetensors");
const reference = await readVqGolden("vq8_small");
const pixels = await reference.golden("input");
const zero = new Set(reference.manifest.losses.ent.zero_grad_params);

const weights = new Map<string, NDArray>(reference.weights);
for (const name of Object.keys(vqloss[0]!.disc_grad_samples)) {
  weights.set(`${DISCRIMINATOR}${name}`, await golden(`disc.init.${name}`));
}
for (const [name, array] of lpipsWeights()) weights.set(`${LPIPS}${name}`, array);

/** What the cases share: the picture, its reconstruction, the quantiser's losses, the discriminator's judgements. */
function traceShared(graph: Graph, entropyRatio: number) {
  const scope = new Scope(graph);
  const { config, shape } = reference;
  const fed = graph.input("pixels", "f32", shape);
  const quantized = vq.quantizeForTraining(scope, vq.encodeVectors(scope, fed, config), config);
  const reconstruction = vq.decodeVectors(scope, quantized.quantized, config);
  const judge = (picture: Tensor) =>
    patchDiscriminator(
      scope.at(DISCRIMINATOR.slice(0, -1)),
      picture,
      { ...PATCH_DISCRIMINATOR, ndf: 8 },
      { training: true },
    ).logits;
  const { total } = quantizationLosses(quantized, { entropyRatio });
  return { scope, fed, reconstruction, judge, quantization: total };
}

/** The losses of one case as the page has them (spec/ar.md, section 2). */
function traceCase(
  shared: ReturnType<typeof traceShared>,
  { kwargs, global_step, disc_start, disc_weight }: VqganCase,
) {
  const { scope, fed, reconstruction, judge, quantization } = shared;
  const { perceptual_weight, reconstruction_loss = "l2", reconstruction_weight = 1 } = kwargs;
  const { generator, discriminator } = ADVERSARIAL_LOSSES.hinge;
  const discriminatorWeight = global_step >= disc_start ? disc_weight : 0;

  const pixelLoss = mul(RECONSTRUCTION_LOSSES[reconstruction_loss](reconstruction, fed), reconstruction_weight);
  const perceptual = () => mul(meanOf(lpips(scope.at("lpips"), fed, reconstruction)), perceptual_weight);
  const nll = perceptual_weight === 0 ? pixelLoss : add(pixelLoss, perceptual());
  const adversarial = generator(judge(reconstruction));
  const lastWeight = scope.graph.parameters.get("decoder.conv_out.weight")!;
  const adaptive = kwargs.disc_adaptive_weight ? adaptiveWeight(nll, adversarial, lastWeight) : undefined;
  const weighted = mul(adaptive ? mul(adversarial, adaptive) : adversarial, discriminatorWeight);
  const loss_gen = add(add(nll, weighted), quantization);
  const loss_disc = mul(discriminator(judge(fed), judge(stopGradient(reconstruction))), discriminatorWeight);
  return { loss_gen, loss_disc, ...(adaptive && { adaptive_weight: adaptive }) };
}

/** One case with the gradients of both losses, each with respect to its own network. */
function traceStep(given: VqganCase): Graph {
  const graph = new Graph();
  const losses = traceCase(traceShared(graph, given.entropy_ratio), given);
  for (const [name, value] of Object.entries(losses)) graph.output(name, value);
  const sides = { loss_gen: Object.keys(given.grad_samples), loss_disc: Object.keys(given.disc_grad_samples) };
  for (const [side, names] of Object.entries(sides) as ["loss_gen" | "loss_disc", string[]][]) {
    const keys = side === "loss_gen" ? names : names.map((name) => `${DISCRIMINATOR}${name}`);
    const slopes = gradients(
      losses[side],
      keys.map((key) => graph.parameters.get(key)!),
    );
    keys.forEach((key, i) => {
      graph.output(`grad.${key}`, slopes[i]!);
    });
  }
  return graph;
}

const backend = createOrtBackend();
afterAll(() => backend.dispose());

const describeCase = ({ kwargs, global_step, disc_start }: VqganCase) =>
  [
    global_step < disc_start ? "before the discriminator starts" : "with the discriminator",
    ...(kwargs.disc_adaptive_weight ? ["adaptive weight"] : []),
    ...(kwargs.perceptual_weight > 0 ? ["LPIPS"] : []),
    kwargs.reconstruction_loss ?? "l2",
  ].join(", ");

describe.each(vqloss.map((given) => ({ name: describeCase(given), given })))(
  "a step $name equals the reference",
  async ({ given }) => {
    const session = await backend.compile({
      name: "step",
      graph: traceStep(given),
      weight: async (name) => ({ kind: "array", value: weights.get(name)! }),
    });
    const outputs = await session.run({ pixels });
    const numberOf = (name: string) => outputs[name]!.data[0] as number;

    test("in the losses", () => {
      // The page's tolerance for f32 (spec/ar.md, section 5), of the terms, which partly cancel; float64 is below.
      expect(Math.abs(numberOf("loss_gen") - given.fp64.loss_gen)).toBeLessThan(1e-5);
      expect(Math.abs(numberOf("loss_disc") - given.fp64.loss_disc)).toBeLessThan(1e-5);
    });

    const { adaptive_weight } = given.fp64;
    if (adaptive_weight !== null) {
      test("in the adaptive weight", () => {
        // A quotient of gradients: it has their tolerance.
        expect(Math.abs(numberOf("adaptive_weight") / adaptive_weight - 1)).toBeLessThan(1e-3);
      });
    }

    // A bias before a normalisation moves nothing: what is left of its gradient is rounding, which grows with the
    // gradients around it (up to 374 here), so it is measured against the weight beside it.
    const siblingNorm = (name: string) => given.grad_samples[name.replace(/bias$/, "weight")]!.l2;
    const check = (key: string, name: string, summary: GradientSummary) => {
      const gradient = outputs[`grad.${key}`]!;
      if (summary.l2 === 0) expect(largest(gradient), key).toBeLessThan(1e-6);
      else if (zero.has(name)) expect(largest(gradient) / siblingNorm(name), key).toBeLessThan(1e-6);
      else expect(summaryDistance(name, gradient.data as Float32Array, summary, seed), key).toBeLessThan(1e-3);
    };

    test("in the generator's gradients", () => {
      for (const [name, summary] of Object.entries(given.grad_samples)) check(name, name, summary);
    });

    test("in the discriminator's gradients", () => {
      for (const [name, summary] of Object.entries(given.disc_grad_samples)) {
        check(`${DISCRIMINATOR}${name}`, name, summary);
      }
    });
  },
);

test("in float64 the losses and the adaptive weight are the reference's to 1e-6", () => {
  const graph = new Graph();
  const cases = vqloss.filter(({ kwargs }) => kwargs.perceptual_weight === 0); // LPIPS would take the interpreter too long
  const shared = traceShared(graph, cases[0]!.entropy_ratio);
  cases.forEach((given, i) => {
    for (const [name, value] of Object.entries(traceCase(shared, given))) graph.output(`${i}.${name}`, value);
  });
  const outputs = interpretGraph(simplifyGraph(graph), { pixels }, (name) => weights.get(name));
  const compared = cases.flatMap(({ fp64 }, i) =>
    Object.entries(fp64).map(([name, expected]) => ({ name, expected, found: outputs.get(`${i}.${name}`)?.data[0] })),
  );
  expect(compared).toHaveLength(9);
  for (const { name, expected, found } of compared) {
    if (expected === null) expect(found).toBeUndefined();
    else if (expected === 0) expect(found).toBe(0);
    else expect(Math.abs(found! / expected - 1), name).toBeLessThan(1e-6);
  }
}, 20_000);
