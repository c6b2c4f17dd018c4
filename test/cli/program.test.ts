import { describe, expect, it } from "vitest";
import { VERBS } from "../../src/cli/program.ts";
import { ToklipError } from "../../src/core/index.ts";
import { Kept, toklip } from "./harness.ts";

describe("toklip", () => {
  it("lists its verbs", async () => {
    const { status, stdout, stderr } = await toklip(["--help"]);
    expect([status, stderr]).toEqual([0, ""]);
    for (const verb of Object.keys(VERBS)) expect(stdout).toMatch(new RegExp(`^  ${verb} `, "m"));
    expect(stdout).toContain("$ toklip tokenize photos");
  });

  it.each(Object.keys(VERBS))("teaches %s with examples", async (verb) => {
    for (const args of [
      [verb, "--help"],
      ["help", verb],
    ]) {
      const { status, stdout, stderr } = await toklip(args);
      expect([status, stderr]).toEqual([0, ""]);
      expect(stdout).toContain(`Usage: toklip ${verb}`);
      expect(stdout).toMatch(new RegExp(`Examples:\\n  \\$ toklip ${verb} `));
      expect(stdout).toContain("--quiet");
    }
  });

  it("prints its version", async () => {
    expect((await toklip(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\S*\n$/);
  });

  it("shows its help on stderr when it is given nothing, as wrong usage", async () => {
    const { status, stdout, stderr } = await toklip([]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^Usage: toklip/);
  });

  it.each([
    [["tokenise", "a.png"], "unknown command 'tokenise' (Did you mean tokenize?) [USAGE]; see toklip --help"],
    [["tokenize", "--model", "m"], "missing required argument 'image' [USAGE]; see toklip tokenize --help"],
    [
      ["tokenize", "a", "--model", "m", "--batsh", "2"],
      "unknown option '--batsh' (Did you mean --batch?) [USAGE]; see toklip tokenize --help",
    ],
    [
      ["tokenize", "a", "--model", "m", "--batch", "0"],
      "option '--batch <n>' argument '0' is invalid. Expected a whole number from 1. [USAGE]; see toklip tokenize --help",
    ],
    [
      ["tokenize", "a", "--model", "m", "--threads", "100000"],
      "option '--threads <n>' argument '100000' is invalid. Expected a whole number from 1 to 1024. [USAGE]; see toklip tokenize --help",
    ],
    [
      ["tokenize", "a", "--model", "m", "--device", "tpu"],
      "option '--device <device>' argument 'tpu' is invalid. Allowed choices are cpu, cuda, webgpu. [USAGE]; see toklip tokenize --help",
    ],
    [
      ["tokenize", "a", "--model", "m", "--background", "red"],
      "option '--background <colour>' argument 'red' is invalid. Expected white, black, drop or #rrggbb. [USAGE]; see toklip tokenize --help",
    ],
  ])("says on one line what is wrong with %j", async (args, message) => {
    const { status, stdout, stderr } = await toklip(args);
    expect([status, stdout, stderr]).toEqual([2, "", `toklip: ${message}\n`]);
  });

  it("turns any failure into one line without a stack trace", async () => {
    const run = (error: Error) => toklip(["download", "x"], { engine: { locate: () => Promise.reject(error) } });
    const known = await run(new ToklipError("OFFLINE", "o/r/x is not in the cache"));
    expect([known.status, known.stderr]).toEqual([
      1,
      "toklip: o/r/x is not in the cache [OFFLINE]; download while online, or leave offline mode\n",
    ]);
    const unknown = await run(new TypeError("x is not\n  a function"));
    expect([unknown.status, unknown.stderr]).toEqual([
      1,
      "toklip: x is not a function [INTERNAL]; report this with the message\n",
    ]);
  });

  it("keeps a name with control characters on one line, and tells one code of a wrapped error", async () => {
    const inner = new ToklipError("RUNTIME_FAILED", "a\nb\u001b[31m.jpg: bad");
    const outer = new ToklipError("DEVICE_UNAVAILABLE", `cuda: ${inner.message}`);
    const { stderr } = await toklip(["download", "x"], { engine: { locate: () => Promise.reject(outer) } });
    expect(stderr).toBe("toklip: cuda: a?b?[31m.jpg: bad [DEVICE_UNAVAILABLE]; use another device\n");
  });

  it("gives 130 for whatever ends an interrupted run", async () => {
    const locate = () => Promise.reject(new ToklipError("ABORTED", "download: stopped on request"));
    const { status } = await toklip(["download", "x"], { engine: { locate }, signal: AbortSignal.abort() });
    expect(status).toBe(130);
  });

  it("does not fail on a stderr that nobody reads", async () => {
    const stderr = new Kept();
    stderr._write = (_chunk, _encoding, done) => done(Object.assign(new Error("EPIPE"), { code: "EPIPE" }));
    expect((await toklip(["tokenise"], { stderr })).status).toBe(2);
  });
});
