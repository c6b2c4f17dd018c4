/** Joins the program to this process: its streams, its signals, its exit status. */
import process from "node:process";
import type { Engine } from "./context.ts";
import { Output } from "./output.ts";
import { runProgram } from "./program.ts";

/** Runs the command line that this process was started with, then ends the process. */
export async function start(engine: Engine): Promise<never> {
  const interrupt = new AbortController();
  // Once: the second time it has its default effect, and kills.
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => interrupt.abort(new Error("interrupted")));
  const status = await runProgram(process.argv.slice(2), {
    stdout: new Output(process.stdout),
    stderr: new Output(process.stderr),
    signal: interrupt.signal,
    engine,
    now: () => performance.now() / 1000,
  });
  // Every line was waited for when it was written, so nothing is lost; a compute engine's threads must not hold us back.
  process.exit(status);
}
