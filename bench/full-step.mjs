// A whole training step of TokLIP at full size, batch 1: VQ encoder, teacher, text tower, student forwards and backwards,
// AdamW. Prints seconds a step and the peak of the process's memory. First `npm run build`, then:
//   node dist/cli/main.js init --config ViT-SO400M-16-SigLIP2-256-toklip --seed 1 --out student.safetensors
//   node dist/cli/main.js init --config teacher.json --seed 2 --out teacher.safetensors    (the same trunk, without vq)
//   node bench/full-step.mjs --model student.safetensors [--teacher teacher.safetensors] [--recompute true] [--steps 3]
import { ndarray, Random } from "../dist/core/index.js";
import { builtInConfig } from "../dist/models/index.js";
import { openCheckpointFile } from "../dist/node/checkpoint.js";
import { createOrtBackend } from "../dist/node/ort-backend.js";
import { nodePlatform } from "../dist/node/platform.js";
import { findConfig } from "../dist/pipelines/model-files.js";
import { createSchedule } from "../dist/train/schedule.js";
import { createToklipTrainer } from "../dist/train/towers-trainer.js";
import { option, printTable } from "./measure.mjs";

const source = option("model");
if (!source) throw new Error("--model is needed");
const teacherSource = option("teacher");
const recompute = option("recompute", "false") === "true";
const text = option("text", "true") === "true";
const steps = Number(option("steps", "3"));

const checkpoint = await openCheckpointFile(source);
const model = builtInConfig(option("config") ?? "ViT-SO400M-16-SigLIP2-256-toklip");
const teacherFile = teacherSource ? await openCheckpointFile(teacherSource) : undefined;
const teacher = teacherFile &&
  teacherSource && {
    checkpoint: teacherFile,
    config: await findConfig(nodePlatform, teacherSource, teacherFile, undefined),
  };
const backend = createOrtBackend();
const gib = () => (process.resourceUsage().maxRSS / 2 ** 20).toFixed(2);
const start = performance.now();
const { trainer } = await createToklipTrainer({
  backend,
  model,
  checkpoints: [checkpoint],
  ...(teacher && { teacher }),
  weights: { contrastive: text ? 1 : 0, distillation: teacher ? 1000 : 0, tokenDistillation: 0 },
  seed: 0,
  optimizer: { betas: [0.9, 0.95], eps: 1e-6, weightDecay: 0.1 },
  logitScaleRange: [0, Math.log(100)],
  schedule: createSchedule("constant", { learningRate: 1e-5 }),
  batchSize: 1,
  recompute,
});
console.log(`opened in ${((performance.now() - start) / 1000).toFixed(1)} s, ${gib()} GiB so far`);
const random = new Random(1);
const size = model.trunk.imageSize;
const batch = {
  pixels: ndarray(
    "f32",
    [1, 3, size, size],
    Float32Array.from({ length: 3 * size * size }, () => random.uniform() * 2 - 1),
  ),
  textIds: ndarray("i32", [1, model.text.contextLength]),
  concepts: ndarray("i32", [1], Int32Array.of(0)),
  keys: ["a"],
};
const rows = [];
for (let step = 0; step < steps; step++) {
  const begun = performance.now();
  const { loss } = await trainer.step(batch, { step, total: steps });
  rows.push([step, ((performance.now() - begun) / 1000).toFixed(2), loss.toPrecision(5), gib()]);
}
printTable(["step", "seconds", "loss", "peak GiB"], rows);
await trainer.dispose();
await backend.dispose();
