/** An evaluation as JSON without its pictures, and as a table for a terminal. */
import type { JsonValue } from "../data/index.ts";
import type { Evaluation, Metric } from "./evaluation.ts";

/** The evaluation as plain JSON: of galleries only what stands below the pictures. */
export function evaluationJson({ galleries, ...rest }: Evaluation): JsonValue {
  const captions = galleries.map(({ title, pictures }) => ({
    title,
    pictures: pictures.map(({ caption, verdict }) => ({ caption, ...(verdict && { verdict }) })),
  }));
  return { ...(rest as unknown as Record<string, JsonValue>), galleries: captions };
}

interface UnitFormat {
  readonly scale: number;
  readonly digits: number;
  readonly suffix: string;
}

const UNITS: Readonly<Record<Metric["unit"], UnitFormat>> = {
  share: { scale: 100, digits: 2, suffix: " %" },
  dB: { scale: 1, digits: 2, suffix: " dB" },
  bits: { scale: 1, digits: 2, suffix: " bits" },
  count: { scale: 1, digits: 0, suffix: "" },
  plain: { scale: 1, digits: 4, suffix: "" },
};

/** `39.41 %`; `-` for a figure of nothing seen. */
export function formatMetric({ value, unit }: Pick<Metric, "value" | "unit">): string {
  if (value === null) return "-";
  const { scale, digits, suffix } = UNITS[unit];
  return `${(value * scale).toFixed(digits)}${suffix}`;
}

/** `36.93 to 41.94 %`, `± 0.12 dB`, or nothing. */
export function formatInterval({ unit, margin, interval }: Metric): string {
  const { scale, digits, suffix } = UNITS[unit];
  const text = (value: number) => (value * scale).toFixed(digits);
  if (interval !== undefined) return `${text(interval[0])} to ${text(interval[1])}${suffix}`;
  return margin === undefined ? "" : `± ${text(margin)}${suffix}`;
}

/** The figures, what they were made of and what was left out, as aligned lines. */
export function evaluationText({ task, model, data, metrics, seconds, picturesPerSecond }: Evaluation): string {
  const rows = metrics.map((metric) => [
    metric.name,
    formatMetric(metric),
    formatInterval(metric),
    `of ${metric.count}`,
    metric.meaning,
  ]);
  const speed = picturesPerSecond > 0 ? `, ${Number(picturesPerSecond.toPrecision(3))} pictures/s` : "";
  return [
    `${task} of ${model.name} (${model.description})`,
    ...data.map(({ name, used, skipped }) => {
      const left = skipped.map(({ reason, count }) => `${count} ${reason}`).join(", ");
      return `${name}: ${used} used${left === "" ? "" : `; left out: ${left}`}`;
    }),
    "",
    ...aligned([["metric", "value", "95 % interval", "samples", ""], ...rows]),
    "",
    `${Number(seconds.toPrecision(3))} s${speed}`,
  ].join("\n");
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join("  ")
      .trimEnd(),
  );
}
