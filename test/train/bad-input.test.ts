// What is wrong with a training's input is one line that says it, before anything is written where that is possible.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeEngine } from "../../src/cli/engine.ts";
import { initCheckpoint } from "../../src/node/init.ts";
import { toklip } from "../cli/harness.ts";
import { goldenPath } from "../goldens.ts";
import { makeShards } from "./killed-runs.ts";
import { enterWorkspace, PLAIN, RUNS, TEACHER_MODEL, TOKLIP_MODEL, train } from "./workspace.ts";

const { toklip: TOKLIP, teacher: TEACHER, vq: VQ } = RUNS;
const WIDE_TEACHER = {
  checkpoint: goldenPath("train/teacher.pt"),
  model: goldenPath("model_configs/ViT-tiny-16-SigLIP2-64.json"),
};

let leave: () => Promise<void>;
beforeAll(async () => {
  leave = await enterWorkspace();
  await makeShards();
  const trunk = { width: 32, depth: 2, heads: 2, mlp_ratio: 2, patch_size: 32, causal: false };
  const large = { ...TEACHER_MODEL, vision_cfg: { image_size: 128, trunk } };
  await initCheckpoint({ config: large, seed: 1, out: "models/large.safetensors" });
  await initCheckpoint({ config: TEACHER_MODEL, seed: 1, parts: "text", out: "models/text.safetensors" });
  mkdirSync("empty");
  for (const folder of ["captionless", "half", "damaged"]) cpSync("pictures", folder, { recursive: true });
});
afterAll(() => leave());

const captionsIn = (folder: string) => readdirSync(folder).filter((name) => name.endsWith(".txt"));

let runs = 0;
/** Tries a run; gives its lines on stderr and the names of what it left. */
async function attempt(kind: string, config: unknown, args: readonly string[] = []) {
  const name = `bad-${runs++}`;
  const { status, stderr } = await train(kind, name, config, args);
  return { status, lines: stderr.trimEnd().split("\n"), left: existsSync(name) ? readdirSync(name) : [] };
}

/** Names of files, and where a run stood, are cut out. */
async function lineOf(kind: string, config: unknown, args: readonly string[] = []): Promise<string> {
  const { status, lines, left } = await attempt(kind, config, args);
  expect(lines).toHaveLength(1);
  expect(left).toEqual([]);
  const [, message, code] = /^toklip: (?:bad-\d+\.json: )?(.*) \[([A-Z_]+)\]; [^;]+$/.exec(lines[0]!) ?? [];
  expect(status).toBe(code === "USAGE" ? 2 : 1);
  return `${code} ${message}`;
}

