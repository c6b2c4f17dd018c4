/** `toklip/evaluation`: how well a model labels, retrieves and reconstructs. */
export * from "./evaluation.ts";
export * from "./feature-rows.ts";
