/** `toklip train`: a configuration -> a run's folder with checkpoints, curves and a model. */
import { basename, join } from "node:path";
import type { Command } from "commander";
import { ToklipError } from "../core/index.ts";
import type { TrainingKind } from "../train/run-config.ts";
import type { CliContext, RunVerb } from "./context.ts";
import { readJsonFile } from "./json-file.ts";
import { addOverwriteOption, addReportOptions, collect, type ReportFlags } from "./model-options.ts";
import { formatBytes, formatCount, formatDuration, formatTable } from "./output.ts";
import { Progress } from "./progress.ts";
import { TrainProgress } from "./train-progress.ts";
import { defineTokenizer } from "./train-tokenizer.ts";

interface TrainFlags extends ReportFlags {
  readonly config: string;
  readonly out?: string;
  readonly set?: readonly string[];
  readonly resume?: boolean;
  readonly smoke?: boolean;
  readonly dryRun?: boolean;
}

interface ExportFlags extends ReportFlags {
  readonly out?: string;
  readonly checkpoint?: string;
  readonly weights?: "last" | "ema";
  readonly overwrite?: boolean;
}

interface Kind {
  readonly summary: string;
  readonly help: string;
}

const COMMON_KEYS = `
Keys of every configuration (defaults in brackets; the complete one is written to <out>/config.json):
  model             built-in name, JSON file, or the configuration itself
  data.train        what to train on: shards/{000..099}.tar, a folder, a .csv .tsv .jsonl or .parquet file,
                    or an object with "type" and its settings; data.eval alike [none]
  data.augmentation crop [resized-crop], flip [0], color_jitter, grayscale [0], background [white]
  batch_size        samples of one step, over all processes; part_size: how many at once [all]
  steps or epochs   the length of the run
  init              checkpoints to begin from [at random]
  optimizer         learning_rate, betas, eps, weight_decay, clip_norm, schedule [cosine], warmup
  ema               { "decay": 0.999 } keeps a moving average of the parameters [none]
  device            cpu [the default], cuda or webgpu; checkpoints are the same for all
  recompute         less memory for about a third more time [false]
  log_every [10], eval_every, checkpoint_every, samples_every [500], keep_last [2], seed [0]`;

const KINDS: Readonly<Record<TrainingKind, Kind>> = {
  toklip: {
    summary: "train the token encoder against texts and a pixel teacher; VQ and text tower stay as they are",
    help: `
Keys of its own: tokenizer; teacher { checkpoint, initialize [true] }; loss { contrastive [1], distillation [1000],
token_distillation [0] }; logit_scale_range; cache [false]: true, or a folder that runs share, keeps what the frozen
parts make, so that from the second epoch on no picture is read.

A configuration:
  { "model": "toklip.json", "tokenizer": "tokenizer.json", "init": ["vq.safetensors"],
    "teacher": { "checkpoint": "teacher.safetensors" }, "data": { "train": "shards/{00..07}.tar", "eval": "held.tar" },
    "batch_size": 64, "steps": 20000, "optimizer": { "learning_rate": 1e-4, "warmup": 500 } }

Examples:
  $ toklip train toklip --config run.json --dry-run
  $ toklip train toklip --config run.json --out runs/first --set optimizer.learning_rate=3e-4
  $ toklip train toklip --config run.json --out runs/first --resume
  $ mpirun -n 2 toklip train toklip --config run.json --out runs/second`,
  },
  teacher: {
    summary: "train a pixel image tower and a text tower from scratch",
    help: `
Keys of its own: tokenizer; loss { type: softmax [the default] or sigmoid }; logit_scale_range.

A configuration:
  { "model": "teacher.json", "tokenizer": "tokenizer.json", "data": { "train": "pairs.jsonl" },
    "batch_size": 128, "epochs": 30, "optimizer": { "learning_rate": 1e-3, "warmup": 500 } }

Example:
  $ toklip train teacher --config teacher-run.json --out runs/teacher`,
  },
  vq: {
    summary: "train an image tokenizer (VQGAN)",
    help: `
Keys of its own: loss { reconstruction [l2], perceptual { weight, lpips or onnx }, beta [0.25], entropy_ratio [0],
discriminator { start, weight, loss [hinge], adaptive } }; codebook { patience [500], revive_every [100] }.

A configuration:
  { "model": "toklip.json", "data": { "train": "pictures", "augmentation": { "crop": { "kind": "random-crop" }, "flip": 0.5 } },
    "batch_size": 16, "steps": 50000, "loss": { "reconstruction": "l1" }, "optimizer": { "schedule": "constant" } }

Example:
  $ toklip train vq --config vq-run.json --out runs/vq`,
  },
  ar: {
    summary: "train a transformer that reads and writes texts and pictures, from ids made before",
    help: `
Data are ids of pictures and captions: .jsonl lines of tokenize --captions, .tar shards with .npy or .ids files, or .parquet;
data.augmentation is not theirs. batch_size counts rows of context_length positions, several samples in each.

Keys of its own: tokenizer; toklip { checkpoint }, whose ids they are: for entries that read its features, and for pictures of
samples; token_encoder [frozen] or trained; tasks { text_to_image [1], image_to_text [1] }, the odds of each;
loss { text_to_image [1], image_to_text [1], image_prior [0] }, what each target counts;
samples { guidance_scale [3], temperature [1], top_k [0], top_p [1] }; cache [false] as for toklip.

A configuration:
  { "model": "ar.json", "tokenizer": "tokenizer.json", "toklip": { "checkpoint": "toklip.safetensors" },
    "data": { "train": "ids.jsonl", "eval": "held.jsonl", "captions": "random" },
    "batch_size": 16, "steps": 20000, "optimizer": { "learning_rate": 4e-4, "warmup": 500 } }

Example:
  $ toklip train ar --config ar-run.json --out runs/ar`,
  },
};

