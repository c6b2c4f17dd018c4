/** `toklip generate`: a text, a class or a caption -> ids -> pictures. */
import { type Command, InvalidArgumentError } from "commander";
import { ToklipError } from "../core/index.ts";
import type { GeneratedPicture, PictureGenerator, PictureRequest } from "../pipelines/picture-generator.ts";
import type { CliContext, RunVerb } from "./context.ts";
import { type FileFlags, GeneratedFiles } from "./generate-files.ts";
import { findSubjects, type Subject, type SubjectFlags } from "./generate-subjects.ts";
import {
  addComputeOptions,
  addOverwriteOption,
  addReportOptions,
  addTokLIPOption,
  collect,
  type ModelFlags,
  parseCount,
  parseNumber,
  parseSeed,
  type ReportFlags,
  unifiedOptions,
} from "./model-options.ts";
import { formatDuration } from "./output.ts";
import { Progress } from "./progress.ts";

interface GenerateFlags extends ModelFlags, SubjectFlags, FileFlags, ReportFlags {
  readonly toklip?: string;
  readonly count: number;
  readonly seed: number;
  readonly guidance?: number;
  readonly guidanceInterval?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly greedy?: boolean;
  readonly batch?: number;
}

const HELP = `
The model is one of two kinds; the checkpoint says which. A unified transformer (as toklip train ar makes them) reads text,
and its TokLIP decodes its ids: the toklip.safetensors beside it, else toklip-mini, or the one named by --toklip.

A GPT of LlamaGen as it is released is for classes (c2i) or captions (t2i); --vq is the VQ that it was trained on. ImageNet's classes have numbers from 0 to 999: 207 is a golden retriever, 360 an otter, 388 a panda, 974 a geyser.
A model for captions reads features of a text encoder (FLAN-T5-XL): from files that hold them, or made here of a prompt by
an ONNX file of the encoder.

Sampling, in this order: logits are guided, divided by the temperature, cut to the --top-k likeliest and to those that
have --top-p of the probability together, and one id is drawn. Picture i of all draws by seed + i, which is in its name:
any can be made again alone. A checkpoint for 384 pixels needs --grid 24 where it does not say so itself.

Examples:
  $ toklip generate "a red guitar" --model ar.safetensors --out guitar.png
  $ toklip generate "a red guitar" "two cats" --model ar.safetensors --count 4 --seed 1 --out pictures
  $ toklip generate --model c2i_B_256.pt --vq vq_ds16_c2i.pt --class 207 --class 360 --seed 1 --out pictures
  $ toklip generate --model c2i_L_384.pt --vq vq_ds16_c2i.pt --grid 24 --class 388 --out panda.png --previews 96
  $ toklip generate --model c2i_B_256.pt --class 974 --count 50 --guidance 2 --top-k 0 --ids ids.jsonl --precision int8
  $ toklip generate --model t2i_XL_stage1_256.pt --vq vq_ds16_t2i.pt --features fox.npy --out fox.png
  $ toklip generate "a red fox" --text-encoder t5.onnx --tokenizer tokenizer.json --model t2i_XL_stage1_256.pt \\
      --vq vq_ds16_t2i.pt --out pictures`;

