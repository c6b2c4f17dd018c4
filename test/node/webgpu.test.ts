// Training on WebGPU, on a software device: the gradients of the CPU, and steps whose parameters never leave the device.
import { spawn } from "node:child_process";
import path from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Transpiled, transpile } from "../cli/transpile.ts";
import { goldenJson } from "../goldens.ts";
import { HAS_SOFTWARE_VULKAN, type SoftwareVulkan, unpackSoftwareVulkan } from "./software-vulkan.ts";
import type { WebgpuFindings } from "./webgpu-child.ts";

/** Gradients of K biases are zero but for rounding, which Adam turns into steps. */
const isNoise = (name: string) => /kv\.bias/.test(name);

function largest(errors: Readonly<Record<string, number>>): number {
  return Math.max(...Object.entries(errors).map(([name, error]) => (isNoise(name) ? 0 : error)));
}

// Only where there is a driver: elsewhere the tests show as skipped. Where there is one, a device that cannot be had fails.
describe.skipIf(!HAS_SOFTWARE_VULKAN)("the training of the tiny TokLIP on a WebGPU device", () => {
  let built: Transpiled;
  let vulkan: SoftwareVulkan;
  let found: WebgpuFindings;
  beforeAll(async () => {
    built = await transpile(["test/goldens.ts", "test/train/tiny-training.ts", "test/node/webgpu-child.ts"]);
    vulkan = await unpackSoftwareVulkan();
    const child = spawn(process.execPath, [path.join(built.folder, "test/node/webgpu-child.js")], {
      env: { ...process.env, ...vulkan.environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const ended = new Promise((resolve) => child.once("close", resolve));
    const [output, complaints] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
    expect(await ended, complaints).toBe(0);
    found = JSON.parse(output) as WebgpuFindings;
  }, 600_000);
  afterAll(async () => {
    await built.remove();
    await vulkan.remove();
  });

  test("runs whole on the device: no node of a graph falls back to the CPU", () => {
    expect(found.graphs).toEqual(["train_step", "gradients", "eval_towers", "eval_loss_5"]);
  });

  test("has the losses and all gradients of the CPU", () => {
    expect(Object.keys(found.parts.webgpu)).toEqual(["contrastive", "distill"]);
    for (const [name, value] of Object.entries(found.parts.cpu)) {
      expect(Math.abs(found.parts.webgpu[name]! / value - 1), name).toBeLessThan(1e-5);
    }
    const { groups } = goldenJson("train/golden_train.json") as { groups: readonly { params: readonly string[] }[] };
    const trained = groups.flatMap(({ params }) => params);
    expect(Object.keys(found.gradientErrors).sort()).toEqual(trained.sort());
    for (const [name, error] of Object.entries(found.gradientErrors)) expect(error, name).toBeLessThan(1e-4);
  });

  test("makes the steps of the CPU with its parameters, moments and averages staying where they are", () => {
    expect(found.reports.webgpu).toHaveLength(4);
    for (const [step, { loss, gradientNorm }] of found.reports.cpu.entries()) {
      const report = found.reports.webgpu[step]!;
      expect(Math.abs(report.loss / loss - 1), `step ${step}`).toBeLessThan(1e-5);
      expect(Math.abs(report.gradientNorm / gradientNorm - 1), `step ${step}`).toBeLessThan(1e-5);
    }
    expect(largest(found.stateErrors.model!)).toBeLessThan(1e-5);
    expect(largest(found.stateErrors.ema!)).toBeLessThan(1e-5);
    expect(largest(found.stateErrors.optimizer!)).toBeLessThan(1e-4);
  });

  test("evaluates the averaged parameters as the CPU does", () => {
    expect(Object.keys(found.evaluations.webgpu)).toEqual(Object.keys(found.evaluations.cpu));
    for (const [name, value] of Object.entries(found.evaluations.cpu)) {
      expect(Math.abs(found.evaluations.webgpu[name]! - value), name).toBeLessThanOrEqual(1e-5 * Math.abs(value));
    }
  });
});
