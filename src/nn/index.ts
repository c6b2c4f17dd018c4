/** `toklip/nn`: layers as functions over symbolic tensors. */
export * from "./activation.ts";
export * from "./attention.ts";
export * from "./cached-attention.ts";
export * from "./convolution.ts";
export * from "./decoder.ts";
export * from "./linear.ts";
export * from "./mlp.ts";
export * from "./normalization.ts";
export * from "./rotary.ts";
export * from "./scope.ts";
