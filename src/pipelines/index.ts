/** `toklip/pipelines`: what a user does with a model, over any number of pictures and texts. */
export * from "./batches.ts";
export * from "./classify.ts";
export * from "./convert.ts";
export * from "./embed.ts";
export * from "./export.ts";
export * from "./graph-runner.ts";
export * from "./ids-line.ts";
export * from "./init.ts";
export type * from "./model.ts";
export * from "./model-files.ts";
export * from "./pictures.ts";
export type * from "./platform.ts";
export * from "./reconstruct.ts";
export * from "./token-stream.ts";
export * from "./tokenize.ts";
export * from "./toklip.ts";
