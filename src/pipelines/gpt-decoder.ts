/** A GPT of LlamaGen on a backend, ready to generate: the graph of its condition, and that of its steps. */
import { type LongCallOptions, type NDArray, ToklipError } from "../core/index.ts";
import { type Checkpoint, readTensor } from "../files/checkpoint.ts";
import {
  checkGptCheckpoint,
  GPT_CONDITION,
  type GptConfig,
  type GptGraphName,
  traceGptGraph,
} from "../models/index.ts";
import { type Backend, checkpointWeights, type Program, quantizeProgram, type Session } from "../runtime/index.ts";
import type { IdDecoder, IdStream } from "./generate.ts";
import { checkPrompt, conditionRows, type GptPrompt } from "./gpt-condition.ts";
import { startGptStream } from "./gpt-stream.ts";
import { checkPrecision, LINEAR_SCHEMES } from "./graph-runner.ts";
import type { Precision } from "./model.ts";

/** What a decoder is made of. */
export interface GptDecoderParts {
  readonly backend: Backend;
  readonly checkpoint: Checkpoint;
  readonly config: GptConfig;
  /** Of the linear layers; embeddings stay as they are. Default `fp32`. */
  readonly precision?: Precision;
}

function programOf(name: GptGraphName, { checkpoint, config, precision = "fp32" }: GptDecoderParts): Program {
  const program = { name, graph: traceGptGraph(name, config), weight: checkpointWeights(checkpoint) };
  const scheme = name === "gpt_step" ? LINEAR_SCHEMES[precision] : undefined;
  if (scheme === undefined) return program;
  const read = (parameter: string) => readTensor(checkpoint.tensors.get(parameter)!);
  return quantizeProgram(program, read, () => scheme);
}

/**
 * Compiles a GPT. The backend and the checkpoint stay the caller's.
 * @throws CHECKPOINT_MISMATCH for a checkpoint of another model; ARGUMENT_INVALID for a precision that there is not
 */
export async function openGptDecoder(
  parts: GptDecoderParts,
  options: LongCallOptions = {},
): Promise<IdDecoder<GptPrompt>> {
  const { backend, checkpoint, config, precision } = parts;
  checkPrecision(precision);
  checkGptCheckpoint(checkpoint, config);
  const condition = await backend.compile(programOf("gpt_condition", parts), options);
  const step = await backend.compile(programOf("gpt_step", parts), options);
  return {
    vocabSize: config.vocabSize,
    side: config.side,
    start: (prompt, guided, startOptions) => startStream({ condition, step, config }, prompt, guided, startOptions),
    dispose: async () => {
      await condition.dispose();
      await step.dispose();
    },
  };
}

interface Compiled {
  readonly condition: Session;
  readonly step: Session;
  readonly config: GptConfig;
}

/** @throws ARGUMENT_INVALID where a class is to be guided by a model that has no row for "no class" */
function checkGuidance({ name, condition }: GptConfig, guided: boolean): void {
  if (!guided || condition.kind === "caption" || condition.hasNull) return;
  throw new ToklipError("ARGUMENT_INVALID", `${name}: guidance needs a model that was trained with dropped classes`);
}

async function startStream(
  { condition, step, config }: Compiled,
  prompt: GptPrompt,
  guided: boolean,
  options: LongCallOptions = {},
): Promise<IdStream> {
  checkPrompt(prompt, config);
  checkGuidance(config, guided);
  const rows = conditionRows(prompt, guided);
  const feeds = { [GPT_CONDITION.condition]: rows.condition, [GPT_CONDITION.drop]: rows.drop };
  const outputs = await condition.run(feeds, { signal: options.signal });
  return startGptStream(step, config, outputs[GPT_CONDITION.embedded] as NDArray<"f32">, rows.valid);
}