/** Adds the verb's arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command
    .argument("[prompt...]", "what the pictures show, for models that read text")
    .requiredOption("--model <model>", "a .pt, .pth or .safetensors file, or a hub name owner/repo/file")
    .option("--vq <model>", "the VQ that decodes the ids of a GPT of LlamaGen: a file or a hub name")
    .option("--config <config>", "what the checkpoint's shapes do not say: a size as GPT-B, or a JSON file")
    .option("--grid <n>", "ids along each edge of such a GPT (default: as the checkpoint says, else 16)", parseCount);
  addComputeOptions(addTokLIPOption(command), "of the transformer's weights; the VQ stays in fp32")
    .option("--class <n>", "a class to continue; may be given several times", collectClass)
    .option("--features <file>", "features of captions, .npy or .safetensors; may be given several times", collect)
    .option("--text-encoder <file>", "ONNX file of the encoder that makes features of a prompt")
    .option("--tokenizer <file>", "tokenizer.json of the text encoder, or of a unified transformer")
    .option("--count <n>", "pictures of each text, class or caption", parseCount, 1)
    .option("--seed <n>", "a whole number from 0 to 4294967295", parseSeed, 0)
    .option(
      "--guidance <scale>",
      "classifier-free guidance, 1 for none (default: 3 for texts, 4 for classes, 7.5 for captions)",
      parseNumber,
    )
    .option("--guidance-interval <n>", "the last step that is guided, -1 for all (default: -1)", parseNumber)
    .option("--temperature <t>", "below 1 likelier ids, above 1 more of the others (default: 1)", parseNumber)
    .option(
      "--top-k <n>",
      "draw among so many ids, 0 for all (default: 2000 for classes, 1000 for captions, else 0)",
      parseNumber,
    )
    .option("--top-p <p>", "draw among the likeliest ids of this probability together (default: 1)", parseNumber)
    .option("--greedy", "take the likeliest id instead of drawing")
    .option("--batch <n>", "pictures that are generated side by side (default: 8)", parseCount)
    .option("--out <path>", "where the PNG files go: a folder, made if it is not there, or one .png file")
    .option("--previews <n>", "also write what there is after each n ids", parseCount)
    .option("--ids <file>", "write the ids to this file, a line a picture as tokenize does");
  addOverwriteOption(command);
  addReportOptions(command)
    .addHelpText("after", HELP)
    .action((prompts: string[], flags: GenerateFlags) => run((context) => generate(context, prompts, flags)));
}

function collectClass(text: string, earlier: readonly number[] = []): number[] {
  if (/^\d{1,9}$/.test(text)) return [...earlier, Number(text)];
  throw new InvalidArgumentError("Expected the number of a class, from 0.");
}

async function generate(context: CliContext, prompts: readonly string[], flags: GenerateFlags): Promise<number> {
  checkFlags(flags);
  const progress = new Progress(context, flags);
  const model = await loadGenerator(context, flags, progress);
  try {
    const { list, request } = await findSubjects({ context, model, prompts, flags, progress });
    const { count, seed } = flags;
    const { encodePng } = context.engine;
    const files = new GeneratedFiles({ flags, subjects: list, count, seed, total: model.side ** 2, encodePng });
    await files.check();
    const asked = { ...(await request()), ...requestOf(flags, context, progress) };
    const startedAt = context.now();
    await writePictures(model.stream(asked), files, context, (picture, file) =>
      describe(list[picture.condition]!, picture, file, flags),
    );
    progress.stop();
    progress.note(closingLine(list.length * count, context.now() - startedAt));
    return 0;
  } finally {
    progress.stop();
    await model.dispose();
  }
}

/** @throws USAGE for flags that cannot go together, whatever the model is */
function checkFlags({ out, ids, previews }: GenerateFlags): void {
  const wrong = (message: string): never => {
    throw new ToklipError("USAGE", message);
  };
  if (out === undefined && ids === undefined) wrong("say where results go: pictures by --out, ids by --ids");
  if (previews !== undefined && out === undefined) wrong("--previews needs --out");
}

function loadGenerator(
  { engine, signal }: CliContext,
  flags: GenerateFlags,
  progress: Progress,
): Promise<PictureGenerator> {
  const { vq, grid } = flags;
  return engine.loadGenerator(flags.model, {
    ...unifiedOptions(flags),
    // Without a place for pictures none is decoded.
    ...(flags.out !== undefined && { vq }),
    grid,
    signal,
    onProgress: progress.report,
  });
}

function requestOf(flags: GenerateFlags, { signal }: CliContext, progress: Progress): PictureRequest {
  const { count, seed, temperature, topK, topP, greedy, batch, previews, out } = flags;
  return {
    decode: out !== undefined,
    ...{ count, seed, temperature, topK, topP, greedy, batch, signal },
    guidanceScale: flags.guidance,
    guidanceInterval: flags.guidanceInterval,
    previewEvery: previews,
    onProgress: progress.report,
    warn: (message) => progress.warn(`warning: ${message}`),
  };
}

/** Writes what comes, as it comes. */
async function writePictures(
  events: ReturnType<PictureGenerator["stream"]>,
  files: GeneratedFiles,
  { stdout, signal }: CliContext,
  describe: (picture: GeneratedPicture, file: string | undefined) => string,
): Promise<void> {
  try {
    await files.open(signal);
    for await (const event of events) {
      if (event.type === "ids") {
        const { first, count, previews = [] } = event;
        for (const [i, image] of previews.entries()) await files.addPreview(first + i, count, image);
        continue;
      }
      for (const picture of event.pictures) await stdout.line(describe(picture, await files.add(picture)));
    }
    await files.finish();
  } catch (error) {
    await files.leave();
    throw error;
  }
}

/** `class 207  seed 1  pictures/class-207-seed-1.png`. */
function describe(
  { title, fields }: Subject,
  { seed }: GeneratedPicture,
  out: string | undefined,
  { json }: GenerateFlags,
): string {
  if (json) return JSON.stringify({ ...fields, seed, ...(out !== undefined && { out }) });
  return [title, `seed ${seed}`, ...(out === undefined ? [] : [out])].join("  ");
}

function closingLine(pictures: number, seconds: number): string {
  const rate = seconds > 0 ? `, ${Number((pictures / seconds).toPrecision(3))} images/s` : "";
  return `${pictures} ${pictures === 1 ? "picture" : "pictures"} generated (${formatDuration(seconds)}${rate})`;
}
