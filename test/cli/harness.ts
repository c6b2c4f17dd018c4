/** Runs the command line in process, in a folder of its own, on a fake model. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { Writable } from "node:stream";
import type { CliContext, Engine } from "../../src/cli/context.ts";
import { Output, type TextStream } from "../../src/cli/output.ts";
import { runProgram } from "../../src/cli/program.ts";
import { ToklipError } from "../../src/core/index.ts";
import type { LoadOptions } from "../../src/pipelines/model.ts";
import { FAKE_CONFIG, type FakeModel, fakeModel } from "../pipelines/fake-model.ts";

/** A stream that keeps what it is given. */
export class Kept extends Writable {
  text = "";
  isTTY = false;
  columns = 100;
  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.text += chunk.toString();
    done();
  }
}

export interface RunOptions {
  readonly model?: FakeModel;
  readonly engine?: Partial<Engine>;
  readonly stdout?: TextStream;
  readonly stderr?: Kept;
  readonly signal?: AbortSignal;
  readonly now?: () => number;
}

export interface RunResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** What the model was loaded with. */
  readonly loaded: readonly { source: string; options: LoadOptions }[];
  readonly model: FakeModel;
}

const absent = (): never => {
  throw new ToklipError("INTERNAL", "not in this test");
};

/** Runs `toklip ...args`. */
export async function toklip(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const out = options.stdout ?? new Kept();
  const err = options.stderr ?? new Kept();
  const model = options.model ?? fakeModel();
  const loaded: { source: string; options: LoadOptions }[] = [];
  const engine: Engine = {
    async loadModel(source, loadOptions) {
      loaded.push({ source, options: loadOptions });
      return model as unknown as ReturnType<typeof fakeModel>;
    },
    locate: async (source) => source,
    openCheckpoint: absent,
    findConfig: async () => FAKE_CONFIG,
    findGptConfig: async () => undefined,
    findArConfig: async () => undefined,
    loadGenerator: absent,
    loadUnified: absent,
    encodeCaptions: absent,
    train: absent,
    estimateTraining: absent,
    exportRun: absent,
    openEvaluation: absent,
    convert: absent,
    exportOnnx: absent,
    initCheckpoint: absent,
    encodePng: async ({ width, height, data }) => Uint8Array.of(width, height, Number(data[0])),
    ...options.engine,
  };
  const context: CliContext = {
    stdout: new Output(out),
    stderr: new Output(err),
    signal: options.signal ?? new AbortController().signal,
    engine,
    now: options.now ?? (() => 0),
  };
  const status = await runProgram(args, context);
  return { status, stdout: out instanceof Kept ? out.text : "", stderr: err.text, loaded, model };
}

/** Makes a temporary folder and goes there; gives the way back. */
export async function enterFolder(): Promise<() => Promise<void>> {
  const before = process.cwd();
  const folder = await mkdtemp(path.join(tmpdir(), "toklip-cli-"));
  process.chdir(folder);
  return async () => {
    process.chdir(before);
    await rm(folder, { recursive: true, force: true });
  };
}

/** Makes empty files, which are pictures to the fake model. */
export async function make(...names: string[]): Promise<void> {
  for (const name of names) {
    await mkdir(path.dirname(name), { recursive: true });
    await writeFile(name, "");
  }
}
