/** `toklip/losses`: what training minimises, as functions over symbolic tensors. */
export * from "./adversarial.ts";
export * from "./contrastive.ts";
export * from "./distillation.ts";
export * from "./next-token.ts";
export * from "./reconstruction.ts";
export * from "./reduction.ts";
export * from "./vector-quantization.ts";
