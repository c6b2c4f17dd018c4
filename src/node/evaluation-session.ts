/** The workplace of evaluations in Node. */
import { ToklipError } from "../core/index.ts";
import type { EvaluationSession, SessionOptions } from "../evaluation/session.ts";

/** Opens a session. */
export async function openEvaluationSession(_options: SessionOptions): Promise<EvaluationSession> {
  throw new ToklipError("INTERNAL", "not yet");
}
