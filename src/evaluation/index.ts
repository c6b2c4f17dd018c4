/** `toklip/evaluation`: how well a model labels, retrieves and reconstructs. */
export * from "./evaluation.ts";
export * from "./feature-rows.ts";
export * from "./report.ts";
export * from "./report-text.ts";
export type * from "./session.ts";
