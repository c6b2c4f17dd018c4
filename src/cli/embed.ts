/** `toklip embed`: pictures or texts -> one feature vector each. */
import type { Command } from "commander";
import { ToklipError } from "../core/index.ts";
import { resolveImageInputs } from "../node/image-files.ts";
import { checkRowFilePath, RowFile } from "../node/row-file.ts";
import { embedImages, embedTexts } from "../pipelines/embed.ts";
import type { TokLIPModel } from "../pipelines/model.ts";
import type { CliContext, RunVerb } from "./context.ts";
import {
  addModelOptions,
  addOverwriteOption,
  addPictureOptions,
  addReportOptions,
  addTokenizerOption,
  collect,
  loadModel,
  type ModelFlags,
  type PictureFlags,
  pictureOptions,
  type ReportFlags,
} from "./model-options.ts";
import { checkOutput } from "./output-path.ts";
import { PictureRun, requirePictures } from "./picture-run.ts";
import { Progress } from "./progress.ts";

interface EmbedFlags extends ModelFlags, PictureFlags, ReportFlags {
  readonly text?: readonly string[];
  readonly out?: string;
  readonly normalize?: boolean;
  readonly overwrite?: boolean;
}

const HELP = `
Pictures and texts land in the same space: the cosine of a picture's and a text's features says how well they fit.
Without --out each gives one line: {"file": "cat.jpg", "features": [0.013, ...]} or {"text": "a cat", "features": [...]}.
In a .safetensors file the tensor is image_features or text_features (M, D), and the metadata's "files" names the rows.

Examples:
  $ toklip embed photos --model TokLIP_S_256.pt --out features.npy
  $ toklip embed photos --model TokLIP_S_256.pt --normalize --out features.safetensors
  $ toklip embed --text "a cat" --text "a dog" --model TokLIP_S_256.pt`;

/** Adds the verb's arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command.argument("[image...]", "pictures, folders, glob patterns");
  addTokenizerOption(addModelOptions(command));
  addPictureOptions(command)
    .option("--text <text>", "a text instead of pictures; may be given several times", collect)
    .option("--out <file>", "write to this .npy or .safetensors file (default: JSON lines on standard output)")
    .option("--normalize", "divide each vector by its Euclidean norm");
  addOverwriteOption(command);
  addReportOptions(command, "print one JSON object a line (always so)")
    .addHelpText("after", HELP)
    .action((images: string[], flags: EmbedFlags) => run((context) => embed(context, images, flags)));
}

/** Takes a vector and the name of what it is of. */
type Store = (kind: "file" | "text", name: string, features: Float32Array) => Promise<void>;

async function embed(context: CliContext, images: readonly string[], flags: EmbedFlags): Promise<number> {
  const { text, out } = flags;
  if (images.length > 0 === (text !== undefined)) {
    throw new ToklipError("USAGE", "embed takes either pictures or --text");
  }
  if (out !== undefined) {
    checkRowFilePath(out);
    await checkOutput(out, flags);
  }
  const inputs = await resolveImageInputs(images);
  if (!text) await requirePictures(inputs, { signal: context.signal });
  const progress = new Progress(context, flags);
  const model = await loadModel(context, flags, progress.report);
  try {
    return await storing(context, model, out, async (store) => {
      if (text) return embedAllTexts(context, model, text, flags, store);
      const options = { stage: "embed", participle: "embedded", progress, strict: flags.strict };
      const counts = new PictureRun(context, options);
      const embedding = { ...pictureOptions(flags, model.config, context.signal), normalize: flags.normalize ?? false };
      const results = embedImages(model, counts.names(inputs), embedding);
      await counts.each(results, ({ file, features }) => store("file", file, features));
      return counts.finish();
    });
  } finally {
    progress.stop();
    await model.dispose();
  }
}

async function embedAllTexts(
  { signal }: CliContext,
  model: TokLIPModel,
  texts: readonly string[],
  { batch, normalize = false }: EmbedFlags,
  store: Store,
): Promise<number> {
  for await (const { text, features } of embedTexts(model, texts, {
    ...(batch !== undefined && { batch }),
    normalize,
    signal,
  })) {
    await store("text", text, features);
  }
  return 0;
}

/** Does the work with a store: lines on standard output, or a file that is there only when the work succeeded. */
async function storing(
  { stdout }: CliContext,
  { config }: TokLIPModel,
  out: string | undefined,
  work: (store: Store) => Promise<number>,
): Promise<number> {
  if (out === undefined) {
    return work((kind, name, features) =>
      stdout.line(JSON.stringify({ [kind]: name, features: Array.from(features) })),
    );
  }
  const names: string[] = [];
  let rows: RowFile | undefined;
  try {
    const status = await work(async (kind, name, features) => {
      const tensor = kind === "file" ? "image_features" : "text_features";
      rows ??= await RowFile.open(out, [{ name: tensor, rowShape: [config.embedDim] }]);
      await rows.append({ [tensor]: features });
      names.push(name);
    });
    await rows?.finish({ names, metadata: { config: config.name } });
    return status;
  } catch (error) {
    await rows?.close();
    await RowFile.discard(out);
    throw error;
  }
}
