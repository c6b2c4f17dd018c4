/**
 * Trains the tiny TokLIP on the WebGPU device of this process and on the CPU, and writes what it found as JSON. A device
 * on the CPU is slow: what is not trained runs on the CPU in both cases.
 */
import ort from "onnxruntime-node";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import { type Backend, compileProgram, type Program } from "../../src/runtime/index.ts";
import type { LossAndGradients } from "../../src/train/contrastive-step.ts";
import type { ContrastiveTrainer } from "../../src/train/contrastive-trainer.ts";
import type { StepReport, TrainerState } from "../../src/train/trainer.ts";
import { goldenBatch, relativeError, tinyTrainer } from "../train/tiny-training.ts";

/** What the test looks at. */
export interface WebgpuFindings {
  /** The names of the graphs that ran on the device, none of their nodes elsewhere. */
  readonly graphs: readonly string[];
  readonly parts: Readonly<Record<"cpu" | "webgpu", Readonly<Record<string, number>>>>;
  /** The relative error of each gradient. */
  readonly gradientErrors: Readonly<Record<string, number>>;
  readonly reports: Readonly<Record<"cpu" | "webgpu", readonly StepReport[]>>;
  /** The relative error of each array after the steps, by file. */
  readonly stateErrors: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** The evaluations after the steps: of the parameters on the device, and of the same ones on the CPU. */
  readonly evaluations: Readonly<Record<"cpu" | "webgpu", Readonly<Record<string, number>>>>;
  readonly milliseconds: Readonly<Record<"cpu" | "webgpu", readonly number[]>>;
}

const FROZEN = ["vq_encoder", "text_encoder", "pixel_encoder"];
const STEPS = 4;

/** Compiles with fallback to the CPU forbidden. @throws what ONNX Runtime throws when a node has no kernel */
async function checkPlacement(program: Program): Promise<void> {
  const fed: Program = { ...program, weight: async () => ({ kind: "fed" }) };
  const bytes = await compileProgram(fed, { locate: (path) => path });
  const extra = { session: { disable_cpu_ep_fallback: "1" } };
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: ["webgpu"],
    logSeverityLevel: 4,
    extra,
  });
  await session.release();
}

const graphs: string[] = [];
const cpu = createOrtBackend();
const device = createOrtBackend({ device: "webgpu" });
const mixed: Backend = {
  compile: async (program, options) => {
    if (FROZEN.includes(program.name)) return cpu.compile(program, options);
    await checkPlacement(program);
    graphs.push(program.name);
    return device.compile(program, options);
  },
  dispose: () => device.dispose(),
};

const batch = await goldenBatch();
const changes = {
  optimizer: { betas: [0.9, 0.95], eps: 1e-6, weightDecay: 0.1, clipNorm: 1 },
  ema: { decay: 0.9, warmup: true },
} as const;

async function* once() {
  yield batch;
}

interface Training {
  readonly first: LossAndGradients;
  readonly reports: StepReport[];
  readonly milliseconds: number[];
  readonly state: TrainerState;
  readonly trainer: ContrastiveTrainer;
}

async function train(backend: Backend, resident: boolean): Promise<Training> {
  const { trainer } = await tinyTrainer(backend, { ...changes, resident });
  const first = await trainer.lossAndGradients(batch);
  const reports: StepReport[] = [];
  const milliseconds: number[] = [];
  for (let step = 0; step < STEPS; step++) {
    const start = performance.now();
    reports.push(await trainer.step(batch, { step, total: 10 }));
    milliseconds.push(Math.round(performance.now() - start));
  }
  return { first, reports, milliseconds, state: await trainer.state(), trainer };
}

type Arrays = ReadonlyMap<string, { readonly data: unknown }>;

function errors(actual: Arrays, expected: Arrays): Record<string, number> {
  const error = (name: string, { data }: { readonly data: unknown }) =>
    relativeError(actual.get(name)!.data as Float32Array, data as Float32Array);
  return Object.fromEntries([...expected].map(([name, array]) => [name, error(name, array)]));
}

function asArrays(gradients: LossAndGradients["gradients"]): Arrays {
  return new Map([...gradients].map(([name, data]) => [name, { data }]));
}

const host = await train(cpu, false);
const kept = await train(mixed, true);
// Before the state of the device goes to the CPU, into the arrays that `host.state` shows.
const stateErrors = Object.fromEntries(
  Object.entries(host.state.files).map(([file, expected]) => [file, errors(kept.state.files[file]!, expected)]),
);
await host.trainer.restore(kept.state);

const findings: WebgpuFindings = {
  parts: { cpu: host.first.parts, webgpu: kept.first.parts },
  gradientErrors: errors(asArrays(kept.first.gradients), asArrays(host.first.gradients)),
  reports: { cpu: host.reports, webgpu: kept.reports },
  stateErrors,
  evaluations: { cpu: await host.trainer.evaluate(once()), webgpu: await kept.trainer.evaluate(once()) },
  milliseconds: { cpu: host.milliseconds, webgpu: kept.milliseconds },
  graphs,
};
process.stdout.write(JSON.stringify(findings));
await cpu.dispose();
await device.dispose();
