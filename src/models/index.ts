/** `toklip/models`: the models as graphs, their configurations, their checkpoints. */
export * from "./checkpoint-names.ts";
export * from "./config.ts";
export * from "./gpt.ts";
export * from "./gpt-checkpoint.ts";
export * from "./gpt-config.ts";
export * from "./initialization.ts";
export * from "./lpips.ts";
export * from "./patch-discriminator.ts";
export * from "./pixel-encoder.ts";
export * from "./position-resampling.ts";
export * from "./text-encoder.ts";
export * from "./token-encoder.ts";
export * from "./toklip.ts";
export * from "./vision-transformer.ts";
export * as vq from "./vq.ts";
export { weightsPrint } from "./weights-print.ts";