describe("a configuration", () => {
  test.each<[string, string, unknown]>([
    ["an unknown key", "CONFIG_INVALID unknown key optimiser (did you mean optimizer?)", { ...TEACHER, optimiser: {} }],
    [
      "an unknown key in a section",
      "CONFIG_INVALID unknown key optimizer.learning_rat (did you mean learning_rate?)",
      { ...TEACHER, optimizer: { learning_rat: 1 } },
    ],
    [
      "an unknown key of a data source",
      "CONFIG_INVALID unknown key data.train.pth (did you mean path?)",
      { ...TEACHER, data: { train: { type: "folder", pth: "pictures" } } },
    ],
    [
      "an unknown key of one choice among several",
      "CONFIG_INVALID unknown key data.augmentation.crop.scal (did you mean scale?)",
      { ...TEACHER, data: { train: "pictures", augmentation: { crop: { kind: "squash", scal: 1 } } } },
    ],
    [
      "a value of the wrong type",
      "CONFIG_INVALID batch_size: Invalid input: expected number, received string",
      { ...TEACHER, batch_size: "8" },
    ],
    [
      "a value that is neither of two types",
      "CONFIG_INVALID data.train: expected string or expected object",
      { ...TEACHER, data: { train: 5 } },
    ],
    [
      "a value out of range",
      "CONFIG_INVALID optimizer.learning_rate: Too small: expected number to be >0",
      { ...TEACHER, optimizer: { learning_rate: -1 } },
    ],
    [
      "a range that augmentation refuses",
      "ARGUMENT_INVALID augmentation: crop.scale must be [min, max] with 0 < min <= max <= 1, got [0.5,3]",
      { ...TEACHER, data: { train: "pictures", augmentation: { crop: { kind: "resized-crop", scale: [0.5, 3] } } } },
    ],
    ["steps and epochs", "CONFIG_INVALID give steps or epochs, one of the two", { ...TEACHER, epochs: 3 }],
    ["no length", "CONFIG_INVALID give steps or epochs, one of the two", { ...TEACHER, steps: undefined }],
    ["something else", "CONFIG_INVALID configuration: Invalid input: expected object, received array", [1]],
    [
      "a part that does not divide the batch",
      "ARGUMENT_INVALID a part of 3 samples does not divide a batch of 8",
      { ...TEACHER, part_size: 3 },
    ],
    [
      "a teacher that would read image ids",
      "CONFIG_INVALID custom: it reads image ids; a teacher is a pixel model, without vision_cfg.vq",
      { ...TEACHER, model: TOKLIP_MODEL },
    ],
    [
      "a tokenizer of another vocabulary",
      "TOKENIZER_MISMATCH tokenizer: it has id 511, the model's vocabulary ends at 299",
      { ...TEACHER, model: { ...TEACHER_MODEL, text_cfg: { ...(TEACHER_MODEL.text_cfg as object), vocab_size: 300 } } },
    ],
  ])("with %s", async (_, message, config) => {
    expect(await lineOf("teacher", config)).toBe(message);
  });

  test("changed on the command line", async () => {
    expect(await lineOf("teacher", TEACHER, ["--set", "steps"])).toBe(
      "ARGUMENT_INVALID steps: expected key=value, such as optimizer.learning_rate=1e-4",
    );
    expect(await lineOf("teacher", TEACHER, ["--set", "optimizer.warmupp=3"])).toBe(
      "CONFIG_INVALID unknown key optimizer.warmupp (did you mean warmup?)",
    );
  });

  test("that is missing, a folder, or not JSON", async () => {
    writeFileSync("text.json", "{ steps: 3 }");
    for (const [file, code] of [
      ["none.json", "FILE_NOT_FOUND"],
      ["pictures", "FILE_NOT_FOUND"],
      ["text.json", "CONFIG_INVALID"],
    ]) {
      const { status, stderr } = await toklip(["train", "vq", "--config", file!, "--out", "x"], { engine: nodeEngine });
      expect([status, stderr.split("\n").length]).toEqual([1, 2]);
      expect(stderr).toMatch(new RegExp(`${file}: .*\\[${code}\\]`));
    }
    expect(existsSync("x")).toBe(false);
  });
});

describe("given weights", () => {
  const missing = "has no visual.trunk.vq.encoder.conv_in.weight and 122 more of its 123 parameters";
  test.each<[string, string, string, unknown]>([
    [
      "a teacher of another width",
      "CHECKPOINT_MISMATCH teacher ViT-tiny-16-SigLIP2-64: its features have width 64, the student's 32",
      "toklip",
      { ...TOKLIP, teacher: WIDE_TEACHER },
    ],
    [
      "tokens of a teacher with another grid",
      "CONFIG_INVALID loss: token features are distilled one by one, but the teacher has 16 of a picture, the student 64",
      "toklip",
      { ...TOKLIP, teacher: { checkpoint: "models/large.safetensors" }, loss: { token_distillation: 1 } },
    ],
    [
      "a teacher that is a TokLIP",
      "CHECKPOINT_MISMATCH teacher custom: it reads image ids; a pixel model is needed",
      "toklip",
      { ...TOKLIP, teacher: { checkpoint: "models/toklip.safetensors" } },
    ],
    [
      "distillation without a teacher",
      "CONFIG_INVALID loss: distillation needs a teacher; name teacher.checkpoint, or set loss.distillation to 0",
      "toklip",
      { ...TOKLIP, teacher: null },
    ],
    [
      "of other shapes",
      "CHECKPOINT_MISMATCH tiny.pt: visual.trunk.vq.encoder.conv_in.weight expected [32,3,8,8], got [32,3,3,3]",
      "vq",
      { ...VQ, init: [goldenPath("tiny/tiny.pt")] },
    ],
    [
      "of something else",
      "CHECKPOINT_MISMATCH vq_gan.safetensors: has no parameter of custom",
      "teacher",
      { ...TEACHER, init: [goldenPath("ar/vq_gan.safetensors")] },
    ],
    [
      "without a VQ",
      `CHECKPOINT_MISMATCH the VQ is not trained, so its weights must be given: teacher.safetensors ${missing}`,
      "toklip",
      { ...TOKLIP, init: [] },
    ],
    [
      "of a perceptual network that are another's",
      "CHECKPOINT_MISMATCH the perceptual network is not trained, so its weights must be given: " +
        "toklip.safetensors has no lin0.model.1.weight and 32 more of its 33 parameters",
      "vq",
      { ...VQ, loss: { perceptual: { lpips: "models/toklip.safetensors" } } },
    ],
    [
      "that are not there",
      "FILE_NOT_FOUND there is no model at models/none.safetensors",
      "vq",
      { ...VQ, init: ["models/none.safetensors"] },
    ],
  ])("%s", async (_, message, kind, config) => {
    expect(await lineOf(kind, config)).toBe(message);
  });

  test("are checked by a dry run too", async () => {
    expect(await lineOf("toklip", { ...TOKLIP, init: [] }, ["--dry-run"])).toContain(missing);
    expect(await lineOf("toklip", { ...TOKLIP, teacher: WIDE_TEACHER }, ["--dry-run"])).toContain("width 64");
  });

  test("that leave some of the trained ones to chance are told", async () => {
    const { lines, status } = await attempt("teacher", { ...TEACHER, steps: 1, init: ["models/text.safetensors"] });
    expect(status).toBe(0);
    expect(lines[0]).toMatch(
      /^toklip: no checkpoint has these parameters, they begin anew: visual\..*, .* and \d+ more$/,
    );
  });
});

