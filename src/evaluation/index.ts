/** `toklip/evaluation`: how well a model labels, retrieves and reconstructs. */
export * from "./caption-set.ts";
export { type ClassSurvey, checkClasses, sampleClass, surveyClasses } from "./class-survey.ts";
export * from "./evaluation.ts";
export type { FeatureNetworkOptions } from "./feature-network.ts";
export * from "./feature-rows.ts";
export { frechetDistance, type Gaussian, GaussianSums } from "./frechet.ts";
export * from "./label-set.ts";
export type { InnerProducts } from "./pair-products.ts";
export type { CaptionIndex, Ranks, RetrievalRanks, Share } from "./recall-ranks.ts";
export { evaluateReconstruction, type ReconstructionOptions } from "./reconstruction.ts";
export * from "./report.ts";
export * from "./report-text.ts";
export { evaluateRetrieval, type RetrievalOptions } from "./retrieval.ts";
export type * from "./session.ts";
export { shareMetric, wilsonInterval } from "./statistics.ts";
export { encodeClasses, namePictures, type ZeroshotOptions, type ZeroshotOutcomes } from "./zeroshot.ts";
export { evaluateZeroshot, type ZeroshotEvaluationOptions } from "./zeroshot-evaluation.ts";
