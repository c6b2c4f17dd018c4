/** `toklip/evaluation`: how well a model labels, retrieves and reconstructs. */
export * from "./caption-set.ts";
export * from "./evaluation.ts";
export * from "./feature-rows.ts";
export type { InnerProducts } from "./pair-products.ts";
export type { CaptionIndex, Ranks, RetrievalRanks, Share } from "./recall-ranks.ts";
export * from "./report.ts";
export * from "./report-text.ts";
export { evaluateRetrieval, type RetrievalOptions } from "./retrieval.ts";
export type * from "./session.ts";