describe("data", () => {
  test.each<[string, string, object, object?]>([
    ["an empty folder", "DATA_EMPTY folder empty: there are no samples", { train: "empty" }],
    ["no folder", "FILE_NOT_FOUND nowhere: does not exist (ENOENT)", { train: "nowhere" }],
    [
      "less than a batch",
      "ARGUMENT_INVALID folder pictures: a step takes 9 samples, more than the 8 usable ones of an epoch",
      { train: "pictures" },
      { batch_size: 9 },
    ],
  ])("of %s", async (_, message, data, more) => {
    expect(await lineOf("teacher", { ...TEACHER, ...more, data })).toBe(message);
  });

  /** A run of batches of 3 on a folder or on shards. */
  const attemptOn = (data: object, steps = 8) =>
    attempt("teacher", { ...TEACHER, batch_size: 3, steps, data: { augmentation: PLAIN, ...data } });

  test("without any caption says so", async () => {
    for (const name of captionsIn("captionless")) rmSync(`captionless/${name}`);
    const { status, lines } = await attemptOn({ train: "captionless" });
    expect(status).toBe(1);
    expect(lines.at(-1)).toMatch(
      /^toklip: folder captionless: no sample can be used, the last because: \w+\.png: has no caption after step 0 of 8; there was nothing to save \[DATA_EMPTY\];/,
    );
  });

  test("without some captions is used as far as it has them, and the others are counted", async () => {
    for (const name of captionsIn("half").slice(5)) rmSync(`half/${name}`);
    const { status, lines } = await attemptOn({ train: "half" }, 5); // three epochs of five samples
    expect(status).toBe(0);
    expect(lines.find((line) => line.includes("bad sample"))).toMatch(
      /bad sample \(no caption\), more of the kind are only counted: \w+\.png: has no caption$/,
    );
    expect(lines.at(-1)).toMatch(/^toklip: (6|7|8|9) samples could not be used: \d no caption$/);
  });

  test("with a picture that is none goes on without it, up to the limit", async () => {
    writeFileSync("damaged/broken.png", "not a picture");
    writeFileSync("damaged/broken.txt", "a broken one");
    const good = await attemptOn({ train: "damaged" }, 6); // two epochs of nine samples
    expect(good.status).toBe(0);
    expect(good.lines.find((line) => line.includes("bad sample"))).toMatch(
      /bad sample \(undecodable\), more of the kind are only counted: broken\.png: /,
    );
    expect(good.lines.at(-1)).toBe("toklip: 2 samples could not be used: 2 undecodable");
    const { status, lines, left } = await attemptOn({ train: "damaged", bad_limit: { count: 1 } });
    expect(status).toBe(1);
    expect(lines.at(-1)).toMatch(
      /: 2 of \d+ samples could not be used \(2 undecodable\), more than the 1 allowed; the first: broken\.png: .* after step [3-5] of 8; saved in (bad-\d+)\/checkpoints\/step-0000000[3-5], --resume continues \[DATA_TOO_BAD\]/,
    );
    expect(left).toContain("checkpoints");
  });

  test("in a shard that ends early is used up to there", async () => {
    writeFileSync("shards/short.tar", readFileSync("shards/1.tar").subarray(0, 30_000));
    const { status, lines } = await attemptOn({ train: "shards/{short,0}.tar" });
    expect(status).toBe(0);
    expect(lines.find((line) => line.includes("bad sample"))).toMatch(
      /bad sample \(truncated shard\), .*: tar: ends within "\w+\.png" \(short\.tar, offset 30000\)$/,
    );
    expect(lines.at(-1)).toMatch(/^toklip: \d samples could not be used: \d truncated shard$/);
  });

  test("in shards that are none says why", async () => {
    writeFileSync("shards/junk.tar", "junk".repeat(1000));
    const { status, lines } = await attemptOn({ train: "shards/junk.tar" });
    expect(status).toBe(1);
    expect(lines.at(-1)).toMatch(
      /webdataset shards\/junk\.tar: epoch 0 gave no sample, .* its checksum is wrong .*\[DATA_EMPTY\]/,
    );
  });
});

