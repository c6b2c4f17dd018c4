/**
 * `metrics.jsonl`: one JSON object a line, for a logged step or an evaluation, in the order in which they happened.
 * Numbers that JSON does not have (an infinite PSNR) are written as the strings "Infinity", "-Infinity" and "NaN".
 */
import type { StepReport } from "./trainer.ts";

/** A logged step. */
export interface StepRecord extends StepReport {
  /** The number of steps done, this one included. */
  readonly step: number;
  /** Seconds since the run began, without the time between sessions. */
  readonly time: number;
  /** Over the steps since the record before. */
  readonly imagesPerSecond: number;
  /** Mean seconds that a step waited for its batch, over the same steps. */
  readonly dataSeconds: number;
}

/** An evaluation. */
export interface EvaluationRecord {
  readonly step: number;
  readonly time: number;
  readonly evaluation: Readonly<Record<string, number>>;
}

/** A line of the file. */
export type MetricsRecord = StepRecord | EvaluationRecord;

/** Distinguishes the two. */
export function isEvaluation(record: MetricsRecord): record is EvaluationRecord {
  return "evaluation" in record;
}

/** A record as a line, without its line end. */
export function formatRecord(record: MetricsRecord): string {
  const { step, time } = record;
  const fields = isEvaluation(record)
    ? { step, time, evaluation: record.evaluation }
    : {
        step,
        time,
        loss: record.loss,
        parts: record.parts,
        learning_rate: record.learningRate,
        gradient_norm: record.gradientNorm,
        images_per_second: record.imagesPerSecond,
        data_seconds: record.dataSeconds,
      };
  return JSON.stringify(fields, (_, held: unknown) =>
    typeof held === "number" && !Number.isFinite(held) ? String(held) : held,
  );
}

/** The records of a file up to a step, and the length in bytes of the lines that hold them. */
export interface MetricsSoFar {
  readonly records: readonly MetricsRecord[];
  readonly bytes: number;
}

/**
 * Reads the records of steps up to `lastStep`. What follows the first line that is torn, or none of ours, or of a later
 * step, was not written before the checkpoint of that step, and is left out.
 */
export function parseMetrics(text: string, lastStep = Number.POSITIVE_INFINITY): MetricsSoFar {
  const records: MetricsRecord[] = [];
  let end = 0;
  for (let next = text.indexOf("\n"); next >= 0; next = text.indexOf("\n", end)) {
    const record = parseRecord(text.slice(end, next));
    if (record === undefined || record.step > lastStep) break;
    records.push(record);
    end = next + 1;
  }
  return { records, bytes: new TextEncoder().encode(text.slice(0, end)).length };
}

function parseRecord(line: string): MetricsRecord | undefined {
  const fields = parseObject(line);
  const step = fields?.step;
  if (fields === undefined || typeof step !== "number" || !Number.isFinite(step)) return undefined;
  const time = numberOf(fields.time);
  if (isObject(fields.evaluation)) return { step, time, evaluation: numbersOf(fields.evaluation) };
  if (!isObject(fields.parts)) return undefined;
  return {
    step,
    time,
    loss: numberOf(fields.loss),
    parts: numbersOf(fields.parts),
    learningRate: numberOf(fields.learning_rate),
    gradientNorm: numberOf(fields.gradient_norm),
    imagesPerSecond: numberOf(fields.images_per_second),
    dataSeconds: numberOf(fields.data_seconds),
  };
}

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined; // a line that was cut off
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function numberOf(value: unknown): number {
  return typeof value === "number" || typeof value === "string" ? Number(value) : Number.NaN;
}

function numbersOf(value: Record<string, unknown>): Record<string, number> {
  return Object.fromEntries(Object.entries(value).map(([key, held]) => [key, numberOf(held)]));
}
