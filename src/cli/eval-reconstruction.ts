/** `toklip eval reconstruction`: how near do pictures come back from their ids? */
import { type Command, InvalidArgumentError } from "commander";
import { ToklipError } from "../core/index.ts";
import { evaluateReconstruction, type FeatureNetworkOptions } from "../evaluation/index.ts";
import { onnxDigest, readOnnxFile } from "../node/onnx-file.ts";
import type { RunVerb } from "./context.ts";
import {
  addDataOptions,
  addEvaluationOptions,
  type DataFlags,
  type EvaluationFlags,
  runEvaluation,
} from "./eval-run.ts";
import { parseCount } from "./model-options.ts";

type Rgb = readonly [number, number, number];

interface NetworkFlags {
  readonly network?: string;
  readonly networkOutput?: string;
  readonly networkSize?: number;
  readonly networkMean?: Rgb;
  readonly networkStd?: Rgb;
}

type ReconstructionFlags = EvaluationFlags & DataFlags & NetworkFlags;

const HELP = `
Pictures are compared at the model's size: resized, cropped, and laid over the background where they are transparent.

A Fréchet distance is that of the features that a network makes of the originals and of the reconstructions. Any ONNX file
will do that takes pictures (B, 3, H, W) and gives a value (B, C) or (B, C, h, w), of which the mean over the places is
taken. What it gives can be compared only with the same network, the same settings and as many pictures.

Examples:
  $ toklip eval reconstruction photos --model TokLIP_S_256.pt --out reports/photos
  $ toklip eval reconstruction "shards/{00..07}.tar" --model model.safetensors --json
  $ toklip eval reconstruction photos --model model.safetensors --network inception.onnx --network-output pool --out r`;

/** Adds the arguments, options and action. */
export function define(command: Command, run: RunVerb): void {
  command
    .argument("<data>", "a folder of pictures, a .csv .tsv .jsonl or .parquet file, or shards {00..07}.tar")
    .option("--network <file>", "also give a Fréchet distance of the features of this ONNX network")
    .option("--network-output <name>", "the network's value that is the feature (default: its first output)")
    .option("--network-size <n>", "edge of the pictures it takes (default: what it was exported for)", parseCount)
    .option(
      "--network-mean <r,g,b>",
      "what it expects to be taken from values in [0, 1] (default: ImageNet's)",
      parseMean,
    )
    .option("--network-std <r,g,b>", "what it expects them to be divided by then (default: ImageNet's)", parseStd);
  addDataOptions(addEvaluationOptions(command))
    .addHelpText("after", HELP)
    .action((data: string, flags: ReconstructionFlags) =>
      run(async (context) => {
        const network = await openNetwork(flags);
        return runEvaluation(context, flags, async (session, progress) =>
          evaluateReconstruction(session, await session.openData(data, flags), {
            network,
            signal: context.signal,
            onProgress: progress.report,
          }),
        );
      }),
    );
}

/** The network that the flags name. @throws USAGE, FILE_NOT_FOUND, FILE_READ_FAILED, FILE_CORRUPT, FILE_UNSUPPORTED */
async function openNetwork(flags: NetworkFlags): Promise<FeatureNetworkOptions | undefined> {
  const { network, networkOutput: output, networkSize: size, networkMean: mean, networkStd: std } = flags;
  if (network === undefined) {
    if ([output, size, mean, std].every((flag) => flag === undefined)) return undefined;
    throw new ToklipError(
      "USAGE",
      "--network-output, -size, -mean and -std say how --network is used, which is missing",
    );
  }
  const model = await readOnnxFile(network);
  return { model, digest: onnxDigest(model), output, size, mean, std };
}

function parseMean(text: string): Rgb {
  const values = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (values.length === 3 && values.every(Number.isFinite)) return values as unknown as Rgb;
  throw new InvalidArgumentError("Expected three numbers, such as 0.5,0.5,0.5.");
}

function parseStd(text: string): Rgb {
  const values = parseMean(text);
  if (values.every((value) => value > 0)) return values;
  throw new InvalidArgumentError("Expected three numbers above 0, such as 0.5,0.5,0.5.");
}
