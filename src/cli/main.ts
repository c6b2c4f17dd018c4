#!/usr/bin/env node
/** The `toklip` command: joins the program to this process. */
import process from "node:process";
import { nodeEngine } from "./engine.ts";
import { Output } from "./output.ts";
import { runProgram } from "./program.ts";

const interrupt = new AbortController();
process.on("SIGINT", () => {
  if (interrupt.signal.aborted) process.exit(130); // the second time, at once
  interrupt.abort(new Error("interrupted"));
});

const status = await runProgram(process.argv.slice(2), {
  stdout: new Output(process.stdout),
  stderr: new Output(process.stderr),
  signal: interrupt.signal,
  engine: nodeEngine,
  now: () => performance.now() / 1000,
});
// Lines were waited for as they were written, so nothing is lost; a compute engine's threads must not hold us back.
process.exit(status);