const EXPORT_HELP = `
The file has the reference's names and layout, frozen parts and configuration included: toklip, open_clip and safetensors
read it. A run writes its last model so by itself, to <run>/model.safetensors.

Example:
  $ toklip train export runs/first --checkpoint best --out best.safetensors`;

const VERB_HELP = `
Every training of a model takes --config FILE, --out FOLDER, --set key=value, --resume, --smoke, --dry-run, --json and --quiet.

Examples:
  $ toklip train vq --config examples/vq.json --out runs/vq
  $ toklip train toklip --help     what its configuration may say`;

/** Adds the verb's subcommands. */
export function define(command: Command, run: RunVerb): void {
  command.addHelpText("after", VERB_HELP);
  for (const [kind, { summary, help }] of Object.entries(KINDS) as [TrainingKind, Kind][]) {
    const training = command
      .command(kind)
      .summary(summary)
      .description(`${summary[0]!.toUpperCase()}${summary.slice(1)}.`);
    training
      .requiredOption("--config <file>", "the run's configuration, JSON")
      .option("--out <folder>", "the run's folder (default: runs/<name of the configuration>)")
      .option("--set <key=value>", "change a key of the configuration; may be given several times", collect)
      .option("--resume", "go on with the run in the folder, bit for bit")
      .option("--smoke", "the smallest run that goes through everything: 4 steps, few samples, 2 blocks")
      .option("--dry-run", "only check, and show shapes, parameters, memory, work and time");
    addReportOptions(training, "print the result as a JSON object")
      .addHelpText("after", `${COMMON_KEYS}\n${help}`)
      .action((flags: TrainFlags) => run((context) => (flags.dryRun ? estimate : train)(context, kind, flags)));
  }
  defineTokenizer(command, run);
  const summary = "write a checkpoint of a run as one .safetensors file";
  const exporting = command
    .command("export <run>")
    .summary(summary)
    .description("Writes a checkpoint of a run as one .safetensors file.");
  exporting
    .option("--out <file>", "the file to write (default: <run>/model.safetensors)")
    .option("--checkpoint <which>", "last, best, or the number of a step", "last")
    .option("--weights <which>", "last or ema (default: ema where an average is kept)");
  addOverwriteOption(exporting);
  addReportOptions(exporting, "print the result as a JSON object")
    .addHelpText("after", EXPORT_HELP)
    .action((folder: string, flags: ExportFlags) => run((context) => exportModel(context, folder, flags)));
}

async function requestOf(kind: TrainingKind, { config: path, set = [], smoke = false }: TrainFlags) {
  return { kind, config: await readJsonFile(path, "--config"), name: path, overrides: set, smoke };
}

