import { describe, expect, it } from "vitest";
import { Output } from "../../src/cli/output.ts";
import { TrainProgress } from "../../src/cli/train-progress.ts";
import type { TrainingEvent } from "../../src/train/loop.ts";
import { Kept } from "./harness.ts";

const step = (n: number, more: object = {}): TrainingEvent => ({
  type: "step",
  step: n,
  totalSteps: 5000,
  report: { loss: 3.2149, parts: { contrastive: 2.1, distill: 1.114 }, learningRate: 1e-4, gradientNorm: 0.8312 },
  imagesPerSecond: 71.04,
  secondsLeft: 725,
  ...more,
});

const LINE = "step 120/5000  loss 3.21 (contrastive 2.1, distill 1.1)  lr 1.0e-4  |g| 0.83  71 img/s  12 min 5 s left";

function progress({ isTTY = false, quiet = false, columns = 120 } = {}) {
  const stream = Object.assign(new Kept(), { isTTY, columns });
  const clock = { time: 100 };
  const shown = new TrainProgress({ stderr: new Output(stream), now: () => clock.time }, { quiet });
  return { stream, clock, shown };
}

describe("the progress of a training", () => {
  it("is one line that is redrawn on a terminal, cut at its edge", () => {
    const { stream, clock, shown } = progress({ isTTY: true });
    shown.report(step(120));
    clock.time += 0.01;
    shown.report(step(121)); // too soon to draw again
    clock.time += 1;
    shown.report(step(122));
    shown.report({ type: "checkpoint", step: 122, path: "run/checkpoints/step-00000122" });
    const second = LINE.replace("120", "122");
    expect(stream.text).toBe(
      `\r\u001b[K${LINE}\r\u001b[K${second}\r\u001b[Ktoklip: saved run/checkpoints/step-00000122\n`,
    );
    const narrow = progress({ isTTY: true, columns: 20 });
    narrow.shown.report(step(120));
    narrow.shown.stop();
    narrow.shown.stop();
    expect(narrow.stream.text).toBe(`\r\u001b[K${LINE.slice(0, 19)}\n`);
  });

  it("is a line about every ten seconds in a log, and one for the last step", () => {
    const { stream, clock, shown } = progress();
    for (let n = 120; n < 170; n++, clock.time += 0.5) shown.report(step(n));
    shown.report(step(5000));
    const numbers = stream.text
      .trimEnd()
      .split("\n")
      .map((line) => /^toklip: step (\d+)\//.exec(line)![1]);
    expect(numbers).toEqual(["120", "140", "160", "5000"]);
    expect(stream.text.split("\n")[0]).toBe(`toklip: ${LINE}`);
    expect(stream.text).not.toContain(
      "5000/5000  loss 3.21 (contrastive 2.1, distill 1.1)  lr 1.0e-4  |g| 0.83  71 img/s  ",
    );
  });

  it("says what happens once, and with --quiet only what went wrong", () => {
    const events: TrainingEvent[] = [
      { type: "started", step: 0, totalSteps: 10 },
      { type: "started", step: 4, totalSteps: 10, resumedFrom: "run/checkpoints/step-00000004" },
      { type: "evaluation", step: 5, values: { loss: 0.25, "recall@1": 0.123456, psnr: Infinity }, isBest: true },
      { type: "stopping" },
      { type: "warning", message: "run/checkpoints/step-00000006 was skipped: was not finished" },
    ];
    const [loud, quiet] = [progress(), progress({ quiet: true })];
    for (const event of events) for (const { shown } of [loud, quiet]) shown.report(event);
    quiet.shown.report(step(1));
    expect(loud.stream.text).toBe(
      [
        "toklip: training for 10 steps",
        "toklip: going on after step 4 of 10, from run/checkpoints/step-00000004",
        "toklip: evaluation after step 5: loss 0.2500, recall@1 0.1235, psnr Infinity (best so far)",
        "toklip: interrupted: the step under way is finished and saved; once more gives up at once",
        "toklip: run/checkpoints/step-00000006 was skipped: was not finished\n",
      ].join("\n"),
    );
    expect(quiet.stream.text).toBe("toklip: run/checkpoints/step-00000006 was skipped: was not finished\n");
  });
});
