/** `toklip train tokenizer`: captions -> a tokenizer.json for a text tower of one's own. */
import type { Command } from "commander";
import { type BpeTokenizerFile, BpeTrainer } from "../text/index.ts";
import type { CliContext, RunVerb } from "./context.ts";
import { addOverwriteOption, addReportOptions, parseCount, type ReportFlags } from "./model-options.ts";
import { checkOutput, writeWhole } from "./output-path.ts";
import { Progress } from "./progress.ts";

interface TokenizerFlags extends ReportFlags {
  readonly vocabSize: number;
  readonly minFrequency: number;
  readonly captionColumn?: string;
  readonly out: string;
  readonly overwrite?: boolean;
}

/** Texts between two events of progress. */
const PROGRESS_EVERY = 1000;

const HELP = `
Captions come from .txt files, one a line, from .csv, .tsv and .jsonl with a column title, caption, captions, text, texts
or label, or from data sets such as shards "{00..07}.tar". They are cleaned as the text tower's input is: punctuation
goes, letters become small. Every text has ids in the vocabulary; a word takes the space before it, pad is 0, eos is 1.
Name the file as "tokenizer" of a training, and give the model text_cfg.vocab_size at least that many rows.

Examples:
  $ toklip train tokenizer captions.txt --vocab-size 4096 --out tokenizer.json
  $ toklip train tokenizer "shards/{00..07}.tar" more.jsonl --out tokenizer.json`;

/** Adds the subcommand. */
export function defineTokenizer(verb: Command, run: RunVerb): void {
  const summary = "learn a text tokenizer from captions";
  const command = verb.command("tokenizer").summary(summary).description("Learns a text tokenizer from captions.");
  command
    .argument("<captions...>", "files of captions, or data sets that have them")
    .option("--vocab-size <n>", "the most tokens, from 258 on", parseCount, 4096)
    .option("--min-frequency <n>", "how often neighbours come before they are one token", parseCount, 2)
    .option("--caption-column <name>", "the column of tables that holds captions (default: by the usual names)")
    .option("--out <file>", "the file to write", "tokenizer.json");
  addOverwriteOption(command);
  addReportOptions(command, "print the result as a JSON object")
    .addHelpText("after", HELP)
    .action((paths: string[], flags: TokenizerFlags) => run((context) => trainTokenizer(context, paths, flags)));
}

async function trainTokenizer(context: CliContext, paths: readonly string[], flags: TokenizerFlags): Promise<number> {
  const { vocabSize, minFrequency, out, json } = flags;
  const trainer = new BpeTrainer({ vocabSize, minFrequency });
  await checkOutput(out, flags);
  const progress = new Progress(context, flags);
  try {
    const texts = await addCaptions(trainer, paths, context, flags, progress);
    const file = trainer.train();
    await writeWhole(out, new TextEncoder().encode(JSON.stringify(file)), flags);
    progress.stop();
    const result = { out, vocabSize: tokenCount(file), texts, words: trainer.wordCount };
    const text = `${out}: ${result.vocabSize} tokens, of ${result.words} different words in ${texts} captions`;
    await context.stdout.line(json ? JSON.stringify(result) : text);
    return 0;
  } finally {
    progress.stop();
  }
}

/** Gives the captions of all files to the trainer, and their number. */
async function addCaptions(
  trainer: BpeTrainer,
  paths: readonly string[],
  { signal }: CliContext,
  { captionColumn }: TokenizerFlags,
  progress: Progress,
): Promise<number> {
  const { readCaptionTexts } = await import("../node/caption-texts.ts");
  let texts = 0;
  let bad = 0;
  for (const path of paths) {
    const onBad = ({ message }: { readonly message: string }) => {
      if (bad++ === 0) progress.warn(`${message}; more that cannot be used are only counted`);
    };
    for await (const text of readCaptionTexts(path, { captionColumn, signal, onBad })) {
      trainer.add(text);
      if (++texts % PROGRESS_EVERY === 0) progress.report({ stage: "read", item: path, done: texts, unit: "texts" });
    }
  }
  if (bad > 0) progress.note(`${bad} samples or rows could not be used`);
  return texts;
}

function tokenCount(file: BpeTokenizerFile): number {
  return Object.keys(file.model.vocab).length;
}