describe("the folder of a run", () => {
  const run = async (args: readonly string[]) => {
    writeFileSync("run.json", JSON.stringify({ ...TEACHER, steps: 2 }));
    const command = ["train", "teacher", "--config", "run.json", "--out", "run", ...args];
    const { status, stderr } = await toklip(command, { engine: nodeEngine });
    return { status, stderr };
  };
  /** All that is in it, by name. */
  const content = () =>
    readdirSync("run", { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => [name, readFileSync(`${parentPath}/${name}`, "base64")]);

  test("is not overwritten, and not gone on with by another configuration", async () => {
    expect((await run([])).status).toBe(0);
    const before = content();
    expect(await run([])).toEqual({
      status: 1,
      stderr: expect.stringContaining("run: holds a run already (step 2): continue it with --resume, or name another"),
    });
    expect(await run(["--resume", "--set", "seed=4", "--set", "optimizer.learning_rate=1"])).toEqual({
      status: 1,
      stderr:
        "toklip: run: the run was begun with another configuration: seed was 0, now 4; optimizer.learning_rate was " +
        "0.001, now 1 [RESUME_MISMATCH]; use the model and options the run was begun with, or another output path\n",
    });
    expect(content()).toEqual(before);
  });

  test("cannot be a file", async () => {
    writeFileSync("file", "mine");
    expect(await run(["--out", "file"])).toEqual({
      status: 1,
      stderr: expect.stringContaining("file: is not a folder [FILE_WRITE_FAILED]"),
    });
    expect(readFileSync("file", "utf8")).toBe("mine");
  });

  test("without a run, or without what was asked for, is not exported", async () => {
    const failed = await attempt("teacher", { ...TEACHER, data: { train: "captionless" }, batch_size: 3 });
    expect(failed.left).toContain("config.json");
    for (const [args, message] of [
      [["pictures"], "pictures/config.json: does not exist (ENOENT) [FILE_NOT_FOUND]"],
      [[`bad-${runs - 1}`], "there is no checkpoint yet [FILE_NOT_FOUND]"],
      [["run", "--checkpoint", "1"], "there is no checkpoint of step 1 [FILE_NOT_FOUND]"],
      [["run", "--checkpoint", "half"], "--checkpoint half: expected last, best or the number of a step [USAGE]"],
      [["run", "--weights", "ema"], "run: no moving average was kept [ARGUMENT_INVALID]"],
      [["run"], "run/model.safetensors: exists already [FILE_EXISTS]"],
    ] as const) {
      const { status, stderr } = await toklip(["train", "export", ...args], { engine: nodeEngine });
      expect(stderr).toContain(message);
      expect(stderr.split("\n")).toHaveLength(2);
      expect(status).toBe(message.includes("USAGE") ? 2 : 1);
    }
  });
});