async function train(context: CliContext, kind: TrainingKind, flags: TrainFlags): Promise<number> {
  const { json, quiet, config, smoke, resume = false } = flags;
  const out = flags.out ?? join("runs", `${basename(config, ".json")}${smoke ? "-smoke" : ""}`);
  const progress = new TrainProgress(context, { quiet });
  const bad = new Map<string, number>();
  try {
    const result = await context.engine.train({
      ...(await requestOf(kind, flags)),
      out,
      resume,
      signal: context.signal,
      onEvent: progress.report,
      onBad: ({ reason, message }) => {
        const count = (bad.get(reason) ?? 0) + 1;
        bad.set(reason, count);
        if (count > 1) return;
        progress.report({
          type: "warning",
          message: `bad sample (${reason}), more of the kind are only counted: ${message}`,
        });
      },
    });
    if (bad.size > 0) progress.report({ type: "warning", message: describeBad(bad) });
    progress.stop();
    const { steps, seconds, checkpoint, best, model, rank } = result;
    if (rank > 0) return 0; // the first process tells
    const text = `${out}: ${steps} steps in ${formatDuration(seconds)}, model ${model}`;
    await context.stdout.line(json ? JSON.stringify({ out, steps, seconds, checkpoint, best, model }) : text);
    return 0;
  } finally {
    progress.stop();
  }
}

/** `7 samples could not be used: 5 undecodable, 2 no caption`; one that comes in each epoch counts in each. */
function describeBad(bad: ReadonlyMap<string, number>): string {
  const total = [...bad.values()].reduce((sum, count) => sum + count, 0);
  const reasons = [...bad].map(([reason, count]) => `${count} ${reason}`);
  return `${total} samples could not be used: ${reasons.join(", ")}`;
}

async function estimate(context: CliContext, kind: TrainingKind, flags: TrainFlags): Promise<number> {
  const estimated = await context.engine.estimateTraining({
    ...(await requestOf(kind, flags)),
    signal: context.signal,
  });
  const { inputs, bytes, stepFlop, stepSeconds, steps, samples, matmulFlops, trainedParameters, frozenParameters } =
    estimated;
  if (flags.json) {
    await context.stdout.line(JSON.stringify(estimated));
    return 0;
  }
  const memory = Object.entries(bytes).filter(([name, size]) => name !== "total" && size > 0);
  const rows: [string, string][] = [
    ...Object.entries(inputs).map(([name, shape]): [string, string] => [`input ${name}`, shape]),
    ["trained parameters", formatCount(trainedParameters)],
    ["frozen parameters", formatCount(frozenParameters)],
    [
      "memory, about",
      `${formatBytes(bytes.total)} (${memory.map(([name, size]) => `${name} ${formatBytes(size)}`).join(", ")})`,
    ],
    ["work of a step", `${(stepFlop / 1e9).toPrecision(4)} GFLOP`],
    ["this machine", `${(matmulFlops / 1e9).toFixed(0)} GFLOP/s on matrix products`],
    ["a step, about", formatSeconds(stepSeconds)],
    ["samples", samples === undefined ? "not known before reading" : formatCount(samples)],
    ["steps", steps === undefined ? "not known before reading" : String(steps)],
    ...(steps === undefined ? [] : [["the run, about", formatDuration(steps * stepSeconds)] as [string, string]]),
  ];
  await context.stdout.line(formatTable(rows));
  return 0;
}

function formatSeconds(seconds: number): string {
  return seconds < 1 ? `${(seconds * 1000).toPrecision(3)} ms` : formatDuration(seconds);
}

async function exportModel(context: CliContext, run: string, flags: ExportFlags): Promise<number> {
  const { json, quiet, out, checkpoint = "last", weights, overwrite = false } = flags;
  const which = checkpoint === "last" || checkpoint === "best" ? checkpoint : Number(checkpoint);
  if (typeof which === "number" && !(Number.isSafeInteger(which) && which > 0)) {
    throw new ToklipError("USAGE", `--checkpoint ${checkpoint}: expected last, best or the number of a step`);
  }
  if (weights !== undefined && weights !== "last" && weights !== "ema") {
    throw new ToklipError("USAGE", `--weights ${weights}: expected last or ema`);
  }
  const progress = new Progress(context, { quiet });
  try {
    const result = await context.engine.exportRun({
      run,
      checkpoint: which,
      overwrite,
      signal: context.signal,
      onProgress: progress.report,
      ...(out !== undefined && { out }),
      ...(weights !== undefined && { weights }),
    });
    progress.stop();
    await context.stdout.line(json ? JSON.stringify(result) : `${result.out}: step ${result.step}`);
    return 0;
  } finally {
    progress.stop();
  }
}
